"""The audit: chains of entries that only grow, one for each writing process and clinic, and what proves them.

An entry's hash is SHA-256 of `medxz-audit-1`, a newline and a JSON array of everything else in the entry, the hash of
the one before it last. A chain's first entry is `chain_began`: it names the ends of the clinic's older chains, so that
one that was cut short is found by a younger one. An entry holds ids, never what is known of a patient.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from medxz import limits
from medxz.clock import Clock
from medxz.ids import Ids
from medxz.store.authority.base import TryAgain, Tx

NOTHING_BEFORE: Final = "0" * 64
CHAIN_BEGAN: Final = "chain_began"
_TEXT_CHARS_MAX: Final = 200


def _places(count: int) -> str:
    """`($1, …, $16), …` of so many rows."""
    rows = (range(first + 1, first + 17) for first in range(0, 16 * count, 16))
    return ", ".join(f"({', '.join(f'${place}' for place in row)})" for row in rows)


_COLUMNS: Final = (
    "chain_id, number, at_ms, event, user_id, device_id, hub_id, patient_id, encounter_id, entity_type, entity_id,"
    " address, detail, previous_hash, hash"
)
_INSERT: Final = f"INSERT INTO audit (clinic_id, {_COLUMNS}) VALUES "
_TOGETHER: Final = 32
"""Entries that one statement writes, where there are so many."""
_END: Final = """
    SELECT number, hash FROM audit WHERE clinic_id = $1 AND chain_id = $2 ORDER BY number DESC LIMIT 1"""
_CHAINS: Final = """
    WITH RECURSIVE chain (chain_id) AS (
        SELECT min(chain_id) FROM audit WHERE clinic_id = $1
        UNION ALL
        SELECT (SELECT min(chain_id) FROM audit WHERE clinic_id = $1 AND chain_id > chain.chain_id)
        FROM chain WHERE chain.chain_id IS NOT NULL
    )"""
_ENDS: Final = f"""{_CHAINS}
    SELECT audit.chain_id, audit.number, audit.hash FROM chain JOIN audit
    ON audit.clinic_id = $1 AND audit.chain_id = chain.chain_id AND audit.number =
    (SELECT max(number) FROM audit WHERE clinic_id = $1 AND chain_id = chain.chain_id)"""
_BEGINNINGS: Final = f"""{_CHAINS}
    SELECT audit.detail FROM chain JOIN audit
    ON audit.clinic_id = $1 AND audit.chain_id = chain.chain_id AND audit.number = 1
    WHERE audit.event = 'chain_began'"""
_CHAIN_IDS: Final = f"{_CHAINS} SELECT chain_id FROM chain WHERE chain_id IS NOT NULL"
_FOLLOWING: Final = f"""
    SELECT {_COLUMNS} FROM audit WHERE clinic_id = $1 AND chain_id = $2 AND number > $3
    ORDER BY number LIMIT $4"""
_INSERT_ONE: Final = _INSERT + _places(1)
_INSERT_TOGETHER: Final = _INSERT + _places(_TOGETHER)
_PAGE: Final = f"SELECT {_COLUMNS} FROM audit WHERE clinic_id = $1"

End = tuple[str, int, str]
"""An entry that was the last of its chain once: chain_id, number, hash."""
Ends = set[End]


@dataclass(frozen=True, slots=True)
class Entry:
    """What is to be noted. `detail` goes beside as JSON: ids, codes and counts."""

    event: str
    user_id: str | None = None
    device_id: str | None = None
    hub_id: str | None = None
    patient_id: str | None = None
    encounter_id: str | None = None
    entity_type: str | None = None
    entity_id: str | None = None
    address: str | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)
    at_ms: int | None = None
    """When it happened, where that is not now."""

    def __post_init__(self) -> None:
        """ValueError for what could not be written: nothing that waits its turn may turn out to be that."""
        texts = (
            self.event, self.user_id, self.device_id, self.hub_id, self.patient_id, self.encounter_id,
            self.entity_type, self.entity_id, self.address,
        )  # fmt: skip
        for text in texts:
            if text is not None and not (len(text) <= _TEXT_CHARS_MAX and text.isprintable()):
                raise ValueError(f"an entry {self.event!r} has a text that is no name, id or address")
        if self.event != CHAIN_BEGAN and len(self.detail_json) > limits.AUDIT_DETAIL_BYTES_MAX:
            raise ValueError(f"the detail of an entry {self.event!r} is {len(self.detail_json)} bytes long")

    @property
    def detail_json(self) -> str:
        try:
            return orjson.dumps(dict(self.detail), option=orjson.OPT_SORT_KEYS).decode()
        except orjson.JSONEncodeError as error:
            raise ValueError(f"the detail of an entry {self.event!r} is no JSON: {error}") from None


@dataclass(frozen=True, slots=True)
class Noted:
    """An entry as it stands in its chain; `detail` is its JSON."""

    chain_id: str
    number: int
    at_ms: int
    event: str
    user_id: str | None
    device_id: str | None
    hub_id: str | None
    patient_id: str | None
    encounter_id: str | None
    entity_type: str | None
    entity_id: str | None
    address: str | None
    detail: str
    previous_hash: str
    hash: str

    @property
    def place(self) -> Place:
        return Place(self.at_ms, self.chain_id, self.number)


@dataclass(frozen=True, slots=True)
class Place:
    """Where an entry stands among all of its clinic's, by time."""

    at_ms: int
    chain_id: str
    number: int


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which entries: those for which all that is not None holds; times from … up to, but without, …"""

    patient_id: str | None = None
    encounter_id: str | None = None
    user_id: str | None = None
    device_id: str | None = None
    from_ms: int | None = None
    to_ms: int | None = None


class AuditTrail:
    """The writing end of one process: in each clinic a chain of its own."""

    def __init__(self, ids: Ids, clock: Clock) -> None:
        self._ids: Final = ids
        self._clock: Final = clock
        self._ends: Final[OrderedDict[str, End]] = OrderedDict()
        self._chain_id: Final = ids.uuid7()

    async def append(self, tx: Tx, clinic_id: str, *entries: Entry) -> None:
        """Note what the rest of this transaction does: both are durable, or neither is."""
        end = await self._insert(tx, clinic_id, await self._end(tx, clinic_id), entries)
        tx.after_commit(lambda: self._remember(clinic_id, end))

    async def _end(self, tx: Tx, clinic_id: str) -> End:
        """Where the chain ends; one is begun where there is none, or where its end is not what it was."""
        known = self._ends.get(clinic_id)
        chain_id = self._chain_id if known is None else known[0]
        rows = await tx.rows(_END, clinic_id, chain_id)
        if known is not None and not (rows and (rows[0][0] > known[1] or rows[0] == known[1:])):
            if tx.may_be_stale:
                raise TryAgain
            # somebody took entries away: the chain that goes on names them
            return await self._begin(tx, clinic_id, self._ids.uuid7(), {known})
        if not rows:
            return await self._begin(tx, clinic_id, chain_id, set())
        return chain_id, int(rows[0][0]), str(rows[0][1])

    async def _begin(self, tx: Tx, clinic_id: str, chain_id: str, missing: Ends) -> End:
        ends = {
            (str(chain), int(number), str(digest))
            for chain, number, digest in await tx.rows(_ENDS, clinic_id)
        }
        unnamed = sorted((ends | missing) - await ends_named(tx, clinic_id))
        entry = Entry(CHAIN_BEGAN, detail={"ends": unnamed})
        return await self._insert(tx, clinic_id, (chain_id, 0, NOTHING_BEFORE), [entry])

    async def _insert(self, tx: Tx, clinic_id: str, end: End, entries: Sequence[Entry]) -> End:
        """Behind an end; the new end."""
        rows: list[tuple[object, ...]] = []
        for entry in entries:
            chain_id, number, before = end
            facts = (
                chain_id, number + 1, self._clock.now_ms() if entry.at_ms is None else entry.at_ms, entry.event,
                entry.user_id, entry.device_id, entry.hub_id, entry.patient_id, entry.encounter_id,
                entry.entity_type, entry.entity_id, entry.address, entry.detail_json, before,
            )  # fmt: skip
            end = chain_id, number + 1, _hash(clinic_id, facts)
            rows.append((clinic_id, *facts, end[2]))
        whole = len(rows) - len(rows) % _TOGETHER
        for first in range(0, whole, _TOGETHER):
            values = [value for row in rows[first : first + _TOGETHER] for value in row]
            await tx.rows(_INSERT_TOGETHER, *values)
        for row in rows[whole:]:
            await tx.rows(_INSERT_ONE, *row)
        return end

    def _remember(self, clinic_id: str, end: End) -> None:
        """What is committed: whoever takes it away is found out by the next entry."""
        known = self._ends.get(clinic_id)
        if known is None or known[0] != end[0] or known[1] < end[1]:
            self._ends[clinic_id] = end
        self._ends.move_to_end(clinic_id)
        if len(self._ends) > limits.AUDIT_ENDS_MAX:
            self._ends.popitem(last=False)


async def page(tx: Tx, clinic_id: str, wanted: Wanted, before: Place | None, limit: int) -> list[Noted]:
    """The newest first; `before`: the place of the last entry of the page before."""
    values: list[object] = [clinic_id]
    conditions = ""
    for condition, value in (
        ("patient_id = ", wanted.patient_id),
        ("encounter_id = ", wanted.encounter_id),
        ("user_id = ", wanted.user_id),
        ("device_id = ", wanted.device_id),
        ("at_ms >= ", wanted.from_ms),
        ("at_ms < ", wanted.to_ms),
    ):
        if value is not None:
            values.append(value)
            conditions += f" AND {condition}${len(values)}"
    if before is not None:
        first = len(values) + 1
        values += [before.at_ms, before.chain_id, before.number]
        conditions += f" AND (at_ms, chain_id, number) < (${first}, ${first + 1}, ${first + 2})"
    values.append(limit)
    order = f" ORDER BY at_ms DESC, chain_id DESC, number DESC LIMIT ${len(values)}"
    return [Noted(*row) for row in await tx.rows(_PAGE + conditions + order, *values)]


async def chain_ids(tx: Tx, clinic_id: str) -> list[str]:
    return [chain_id for (chain_id,) in await tx.rows(_CHAIN_IDS, clinic_id)]


async def following(tx: Tx, clinic_id: str, chain_id: str, number: int, limit: int) -> list[Noted]:
    """The entries of a chain behind a number, in their order."""
    return [Noted(*row) for row in await tx.rows(_FOLLOWING, clinic_id, chain_id, number, limit)]


async def ends_named(tx: Tx, clinic_id: str) -> Ends:
    """All that the beginnings of the clinic's chains name."""
    named: Ends = set()
    for (detail,) in await tx.rows(_BEGINNINGS, clinic_id):
        named |= _ends_in(detail)
    return named


def _ends_in(detail: str) -> Ends:
    """What a beginning names; nothing where somebody changed it: its hash tells that."""
    try:
        return {
            (str(chain), int(number), str(digest)) for chain, number, digest in orjson.loads(detail)["ends"]
        }
    except (ValueError, KeyError, TypeError):
        return set()


def hash_of(clinic_id: str, noted: Noted) -> str:
    """What its hash has to be."""
    return _hash(
        clinic_id,
        (
            noted.chain_id, noted.number, noted.at_ms, noted.event, noted.user_id, noted.device_id, noted.hub_id,
            noted.patient_id, noted.encounter_id, noted.entity_type, noted.entity_id, noted.address, noted.detail,
            noted.previous_hash,
        ),
    )  # fmt: skip


def _hash(clinic_id: str, facts: Sequence[object]) -> str:
    return hashlib.sha256(b"medxz-audit-1\n" + orjson.dumps([clinic_id, *facts])).hexdigest()
