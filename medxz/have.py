"""Which numbers of which devices somebody holds: the have-vector.

`Numbers` is a set of integers from 1 up, kept as sorted ranges: a device's numbers come nearly in order, so
it is one range almost always. A `Have` maps a device_id to its `Numbers`. On the wire a set is `n` where it is
1 … n, and `[[first, last], …]` otherwise.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator

WireNumbers = int | list[list[int]]


class Numbers:
    """A set of positive integers as disjoint, sorted, non-touching ranges."""

    __slots__ = ("_firsts", "_lasts")

    def __init__(self, ranges: Iterable[tuple[int, int]] = ()) -> None:
        self._firsts: list[int] = []
        self._lasts: list[int] = []
        for first, last in ranges:
            self.add(first, last)

    @classmethod
    def from_wire(cls, wire: WireNumbers) -> Numbers:
        """Read `n` or `[[first, last], …]`; ValueError where a range is empty or below 1."""
        if isinstance(wire, int):
            if wire < 0:
                raise ValueError("a count is not below 0")
            return cls([(1, wire)] if wire else [])
        if any(len(pair) != 2 or pair[0] < 1 or pair[1] < pair[0] for pair in wire):
            raise ValueError("a range is [first, last] with 1 <= first <= last")
        return cls(sorted((first, last) for first, last in wire))  # each then follows the last: quick to add

    def to_wire(self) -> WireNumbers:
        if self._firsts == [1]:
            return self._lasts[0]
        return [[first, last] for first, last in self] if self._firsts else 0

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter(zip(self._firsts, self._lasts, strict=True))

    def __contains__(self, number: int) -> bool:
        lasts = self._lasts
        if not lasts or number > lasts[-1]:
            return False
        at = bisect_right(self._firsts, number) - 1
        return at >= 0 and number <= lasts[at]

    def __bool__(self) -> bool:
        return bool(self._firsts)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Numbers):
            return NotImplemented
        return self._firsts == other._firsts and self._lasts == other._lasts

    __hash__ = None  # type: ignore[assignment]  # it changes: never a key

    def __repr__(self) -> str:
        return f"Numbers({list(self)})"

    def add(self, first: int, last: int | None = None) -> None:
        """Take in one number, or all from first to last."""
        last = first if last is None else last
        firsts, lasts = self._firsts, self._lasts
        if lasts and first == lasts[-1] + 1:  # the next in order: nearly always
            lasts[-1] = last
            return
        left = bisect_right(firsts, first)
        if left and lasts[left - 1] >= first - 1:
            left -= 1
            first = firsts[left]
        right = bisect_right(firsts, last + 1)
        if right > left:
            last = max(last, lasts[right - 1])
        firsts[left:right] = [first]
        lasts[left:right] = [last]

    def update(self, other: Numbers) -> None:
        for first, last in other:
            self.add(first, last)

    def discard(self, number: int) -> None:
        """Take one number out."""
        if number not in self:
            return
        at = bisect_right(self._firsts, number) - 1
        first, last = self._firsts[at], self._lasts[at]
        kept = [(a, b) for a, b in ((first, number - 1), (number + 1, last)) if a <= b]
        self._firsts[at : at + 1] = [a for a, _ in kept]
        self._lasts[at : at + 1] = [b for _, b in kept]

    def covers(self, other: Numbers) -> bool:
        """Whether every number of the other is here."""
        for first, last in other:
            at = bisect_right(self._firsts, first) - 1
            if at < 0 or self._lasts[at] < last:
                return False
        return True

    def count(self) -> int:
        """How many numbers there are."""
        return sum(self._lasts) - sum(self._firsts) + len(self._firsts)

    def count_in(self, other: Numbers) -> int:
        """How many of them the other has too."""
        ours, theirs = iter(self), iter(other)
        count, mine, its = 0, next(ours, None), next(theirs, None)
        while mine is not None and its is not None:
            count += max(0, min(mine[1], its[1]) - max(mine[0], its[0]) + 1)
            if mine[1] < its[1]:
                mine = next(ours, None)
            else:
                its = next(theirs, None)
        return count

    def through(self) -> int:
        """The highest n such that 1 … n are all here; 0 where 1 is not."""
        return self._lasts[0] if self._firsts and self._firsts[0] == 1 else 0

    def highest(self) -> int:
        return self._lasts[-1] if self._lasts else 0

    def copy(self) -> Numbers:
        twin = Numbers()
        twin._firsts, twin._lasts = self._firsts.copy(), self._lasts.copy()
        return twin


Have = dict[str, Numbers]
