"""The last ops of a log, in memory: who reads at its head never waits for the disk.

Filled with what was committed, after it was; bounded by ops and bytes. What is not here is read from the file.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from medxz import limits
from medxz.scope import Scope
from medxz.store.base import Page, Position
from medxz.store.record import op_json_of, page_of

_Place = tuple[Position, int, Scope]


@dataclass(frozen=True, slots=True)
class Committed:
    """Ops that one transaction stored, in the order of server_seq, and the watermarks that it moved."""

    first_seq: int
    op_ids: Sequence[bytes]
    front_desk: Sequence[bool]
    records: Sequence[bytes]
    watermarks: Mapping[str, int]

    @property
    def last_seq(self) -> int:
        return self.first_seq + len(self.op_ids) - 1


class Tail:
    """A window on the end of the log."""

    def __init__(self) -> None:
        self._runs: deque[Committed] = deque()
        self._sizes: deque[int] = deque()
        self._ops = 0
        self._bytes = 0
        self._pages: dict[_Place, Page] = {}
        self._pages_bytes = 0

    def extend(self, run: Committed) -> None:
        self._drop_pages([place for place, page in self._pages.items() if not page.more])
        size = sum(map(len, run.records))
        self._runs.append(run)
        self._sizes.append(size)
        self._ops += len(run.op_ids)
        self._bytes += size
        while self._ops > limits.TAIL_OPS_MAX or self._bytes > limits.TAIL_BYTES_MAX:
            self._ops -= len(self._runs.popleft().op_ids)
            self._bytes -= self._sizes.popleft()

    def op_id_at(self, seq: int) -> bytes | None:
        """Which op is there; None where the window does not reach."""
        run = self._run_of(seq)
        return run.op_ids[seq - run.first_seq] if run is not None else None

    def page(self, after: Position, limit: int, scope: Scope) -> Page | None:
        """The page after a position, where all of it lies in the window and the position is what it says."""
        place = after, limit, scope
        page = self._pages.get(place)  # many streams come by the same places, each as fast as it is read
        if page is None and self.op_id_at(after.seq) == after.op_id:
            page = self._pages[place] = self._page(after, limit, scope)
            self._pages_bytes += len(page.ops_json)
            while self._pages_bytes > limits.TAIL_BYTES_MAX and len(self._pages) > 1:
                self._drop_pages([next(iter(self._pages))])
        return page

    def ops_after(self, seq: int, limit: int) -> list[bytes] | None:
        """The ops behind a place; None where the window does not reach back to it."""
        if not self._runs or seq + 1 < self._runs[0].first_seq:
            return None
        ops: list[bytes] = []
        for run in self._from(seq + 1):
            first = max(0, seq + 1 - run.first_seq)
            ops += map(op_json_of, run.records[first : first + limit - len(ops)])
        return ops

    def ids_after(self, seq: int) -> list[bytes]:
        """The op_ids behind a place, in order; where the window does not reach back to it, those that are here."""
        ids: list[bytes] = []
        for run in self._from(seq + 1):
            ids += run.op_ids[max(0, seq + 1 - run.first_seq) :]
        return ids

    def _page(self, after: Position, limit: int, scope: Scope) -> Page:
        records: list[bytes] = []
        last, size, more = after.seq, 0, False
        for run in self._from(after.seq + 1):
            for index in range(max(0, after.seq + 1 - run.first_seq), len(run.op_ids)):
                if len(records) == limit or size > limits.PULL_PAGE_BYTES_MAX:
                    more = True
                    break
                last = run.first_seq + index
                if scope == "full" or run.front_desk[index]:
                    records.append(run.records[index])
                    size += len(records[-1])
            if more:
                break
        end = Position(last, self.op_id_at(last) or after.op_id)
        return Page(page_of(records), len(records), end, more)

    def _drop_pages(self, places: Iterable[_Place]) -> None:
        for place in places:
            self._pages_bytes -= len(self._pages.pop(place).ops_json)

    def _run_of(self, seq: int) -> Committed | None:
        if not self._runs or not self._runs[0].first_seq <= seq <= self._runs[-1].last_seq:
            return None
        at = bisect_right(self._runs, seq, key=lambda run: run.first_seq) - 1
        return self._runs[at]

    def _from(self, seq: int) -> list[Committed]:
        at = bisect_right(self._runs, seq, key=lambda run: run.first_seq) - 1
        return [self._runs[index] for index in range(max(at, 0), len(self._runs))]
