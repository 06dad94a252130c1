"""The merge policy: each field has the value of its live writers, and is in conflict where these differ.

A writer of a field is live while none of its descendants writes that field too. A retract is live while no amend or
resolve descends from it, and retracts each head that it is behind.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Self

from medxz.merge.change import Change
from medxz.merge.fields import Fields, differing
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


class Torn:
    """The fields whose live writers do not say the same, and the finding that this is."""

    __slots__ = ("_finding", "fields")

    def __init__(self, fields: dict[str, Writers]) -> None:
        self.fields = fields
        self._finding: Finding | None = None

    def without(self, names: Iterable[str]) -> Torn:
        """What is left when these fields were written anew."""
        gone = self.fields.keys() & names if self.fields else ()
        return Torn({name: some for name, some in self.fields.items() if name not in gone}) if gone else self

    def finding(self) -> Finding | None:
        """What the ops up to here do not agree on; found once, for all that follow and do not change it."""
        if self._finding is None and self.fields:
            several = {id(writers): writers for writers in self.fields.values()}.values()
            op_ids = {writer.change.op_id for writers in several for writer in writers}
            self._finding = Finding("edit", tuple(sorted(self.fields)), tuple(sorted(op_ids)))
        return self._finding


_NOT_TORN: Final = Torn({})


class Merged(Standing):
    """The live writers of each field that was ever written, and the live retracts."""

    __slots__ = ("head", "live", "retracts", "sides", "torn")

    def __init__(
        self,
        closure: int,
        live: Fields[Writers],
        torn: Torn | None = None,
        retracts: Writers = (),
        sides: Sequence[Merged] = (),
    ) -> None:
        self.bit = 0
        self.closure = closure
        self.live = live
        self.torn = torn or _NOT_TORN
        self.retracts = retracts
        self.sides = sides
        self.head: Change | None = None

    @classmethod
    def nothing(cls) -> Self:
        return cls(0, Fields({}))

    @classmethod
    def joined(cls, sides: Sequence[Self]) -> Self:
        changed: dict[str, Writers] = {}
        known: dict[tuple[tuple[int, int], ...], Writers] = {}
        for name, groups in differing([side.live for side in sides]):
            key = tuple((id(writers), places) for writers, places in groups)
            if key not in known:
                known[key] = _still_live(
                    [(_closure(_among(sides, places)), some or ()) for some, places in groups]
                )
            changed[name] = known[key]
        live = sides[0].live.put(changed)
        retracts = _still_live([(side.closure, side.retracts) for side in sides])
        return cls(_closure(sides), live, _torn_together(sides, changed), retracts, sides)

    def followed_by(self, change: Change, bit: int) -> Self:
        writers = (Writer(change, bit),)
        live, torn = self.live, self.torn
        if change.op_type == "amend":  # it writes what it drops, too
            live, torn = live.filled(writers), _NOT_TORN
        live = live.put(dict.fromkeys(change.fields, writers))
        torn = torn.without(change.fields)
        retracts = self.retracts
        if change.op_type == "retract":
            retracts = (*retracts, *writers)
        elif change.op_type in {"amend", "resolve"}:
            retracts = ()
        result = type(self)(self.closure | bit, live, torn, retracts)
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
            mask = mask_of(self.retracts)
            retracted = sum(1 for side in self.sides if side.closure & mask)
            if 0 < retracted < len(self.sides):
                found.append(Finding("retract", ALL_FIELDS, tuple(sorted(map(_head_id, self.sides)))))
        edit = self.torn.finding()
        # the same ops are the same conflict: the retract's sides hold these fields too
        if edit is not None and (not found or found[0].op_ids != edit.op_ids):
            found.append(edit)
        return found

    def said(self, finding: Finding) -> list[Said]:
        if finding.kind == "retract":
            return self._sides_said()
        unretracted = self._unretracted()
        writers = {
            writer.change.op_id: writer for name in finding.fields for writer in self.torn.fields[name]
        }
        values: dict[str, dict[str, bytes | None]] = {op_id: {} for op_id in sorted(writers)}
        for name in finding.fields:
            for writer in self.torn.fields[name]:
                values[writer.change.op_id][name] = writer.value(name)
        return [
            Said(writer.change, some, None if writer.bit & unretracted else self._mark_behind(writer.bit))
            for writer, some in ((writers[op_id], some) for op_id, some in values.items())
        ]

    def merge(self) -> Merge | None:
        if not self.sides:
            return None
        fields = {}
        for name in sorted(name for name, _ in differing([self.live, *(side.live for side in self.sides)])):
            writers = self.live.get(name) or ()
            apart = any(side.live.get(name) != writers for side in self.sides)
            if apart and not differ(writers, name):
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
            Fields.of({name: tuple(some) for name, some in live.items()}),
            Torn({name: tuple(some) for name, some in live.items() if differ(tuple(some), name)}),
            tuple(writers[op_id] for op_id in ground.retracts),
        )
        result.head, result.bit = head, writers[ground.head].bit
        return result

    @property
    def bytes_kept(self) -> int:
        head = self.head.fields if self.head else {}
        values = sum(len(value) for value in head.values() if value is not None)
        own = len(self.live) if self.head and self.head.op_type in {"amend", ""} else len(head)
        return 1_500 + 400 * own + values + self.closure.bit_length() // 8

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


def mask_of(writers: Writers) -> int:
    """The places of all of these."""
    mask = 0
    for writer in writers:
        mask |= writer.bit
    return mask


def _closure(sides: Sequence[Merged]) -> int:
    """All that these sides follow, or are."""
    closure = 0
    for side in sides:
        closure |= side.closure
    return closure


def _among(sides: Sequence[Merged], places: int) -> list[Merged]:
    """The sides in these places."""
    some = []
    while places:
        place = places.bit_length() - 1
        places ^= 1 << place
        some.append(sides[place])
    return some


def _torn_together(sides: Sequence[Merged], changed: Mapping[str, Writers]) -> Torn:
    """What is torn where these sides are beside each other. What is the same on all is torn as it was."""
    several = {id(side.torn): side.torn for side in sides if side.torn.fields}
    torn = {name: writers for name, writers in changed.items() if differ(writers, name)}
    if not torn and len(several) == 1:
        [there] = several.values()
        return there.without(changed)
    for there in several.values():
        torn |= {name: writers for name, writers in there.fields.items() if name not in changed}
    return Torn(torn) if torn else _NOT_TORN


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
        dead |= closure & ~mask_of(writers)
    living = [writer for bit, writer in found.items() if not bit & dead]
    return tuple(sorted(living, key=lambda writer: writer.change.op_id))


def differ(writers: Writers, name: str) -> bool:
    """Whether these do not all write the same into that field."""
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
