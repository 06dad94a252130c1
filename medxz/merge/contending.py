"""The append and manual policies: nothing merges. What was written side by side has to agree, or contends.

Field by field: where all that comes together at an op agrees, or the op says it anew, the field goes under that op.
Where it does not, the field keeps the ops that it went under, which so stay the sides of the conflict that a `resolve`
of other fields leaves open. Whether the entity is retracted is judged like a field.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Self

from medxz.merge.change import Change
from medxz.merge.fields import Fields, Groups, differing
from medxz.merge.standing import ALL_FIELDS, Finding, Ground, Merge, Retracted, Said, Standing, stub

Values = Fields[bytes | None]  # None: removed, or torn


class Voice:
    """An op, as what stands under it: the fields on which it had the last word, and its mark of a retract."""

    __slots__ = ("change", "mark", "values")

    def __init__(self, change: Change, values: Values, mark: Retracted | None) -> None:
        self.change = change
        self.values = values
        self.mark = mark


Voices = tuple[Voice, ...]


class Contended(Standing):
    """The fields that are agreed, and to each that is not the ops that it stands under."""

    __slots__ = ("mark", "sides", "torn", "torn_mark", "values", "voice")

    def __init__(
        self,
        closure: int,
        values: Values,
        mark: Retracted | None = None,
        torn: dict[str, Voices] | None = None,
        torn_mark: Voices = (),
        sides: Sequence[Contended] = (),
    ) -> None:
        self.bit = 0
        self.closure = closure
        self.values = values
        self.mark = mark
        self.torn = torn or {}
        self.torn_mark = torn_mark
        self.sides = sides
        self.voice: Voice | None = None

    @classmethod
    def nothing(cls) -> Self:
        return cls(0, Fields({}))

    @classmethod
    def joined(cls, sides: Sequence[Self]) -> Self:
        everybody = _together((_voice(side),) for side in sides)
        torn_before = dict.fromkeys(name for torn in _each_torn(sides) for name in torn)
        changed: dict[str, bytes | None] = dict.fromkeys(torn_before)
        torn: dict[str, Voices] = {}
        for name in torn_before:
            voices = _together(side.torn.get(name) or (_voice(side),) for side in sides)
            changed[name] = voices[0].values.get(name)
            if any(voice.values.get(name) != changed[name] for voice in voices):
                torn[name], changed[name] = voices, None
        for name, groups in differing([side.values for side in sides]):
            if name not in torn_before and _apart(groups):
                torn[name], changed[name] = everybody, None
        values = sides[0].values.put(changed)
        voices = _together(side.torn_mark or (_voice(side),) for side in sides)
        marks = [voice.mark for voice in voices if voice.mark is not None]
        agreed = len(marks) in {0, len(voices)}
        closure = 0
        for side in sides:
            closure |= side.closure
        mark = _greater(*marks) if agreed else None
        return cls(closure, values, mark, torn, () if agreed else voices, sides)

    def followed_by(self, change: Change, bit: int) -> Self:
        if change.op_type in {"create", "amend"}:
            values, torn = Values.of(change.fields), {}
        else:
            values, torn = self.values.put(change.fields), self.torn
        if torn and torn.keys() & change.fields.keys():
            torn = {name: voices for name, voices in torn.items() if name not in change.fields}
        mark, torn_mark = self.mark, self.torn_mark
        if change.op_type == "retract":
            there = (mark, *(voice.mark for voice in torn_mark), Retracted(change.op_id, change.reason))
            mark, torn_mark = _greater(*there), ()
        elif change.op_type in {"amend", "resolve"}:
            mark, torn_mark = None, ()
        result = type(self)(self.closure | bit, values, mark, torn, torn_mark)
        result.voice, result.bit = Voice(change, values, mark), bit
        return result

    def shown(self) -> dict[str, bytes]:
        state = {name: value for name, value in self.values.items() if value is not None}
        for name in self.torn:
            value = self._first_choice(name).values.get(name)
            if value is not None:
                state[name] = value
        return state

    def retracted(self) -> Retracted | None:
        return self.mark

    def findings(self) -> list[Finding]:
        if not self.torn and not self.torn_mark:
            return []
        op_ids = tuple(sorted({voice.change.op_id for voice in self._voices()}))
        if self.torn_mark:
            return [Finding("retract", ALL_FIELDS, op_ids)]
        return [Finding("edit", tuple(sorted(self.torn)), op_ids)]

    def said(self, finding: Finding) -> list[Said]:
        retract = finding.kind == "retract"
        voices = {voice.change.op_id: voice for voice in self._voices()}
        values: dict[str, dict[str, bytes | None]] = {op_id: {} for op_id in sorted(voices)}
        for name in sorted(self.torn):
            for voice in self.torn[name]:
                values[voice.change.op_id][name] = voice.values.get(name)
        if retract:
            agreed = {name: value for name, value in self.values.items() if value is not None}
            values = {op_id: dict(sorted({**agreed, **some}.items())) for op_id, some in values.items()}
        torn_mark = set(self.torn_mark)
        return [
            Said(voices[op_id].change, some, self._mark_of(voices[op_id], torn_mark))
            for op_id, some in values.items()
        ]

    def merge(self) -> Merge | None:
        if not self.sides or self.torn or self.torn_mark:
            return None
        return Merge(tuple(sorted(_voice(side).change.op_id for side in self.sides)), {})

    def ground(self) -> Ground:
        fields: dict[str, bytes | None] = {n: value for n, value in self.values.items() if value is not None}
        marks = {} if self.mark is None else {self.mark.op_id: self.mark.reason}
        head = _voice(self).change.op_id
        return Ground(head, {head: fields}, marks)

    @classmethod
    def upon(cls, ground: Ground) -> Self:
        fields = ground.fields.get(ground.head, {})
        values = Values.of(fields)
        mark = _greater(*(Retracted(op_id, reason) for op_id, reason in ground.retracts.items()))
        result = cls(1, values, mark)
        result.voice, result.bit = Voice(stub(ground.head, fields), values, mark), 1
        return result

    @property
    def bytes_kept(self) -> int:
        head = self.voice.change.fields if self.voice else {}
        values = sum(len(value) for value in head.values() if value is not None)
        torn = sum(map(len, self.torn.values()))
        return 1_500 + 400 * len(head) + 100 * torn + values + self.closure.bit_length() // 8

    def _mark_of(self, voice: Voice, torn_mark: set[Voice]) -> Retracted | None:
        if torn_mark:
            return voice.mark if voice in torn_mark else None
        return self.mark and (voice.mark or self.mark)

    def _voices(self) -> Iterable[Voice]:
        for voices in {id(voices): voices for voices in self.torn.values()}.values():
            yield from voices
        yield from self.torn_mark

    def _first_choice(self, name: str) -> Voice:
        """An unretracted one before a retracted one, then the greatest op_id."""
        best: tuple[bool, str] | None = None
        chosen: Voice | None = None
        for side in self.sides or (self,):
            retracted = side.mark is not None
            for voice in side.torn.get(name) or (_voice(side),):
                marked = voice.mark is not None if voice in side.torn_mark else retracted
                rank = (not marked, voice.change.op_id)
                if best is None or rank > best:
                    best, chosen = rank, voice
        assert chosen is not None, "a field that is torn stands under two ops at least"
        return chosen


def _voice(side: Contended) -> Voice:
    assert side.voice is not None, "what is joined are the standings of ops"
    return side.voice


def _each_torn(sides: Iterable[Contended]) -> Iterable[dict[str, Voices]]:
    """What is torn on any side, each dict once: ops that follow one another share theirs."""
    return {id(side.torn): side.torn for side in sides if side.torn}.values()


def _apart(groups: Groups[bytes | None]) -> bool:
    """Whether the sides do not all say the same: equal values may be different objects."""
    return any(value != groups[0][0] for value, _ in groups)


def _together(several: Iterable[Voices]) -> Voices:
    """All of these, each once, by op_id."""
    found = {voice.change.op_id: voice for voices in set(several) for voice in voices}
    return tuple(voice for _, voice in sorted(found.items()))


def _greater(*marks: Retracted | None) -> Retracted | None:
    return max((mark for mark in marks if mark is not None), key=lambda mark: mark.op_id, default=None)
