"""The heads of an entity that lie beside each other, as one more comes: is it in conflict now, and on what?

What `joined` says of all the heads (standing.py) is kept up to date here. One more op costs what it writes and the
conflict that it is told of, however many heads there are and however many fields the entity has.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Generic, TypeVar

from medxz.merge.contending import Contended
from medxz.merge.fields import differing
from medxz.merge.merging import Merged, Writer, Writers, differ, mask_of
from medxz.merge.standing import ALL_FIELDS, Finding, Standing

S = TypeVar("S", bound=Standing)


class Heads(ABC, Generic[S]):
    """Two heads or more."""

    def __init__(self, heads: Mapping[str, S]) -> None:
        self._heads = dict(heads)
        self._ids = sorted(heads)

    def add(self, op_id: str, head: S, parents: Iterable[str]) -> None:
        """One more, in the place of those of its parents that were heads."""
        gone = [parent for parent in parents if parent in self._heads]
        self._take(head, [self._heads[parent] for parent in gone])
        for parent in gone:
            del self._heads[parent]
            del self._ids[bisect_left(self._ids, parent)]
        self._heads[op_id] = head
        insort(self._ids, op_id)

    @abstractmethod
    def finding(self) -> Finding | None:
        """The first that `joined` would have."""

    @abstractmethod
    def _take(self, head: S, gone: list[S]) -> None:
        """Note what changes; the heads are still those before it."""


def heads_of(heads: Mapping[str, Standing]) -> Heads[Standing]:
    """These beside each other: all are of one policy, and none is behind another."""
    kind = MergedHeads if isinstance(next(iter(heads.values())), Merged) else ContendedHeads
    return kind(heads)  # type: ignore[arg-type, return-value]


class MergedHeads(Heads[Merged]):
    """Which writers are live in all ops together: an op changes that of the fields that it writes, and no other."""

    def __init__(self, heads: Mapping[str, Merged]) -> None:
        super().__init__(heads)
        joined = Merged.joined(list(heads.values()))
        self._live = joined.live
        self._retracts = joined.retracts
        self._torn: dict[str, Writers] = {}
        self._times: Counter[str] = Counter()  # for how many torn fields an op is a side
        self._sides: list[str] = []
        for name, writers in joined.torn.fields.items():
            self._tear(name, writers)

    def finding(self) -> Finding | None:
        mask = mask_of(self._retracts)
        if mask:
            retracted = sum(1 for head in self._heads.values() if head.closure & mask)
            if 0 < retracted < len(self._heads):
                return Finding("retract", ALL_FIELDS, tuple(self._ids))
        if not self._torn:
            return None
        return Finding("edit", tuple(sorted(self._torn)), tuple(self._sides))

    def _take(self, head: Merged, gone: list[Merged]) -> None:  # noqa: ARG002 - what is behind the head tells
        change = head.head
        assert change is not None, "what comes is the standing of an op"
        amend = change.op_type == "amend"
        names = [name for name, _ in head.live.items()] if amend else list(change.fields)
        changed: dict[str, Writers] = {}
        known: dict[int, Writers] = {}  # fields that the same ops wrote are looked at once
        for name in names:
            old = self._live.get(name) or ()
            if id(old) not in known:
                known[id(old)] = _followed(old, head)
            changed[name] = known[id(old)]
            self._tear(name, changed[name], old)
        self._live = self._live.put(changed)
        if change.op_type == "retract":
            self._retracts = (*self._retracts, Writer(change, head.bit))
        elif change.op_type in {"amend", "resolve"}:
            self._retracts = tuple(one for one in self._retracts if not one.bit & head.closure)

    def _tear(self, name: str, writers: Writers, old: Writers = ()) -> None:
        """These are live now; `old` were."""
        gone = self._torn.pop(name, ())
        more = _more(writers, old) if old and len(writers) == len(old) + 1 else None
        if more is None:
            torn = len(writers) > 1 and differ(writers, name)
        else:  # nothing is superseded
            torn = bool(gone) or more.value(name) != old[0].value(name)
        if torn:
            self._torn[name] = writers
        if gone and more is not None:
            self._count(more, 1)
            return
        for writer in gone:
            self._count(writer, -1)
        for writer in writers if torn else ():
            self._count(writer, 1)

    def _count(self, writer: Writer, by: int) -> None:
        op_id = writer.change.op_id
        before = self._times[op_id]
        self._times[op_id] = before + by
        if not before:
            insort(self._sides, op_id)
        elif not before + by:
            del self._times[op_id]
            del self._sides[bisect_left(self._sides, op_id)]


def _followed(old: Writers, head: Merged) -> Writers:
    """Those of these writers that the head does not follow, and the head; by op_id."""
    assert head.head is not None, "what comes is the standing of an op"
    closure = head.closure
    left = [writer for writer in old if not writer.bit & closure]
    insort(left, Writer(head.head, head.bit), key=_op_id)
    return tuple(left)


def _more(writers: Writers, old: Writers) -> Writer:
    """The one that is not among the old; both are by op_id."""
    first, last = 0, len(old)
    while first < last:
        middle = (first + last) // 2
        if writers[middle] is old[middle]:
            first = middle + 1
        else:
            last = middle
    return writers[first]


def _op_id(writer: Writer) -> str:
    return writer.change.op_id


class ContendedHeads(Heads[Contended]):
    """How many heads say what of each field on which they do not agree; on all others they say what any of them does.

    A head on which a field is torn says all that its sides say.
    """

    def __init__(self, heads: Mapping[str, Contended]) -> None:
        [first, *others] = heads
        super().__init__({first: heads[first]})
        self._said: dict[str, Counter[bytes | None]] = {}
        self._marked: Counter[bool] = Counter()
        self._inner: Counter[str] = Counter()  # on how many heads something is torn that stands under an op
        self._mark(heads[first], 1)
        self._start(heads[first])
        for op_id in others:
            self.add(op_id, heads[op_id], ())

    def finding(self) -> Finding | None:
        contended = len(self._marked) > 1
        if not self._said and not contended:
            return None
        if self._inner:
            op_ids = tuple(sorted({*self._inner, *self._whole(contended=contended)}))
        else:
            op_ids = tuple(self._ids)
        if contended:
            return Finding("retract", ALL_FIELDS, op_ids)
        return Finding("edit", tuple(sorted(self._said)), op_ids)

    def _whole(self, *, contended: bool) -> Iterable[str]:
        """The heads that are sides themselves: not those that left all of it open, as it was."""
        for op_id, head in self._heads.items():
            if len(head.torn) < len(self._said) or (contended and not head.torn_mark):
                yield op_id

    def _start(self, head: Contended) -> None:
        for name in head.torn:
            self._said[name] = Counter(_words(head, name))

    def _take(self, head: Contended, gone: list[Contended]) -> None:
        if gone:
            self._replace(gone[0], head)
        else:
            self._beside(head)
        for one in gone[1:]:
            self._mark(one, -1)
            for name in list(self._said):
                self._unsay(one, name)
                self._agree(name)

    def _replace(self, old: Contended, head: Contended) -> None:
        self._mark(old, -1)
        self._mark(head, 1)
        names = {name for name, _ in differing([old.values, head.values])}
        if old.torn is not head.torn:
            names.update(old.torn, head.torn)
        for name in names:
            if name not in self._said:
                self._said[name] = Counter({old.values.get(name): len(self._heads)})
            self._unsay(old, name)
            self._said[name].update(_words(head, name))
            self._agree(name)

    def _beside(self, head: Contended) -> None:
        self._mark(head, 1)
        other = self._heads[next(reversed(self._heads))]  # the nearest, most likely
        for name in self._said:
            self._said[name].update(_words(head, name))
        for name in {*(name for name, _ in differing([other.values, head.values])), *head.torn}:
            if name not in self._said:
                self._said[name] = Counter({other.values.get(name): len(self._heads)})
                self._said[name].update(_words(head, name))
                self._agree(name)

    def _unsay(self, head: Contended, name: str) -> None:
        said = self._said[name]
        for word in _words(head, name):
            said[word] -= 1
            if not said[word]:
                del said[word]

    def _agree(self, name: str) -> None:
        if len(self._said[name]) <= 1:
            del self._said[name]

    def _mark(self, head: Contended, by: int) -> None:
        """Count this head among the retracted or the others, and the ops inside it."""
        for marked in [voice.mark is not None for voice in head.torn_mark] or [head.mark is not None]:
            self._marked[marked] += by
            if not self._marked[marked]:
                del self._marked[marked]
        if head.torn or head.torn_mark:
            for op_id in _inside(head):
                self._inner[op_id] += by
                if not self._inner[op_id]:
                    del self._inner[op_id]


def _words(head: Contended, name: str) -> list[bytes | None]:
    """All that is said of a field on this head."""
    voices = head.torn.get(name)
    return [voice.values.get(name) for voice in voices] if voices else [head.values.get(name)]


def _inside(head: Contended) -> set[str]:
    """The ops that what is torn on this head stands under."""
    several = {id(voices): voices for voices in (*head.torn.values(), head.torn_mark)}
    return {voice.change.op_id for voices in several.values() for voice in voices}
