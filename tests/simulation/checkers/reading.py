"""Checker 3: no reader skipped or repeated within an epoch; and after an epoch it went on by what it had, losing nothing.

A cursor is opaque here too: where it stands is known by the page that it came with. What a log was is known by all who were
told of it: who pushed, who read, and the log as it lies there in the end. There a server_seq means one op, but for a log
that went back and has not found that out yet: what was said before and after it contradicts itself, and is left out.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Sequence
from math import inf

from medxz.scope import FRONT_DESK_TYPES, Scope
from tests.simulation.checkers.holding import Holding
from tests.simulation.checkers.violation import Violation
from tests.simulation.ledger import Ledger, PageRead

CHECKER = 3
# what was on its way when a log went back may arrive so much later
ON_ITS_WAY_S = 120.0

LogOf = tuple[str, str, str, str]
"""clinic_id, party, server_id, epoch: a copied card has its original's server_id and epoch."""


def check_reading(ledger: Ledger, holdings: Sequence[Holding]) -> None:
    books = _Books(ledger, holdings)
    for (reader, _), pages in books.pages.items():
        _Reading(books, reader).follow(pages)
    for reader, page in books.last_pages().items():
        _nothing_was_lost(books, reader, page)


class _Log:
    """One epoch of one server's log of one clinic."""

    def __init__(self, losses: Sequence[float]) -> None:
        self._losses = losses
        self._told: dict[int, tuple[str, float]] = {}
        self._seqs: dict[str, tuple[int, float]] = {}
        self._unsure: set[int] = set()

    def learn(self, op_id: str, seq: int, at: float, who: str) -> None:
        """Somebody was told that this op has this server_seq."""
        other, before = self._told.setdefault(seq, (op_id, at))
        if other != op_id:
            self._contradicted(seq, before, at, f"server_seq {seq} is two ops, by {who}", op_id)
        number, before = self._seqs.setdefault(op_id, (seq, at))
        if number != seq:
            self._contradicted(seq, before, at, f"an op has server_seq {seq} and {number}, by {who}", op_id)
            self._unsure.add(number)

    def between(self, after: int, last: int) -> list[tuple[int, str]]:
        """The ops that are known to lie there, and surely so."""
        seqs = sorted(self._told)
        return [
            (seq, self._told[seq][0])
            for seq in seqs[bisect_right(seqs, after) : bisect_right(seqs, last)]
            if seq not in self._unsure
        ]

    def told_by(self, moment: float) -> int:
        """The greatest server_seq that somebody had been told by then."""
        return max((seq for seq, (_, at) in self._told.items() if at <= moment), default=0)

    def _contradicted(self, seq: int, before: float, at: float, what: str, op_id: str) -> None:
        first, last = sorted((before, at))
        if not any(first - ON_ITS_WAY_S <= loss <= last for loss in self._losses):
            raise Violation(CHECKER, f"in one epoch {what}", [op_id])
        self._unsure.add(seq)


class _Books:
    """What the ledger and the logs that lie there tell, put in order."""

    def __init__(self, ledger: Ledger, holdings: Sequence[Holding]) -> None:
        self.types = {op.op_id: op.entity_type for holding in holdings for op in holding.ops}
        self.types |= {op_id: authored.op.entity_type for op_id, authored in ledger.authors.items()}
        self._clinics = {op.op_id: holding.clinic_id for holding in holdings for op in holding.ops}
        self._clinics |= {op_id: authored.op.clinic_id for op_id, authored in ledger.authors.items()}
        self._ledger = ledger
        self._clinic_of = self._readers()
        self.resumed = {(line.reader, line.cursor): line.have for line in ledger.resumes}
        self.pages: dict[tuple[str, tuple[str, str]], list[PageRead]] = defaultdict(list)
        self.logs: dict[LogOf, _Log] = {}
        self.whole: set[LogOf] = set()
        for page in ledger.pages:
            if page.reader in self._clinic_of:
                self.pages[page.reader, (page.server_id, page.epoch)].append(page)
        self._learn_pages()
        self._learn_acks()
        self._learn_holdings(holdings)

    def log_of(self, page: PageRead) -> _Log:
        return self._log((self._clinic_of[page.reader], page.party, page.server_id, page.epoch))

    def is_whole(self, page: PageRead) -> bool:
        return (self._clinic_of[page.reader], page.party, page.server_id, page.epoch) in self.whole

    def sees(self, scope: Scope, op_id: str) -> bool:
        return scope == "full" or self.types.get(op_id) in FRONT_DESK_TYPES

    def last_pages(self) -> dict[str, PageRead]:
        return {page.reader: page for page in self._ledger.pages if page.reader in self._clinic_of}

    def read_by(self, reader: str) -> set[str]:
        return {op_id for page in self._ledger.pages if page.reader == reader for op_id, _ in page.ops}

    def _readers(self) -> dict[str, str]:
        """Of which clinic each reader is, by the first op that it was given; checker 4 looks whether all are."""
        of_reader: dict[str, str] = {}
        for page in self._ledger.pages:
            if page.ops and page.ops[0][0] in self._clinics:
                of_reader.setdefault(page.reader, self._clinics[page.ops[0][0]])
        return of_reader

    def _log(self, which: LogOf) -> _Log:
        if which not in self.logs:
            self.logs[which] = _Log([loss.at for loss in self._ledger.losses.get(which[1], ())])
        return self.logs[which]

    def _learn_pages(self) -> None:
        for pages in self.pages.values():
            for page in pages:
                for op_id, seq in page.ops:
                    self.log_of(page).learn(op_id, seq, page.at, f"a page of {page.reader}")

    def _learn_acks(self) -> None:
        for op_id, acks in self._ledger.acks.items():
            for ack in acks:
                if ack.seq is not None and ack.server_id and ack.epoch and op_id in self._clinics:
                    log = self._log((self._clinics[op_id], ack.party, ack.server_id, ack.epoch))
                    log.learn(op_id, ack.seq, ack.at, f"an answer to {ack.told}")

    def _learn_holdings(self, holdings: Sequence[Holding]) -> None:
        for holding in holdings:
            if holding.is_server and holding.server_id and holding.epoch:
                which = holding.clinic_id, holding.party, holding.server_id, holding.epoch
                self.whole.add(which)
                for op in holding.ops:
                    self._log(which).learn(op.op_id, op.server_seq or 0, inf, f"the log of {holding.party}")


class _Reading:
    """One reader in one epoch: each page begins where the one before it ended, and leaves nothing out."""

    def __init__(self, books: _Books, reader: str) -> None:
        self._books = books
        self._reader = reader
        self._stands: dict[str, int] = {}  # behind which server_seq a cursor stands, at least

    def follow(self, pages: Sequence[PageRead]) -> None:
        for page in pages:
            begins = 0 if page.after is None else self._stands.get(page.after)
            seqs = [seq for _, seq in page.ops]
            if begins is None and page.after is not None and seqs:
                begins = self._resumed_rightly(page, page.after, seqs[0])
            self._goes_forwards(page, begins or 0)
            if begins is not None and seqs:
                self._skips_nothing(page, begins, seqs)
            end = seqs[-1] if seqs else begins
            if end is not None:
                self._stands[page.cursor] = max(end, self._stands.get(page.cursor, 0))

    def _resumed_rightly(self, page: PageRead, cursor: str, first: int) -> int:
        """Where a cursor stood that a resume gave: right before its first page; what lies behind was there already."""
        have = self._books.resumed.get((self._reader, cursor))
        if have is not None:
            lost = [
                op_id
                for _, op_id in self._books.log_of(page).between(0, first - 1)
                if self._books.sees(page.scope, op_id) and op_id not in have
            ]
            if lost:
                raise Violation(CHECKER, f"{self._reader} resumed behind ops that it had not", lost)
        return first - 1

    def _goes_forwards(self, page: PageRead, before: int) -> None:
        for op_id, seq in page.ops:
            if seq <= before:
                raise Violation(CHECKER, f"{self._reader} was given server_seq {seq} after {before}", [op_id])
            before = seq

    def _skips_nothing(self, page: PageRead, begins: int, seqs: Sequence[int]) -> None:
        told, last = set(seqs), seqs[-1]
        if page.scope == "full" and len(seqs) != last - begins:
            raise Violation(
                CHECKER, f"{self._reader} was given {len(seqs)} of the ops {begins + 1} to {last}"
            )
        skipped = [
            op_id
            for seq, op_id in self._books.log_of(page).between(begins, last)
            if seq not in told and self._books.sees(page.scope, op_id)
        ]
        if skipped:
            raise Violation(CHECKER, f"{self._reader} skipped between {begins} and {last}", skipped)


def _nothing_was_lost(books: _Books, reader: str, page: PageRead) -> None:
    """Who was told that there is no more has read, wherever and in whatever epochs, all that lay there until then."""
    if not books.is_whole(page):
        return
    log = books.log_of(page)
    mine = [
        seq
        for one in books.pages[reader, (page.server_id, page.epoch)]
        if one.party == page.party
        for _, seq in one.ops
    ]
    behind = max(mine, default=0)
    if page.at_end and page.asked is not None:
        behind = max(behind, log.told_by(page.asked))
    read = books.read_by(reader)
    lost = [
        op_id for _, op_id in log.between(0, behind) if books.sees(page.scope, op_id) and op_id not in read
    ]
    if lost:
        raise Violation(CHECKER, f"{reader} went on at {page.party} and lacks what lies before", lost)
