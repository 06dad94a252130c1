"""The merge policy: each field has the value of its live writers, and is in conflict where these differ.

A writer of a field is live while none of its descendants writes that field too. A retract is live while no amend or
resolve descends from it, and retracts each head that it is behind.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Self

from medxz.merge.change import Change
from medxz.merge.standing import ALL_FIELDS, Finding, Ground, Merge, Retracted, Said, Standing, greatest, stub


class Writer:
    """An op, as the writer of fields: its place's bit, and what it wrote."""

    __slots__ = ("bit", "change")

    def __init__(self, change: Change, bit: int) -> None:
        self.change = change
        self.bit = bit

    def value(self, name: str) -> bytes | None:
        """None also where an amend drops the field."""
        return self.change.fields.get(name)


Writers = tuple[Writer, ...]


class Merged(Standing):
    """The live writers of each field that was ever written, and the live retracts."""

    __slots__ = ("head", "live", "retracts", "shared", "sides")

    def __init__(
        self,
        closure: int,
        live: dict[str, Writers],
        shared: tuple[str, ...] = (),
        retracts: Writers = (),
        sides: Sequence[Merged] = (),
    ) -> None:
        self.bit = 0
        self.closure = closure
        self.live = live
        self.shared = shared  # the fields with several live writers
        self.retracts = retracts
        self.sides = sides
        self.head: Change | None = None

    @classmethod
    def nothing(cls) -> Self:
        return cls(0, {})

    @classmethod
    def joined(cls, sides: Sequence[Self]) -> Self:
        live: dict[str, Writers] = {}
        shared = []
        for name in dict.fromkeys(name for side in sides for name in side.live):
            live[name] = _still_live([(side.closure, side.live.get(name, ())) for side in sides])
            if len(live[name]) > 1:
                shared.append(name)
        retracts = _still_live([(side.closure, side.retracts) for side in sides])
        closure = 0
        for side in sides:
            closure |= side.closure
        return cls(closure, live, tuple(shared), retracts, sides)

    def followed_by(self, change: Change, bit: int) -> Self:
        writers = (Writer(change, bit),)
        live = dict(self.live)
        if change.op_type == "amend":  # it writes what it drops, too
            live = dict.fromkeys(live, writers)
        for name in change.fields:
            live[name] = writers
        shared = self.shared and tuple(name for name in self.shared if live[name] is self.live[name])
        retracts = self.retracts
        if change.op_type == "retract":
            retracts = (*retracts, *writers)
        elif change.op_type in {"amend", "resolve"}:
            retracts = ()
        result = type(self)(self.closure | bit, live, shared, retracts)
        result.head, result.bit = change, bit
        return result

    def shown(self) -> dict[str, bytes]:
        unretracted = None
        state = {}
        for name, writers in self.live.items():
            if len(writers) == 1:
                value = writers[0].value(name)
            else:
                if unretracted is None:
                    unretracted = self._unretracted()
                value = _first_choice(writers, unretracted).value(name)
            if value is not None:
                state[name] = value
        return state

    def retracted(self) -> Retracted | None:
        if not self.retracts or self._unretracted():
            return None
        return greatest([writer.change for writer in self.retracts])

    def findings(self) -> list[Finding]:
        found = []
        if self.retracts and self.sides:
            unretracted = [side for side in self.sides if not self._behind(side)]
            if 0 < len(unretracted) < len(self.sides):
                found.append(Finding("retract", ALL_FIELDS, tuple(sorted(map(_head_id, self.sides)))))
        torn = sorted(name for name in self.shared if _differ(self.live[name], name))
        if torn:
            ops = {writer.change.op_id for name in torn for writer in self.live[name]}
            edit = Finding("edit", tuple(torn), tuple(sorted(ops)))
            # the same ops are the same conflict: the retract's sides hold these fields too
            if not found or found[0].op_ids != edit.op_ids:
                found.append(edit)
        return found

    def said(self, finding: Finding) -> list[Said]:
        if finding.kind == "retract":
            return self._sides_said()
        unretracted = self._unretracted()
        writers = {writer.change.op_id: writer for name in finding.fields for writer in self.live[name]}
        values: dict[str, dict[str, bytes | None]] = {op_id: {} for op_id in sorted(writers)}
        for name in finding.fields:
            for writer in self.live[name]:
                values[writer.change.op_id][name] = writer.value(name)
        return [
            Said(writer.change, some, None if writer.bit & unretracted else self._mark_behind(writer.bit))
            for writer, some in ((writers[op_id], some) for op_id, some in values.items())
        ]

    def merge(self) -> Merge | None:
        if not self.sides:
            return None
        fields = {}
        for name, writers in sorted(self.live.items()):
            apart = any(side.live.get(name) != writers for side in self.sides)
            if apart and not _differ(writers, name):
                fields[name] = writers[0].value(name), tuple(writer.change.op_id for writer in writers)
        if not fields and self.findings():
            return None
        return Merge(tuple(sorted(map(_head_id, self.sides))), fields)

    def ground(self) -> Ground:
        fields: dict[str, dict[str, bytes | None]] = {}
        for name, writers in self.live.items():
            for writer in writers:
                fields.setdefault(writer.change.op_id, {})[name] = writer.value(name)
        retracts = {writer.change.op_id: writer.change.reason for writer in self.retracts}
        return Ground(_head_id(self), fields, retracts)

    @classmethod
    def upon(cls, ground: Ground) -> Self:
        known = {op_id: stub(op_id, fields) for op_id, fields in ground.fields.items()}
        for op_id, reason in ground.retracts.items():
            known[op_id] = stub(op_id, {}, reason)
        head = known.setdefault(ground.head, stub(ground.head, {}))
        writers = {op_id: Writer(change, 1 << place) for place, (op_id, change) in enumerate(known.items())}
        live: dict[str, list[Writer]] = {}
        for op_id, fields in sorted(ground.fields.items()):
            for name in fields:
                live.setdefault(name, []).append(writers[op_id])
        result = cls(
            (1 << len(writers)) - 1,
            {name: tuple(some) for name, some in live.items()},
            tuple(name for name, some in live.items() if len(some) > 1),
            tuple(writers[op_id] for op_id in ground.retracts),
        )
        result.head, result.bit = head, writers[ground.head].bit
        return result

    @property
    def bytes_kept(self) -> int:
        head = self.head.fields if self.head else {}
        values = sum(len(value) for value in head.values() if value is not None)
        return 800 + 100 * (len(self.live) + len(head)) + values + self.closure.bit_length() // 8

    def _sides_said(self) -> list[Said]:
        states = [(side, side.shown()) for side in sorted(self.sides, key=_head_id)]
        names = sorted({name for _, state in states for name in state})
        return [
            Said(_head(side), {name: state.get(name) for name in names}, greatest(self._behind(side)))
            for side, state in states
        ]

    def _behind(self, side: Merged) -> list[Change]:
        """The live retracts that this head follows."""
        return [writer.change for writer in self.retracts if writer.bit & side.closure]

    def _unretracted(self) -> int:
        """The ops that an unretracted head follows, or is."""
        ops = 0
        for side in self.sides or (self,):
            if not self._behind(side):
                ops |= side.closure
        return ops

    def _mark_behind(self, bit: int) -> Retracted | None:
        """The mark of the retracted heads that follow the op in this place."""
        return greatest(
            [mark for side in self.sides or (self,) if side.closure & bit for mark in self._behind(side)]
        )


def _still_live(sides: Iterable[tuple[int, Writers]]) -> Writers:
    """Those writers that are live on each side that knows them."""
    closures: dict[Writers, int] = {}
    for closure, writers in sides:
        closures[writers] = closures.get(writers, 0) | closure
    if len(closures) == 1:
        return next(iter(closures))
    found = {writer.bit: writer for writers in closures for writer in writers}
    dead = 0
    for writers, closure in closures.items():
        mask = 0
        for writer in writers:
            mask |= writer.bit
        dead |= closure & ~mask
    living = [writer for bit, writer in found.items() if not bit & dead]
    return tuple(sorted(living, key=lambda writer: writer.change.op_id))


def _differ(writers: Writers, name: str) -> bool:
    first = writers[0].value(name)
    return any(writer.value(name) != first for writer in writers)


def _first_choice(writers: Writers, unretracted: int) -> Writer:
    """An unretracted one before a retracted one, then the greatest op_id."""
    return max(writers, key=lambda writer: (bool(writer.bit & unretracted), writer.change.op_id))


def _head(side: Merged) -> Change:
    assert side.head is not None, "what is joined are the standings of ops"
    return side.head


def _head_id(side: Merged) -> str:
    return _head(side).op_id
