"""The compression dictionaries of a log: each is good for the ops from one server_seq on.

The first is that of this version. As a log grows, the next ones add to it what its latest ops have in common, and who
writes here: the ids of clinic, device and author, which would otherwise be the dearest part of each record. A log
carries its dictionaries, so that it can be read wherever it is taken.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from importlib import resources
from itertools import groupby
from typing import Any, Final

import zstandard
from sqlcipher3 import dbapi2 as sqlcipher

from medxz.errors import RowCorrupt
from medxz.ids import UUID_PATTERN
from medxz.limits import AUTHORS_IN_DICTIONARY_MAX, BLOCK_OPS
from medxz.op import Operation
from medxz.store.record import MAGIC, Codec

_FOLDER: Final = resources.files("medxz.store") / "dictionaries"
_FIRST: Final = 1
# A log makes a new dictionary after this part of its length at the soonest: so few that reading them costs nothing.
_LEARN_AFTER_PART: Final = 64
# What is learned from: so many ops at the end of a log, none of them long; from fewer than these there is little to learn.
SAMPLES: Final = 1_000
_SAMPLES_MIN: Final = 500
_SAMPLE_BYTES_MAX: Final = 4_096
_LEARNED_BYTES: Final = 16_384
_SEGMENT_BYTES, _MATCH_BYTES = 256, 8  # whole values and their names, rather than the ends of many
_HEAD: Final = b'{"server_seq":100,"server_received_at":"2026-01-01T00:00:00.000Z","op_id":"'

Author = tuple[str, str, str]


def shipped_dictionary() -> bytes:
    """The dictionary that comes with this version; the wire may use it too."""
    return (_FOLDER / f"{_FIRST}.dict").read_bytes()


def authors_of(ops: Iterable[Operation]) -> set[Author]:
    return {(op.clinic_id, op.device_id, op.user_id) for op in ops}


class Dictionaries:
    """The dictionaries of one log, and the authors that the newest knows."""

    def __init__(self, rows: Sequence[tuple[int, bytes]]) -> None:
        self._first_seqs = [first_seq for first_seq, _ in rows]
        self._codecs = [Codec(data) for _, data in rows]
        self._base: Final = rows[0][1]
        self._newest_data: bytes = rows[-1][1]
        # in an order that is the same in every process: two runs of one seed learn the same bytes
        self._known: dict[Author, None] = dict.fromkeys(_authors_in(self._newest_data[len(self._base) :]))
        self._unknown: dict[Author, None] = {}

    @classmethod
    def load(cls, connection: sqlcipher.Connection) -> Dictionaries:
        """Those that a log carries."""
        return cls(
            connection.execute("SELECT first_seq, bytes FROM dictionary ORDER BY first_seq").fetchall()
        )

    def reload(self, connection: sqlcipher.Connection) -> None:
        """Forget what a transaction that failed had learned."""
        self.__dict__.update(Dictionaries.load(connection).__dict__)

    @property
    def newest(self) -> Codec:
        return self._codecs[-1]

    def meet(self, authors: set[Author]) -> None:
        """Take note of who writes; the next dictionary will know them."""
        for author in sorted(authors - self._known.keys()):
            self._unknown[author] = None

    def is_to_learn(self, next_seq: int) -> bool:
        """Whether it is time: somebody new writes, or the log is twice as long as it was the last time."""
        last = self._first_seqs[-1]
        spacing = max(BLOCK_OPS, next_seq // _LEARN_AFTER_PART)
        return next_seq >= last + spacing and (bool(self._unknown) or next_seq >= 2 * last)

    def learn(self, next_seq: int, latest: Callable[[], Iterable[bytes]]) -> bytes | None:
        """A dictionary for the ops from `next_seq` on that knows who writes here, and what the latest records have in
        common; None where it is not time.
        """
        if not self.is_to_learn(next_seq):
            return None
        authors = [*self._known, *self._unknown][-AUTHORS_IN_DICTIONARY_MAX:]
        data = self._base + _in_common(latest()) + _HEAD + b"".join(map(_as_written, authors))
        self._first_seqs.append(next_seq)  # before the first row that needs it can be seen
        self._codecs[-1] = Codec(self._newest_data)  # only read from now on: without the tables that compress
        self._codecs.append(Codec(data))
        self._known, self._unknown, self._newest_data = dict.fromkeys(authors), {}, data
        return data

    def inflate(self, seqs: Sequence[int], joined: bytes, lengths: Sequence[int]) -> list[bytes]:
        """The records of rows that were read together; RowCorrupt naming the first that is damaged."""
        records: list[bytes] = []
        at = begin = 0
        for number, together in groupby(map(self._number, seqs)):
            end = begin + sum(1 for _ in together)
            size = sum(lengths[begin:end]) + (end - begin - 1) * len(MAGIC)
            part = joined[at : at + size]
            try:
                records += self._codecs[number].inflate(part, lengths[begin:end])
            except RowCorrupt:
                self._name_damaged(seqs[begin:end], part, lengths[begin:end])
                raise
            at, begin = at + size + len(MAGIC), end
        return records

    def _name_damaged(self, seqs: Sequence[int], joined: bytes, lengths: Sequence[int]) -> None:
        """RowCorrupt naming the first of these rows that is damaged."""
        at = 0
        for seq, length in zip(seqs, lengths, strict=True):
            try:
                self._codecs[self._number(seq)].inflate(joined[at : at + length], [length])
            except RowCorrupt as error:
                raise RowCorrupt(f"server_seq {seq} of the log is damaged: {error}") from None
            at += length + len(MAGIC)

    def inflate_page(
        self, first: int, last: int, joined: bytes, lengths: Sequence[int]
    ) -> tuple[bytes, bytes] | None:
        """The page that rows between two seqs are, and its last record; None where it takes a closer look, row by row."""
        number = self._number(first)
        if number != self._number(last):
            return None
        try:
            return self._codecs[number].inflate_page(joined, lengths)
        except RowCorrupt:
            return None

    def _number(self, seq: int) -> int:
        return max(0, bisect_right(self._first_seqs, seq) - 1)


def _in_common(records: Iterable[bytes]) -> bytes:
    """The parts that many of these records have; nothing where they are too few to tell."""
    samples: list[Any] = [record for record in records if len(record) <= _SAMPLE_BYTES_MAX]
    if len(samples) < _SAMPLES_MIN:
        return b""
    try:
        return zstandard.train_dictionary(
            _LEARNED_BYTES, samples, k=_SEGMENT_BYTES, d=_MATCH_BYTES
        ).as_bytes()
    except zstandard.ZstdError:  # nothing is common to them
        return b""


_WRITTEN: Final = re.compile(
    rf'"clinic_id":"({UUID_PATTERN})","device_id":"({UUID_PATTERN})","user_id":"({UUID_PATTERN})"'
)


def _authors_in(data: bytes) -> list[Author]:
    """The authors that were added to a dictionary: they stand last."""
    authors = data.rpartition(_HEAD)[2].decode(errors="replace")
    return [(match[1], match[2], match[3]) for match in _WRITTEN.finditer(authors)]


def _as_written(author: Author) -> bytes:
    clinic_id, device_id, user_id = author
    return f'","clinic_id":"{clinic_id}","device_id":"{device_id}","user_id":"{user_id}","entity_type":"'.encode()
