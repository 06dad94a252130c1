"""From what a person says on the command line to a decision about a conflict: by options, or asked field by field.

Refused: a side that is none of the conflict's, and words that could be meant for several conflicts at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import click
import msgspec

from medxz.errors import OpInvalid, StoreError
from medxz.ids import is_uuid
from medxz.merge.change import members_of
from medxz.merge.view import Conflict

if TYPE_CHECKING:
    from medxz.device.device import Device

_LEAVE: Final = "leave"


@dataclass(frozen=True, slots=True)
class Told:
    """What was said by options."""

    take: tuple[str, ...]
    sets: tuple[str, ...]
    payload: bytes | None
    reason: str | None

    @property
    def says_nothing(self) -> bool:
        return not self.take and not self.sets and self.payload is None


@dataclass(frozen=True, slots=True)
class Choice:
    """Whose side is taken, or whose for each field; values in place of theirs; why."""

    take: str | dict[str, str] | None
    fields: dict[str, bytes]
    reason: str


def target(about: str) -> str | tuple[str, str]:
    """A conflict's id, or TYPE/ID."""
    entity_type, slash, entity_id = about.partition("/")
    name = (entity_id if slash else about).lower()
    if not is_uuid(name):
        raise click.BadParameter(f"{name!r} is not a UUID", param_hint="CONFLICT|TYPE/ID")
    return (entity_type, name) if slash else name


async def sides_of(device: Device, about: str | tuple[str, str]) -> list[Conflict]:
    """The conflicts that this is about, as they stand now."""
    if isinstance(about, tuple):
        view = await device.get(*about)
        return list(view.conflicts) if view is not None else []
    held = await device.conflict(about)
    if held is None:
        raise StoreError(f"there is no conflict {about} here")
    view = await device.get(held.entity_type, held.entity_id)
    conflicts = view.conflicts if view is not None else ()
    return [conflict for conflict in conflicts if conflict.conflict_id == about]


def chosen(told: Told, conflicts: Sequence[Conflict]) -> Choice | None:
    """What the options say; None where they don't say enough."""
    if told.says_nothing or told.reason is None:
        return None
    return Choice(_take(told.take, conflicts), _fields(told), told.reason)


def asked(told: Told, conflicts: Sequence[Conflict]) -> Choice:
    """The rest, asked on the terminal. Leaving all of it as it is ends the command."""
    from medxz.device import show_entities

    take = _take(told.take, conflicts)
    if told.says_nothing:
        show_entities.tell_conflicts([show_entities.told(conflict) for conflict in conflicts], as_json=False)
        take = _asked_sides(conflicts)
        if not take:
            raise click.Abort
    return Choice(take, _fields(told), told.reason or click.prompt("why"))


def _asked_sides(conflicts: Sequence[Conflict]) -> str | dict[str, str]:
    take: dict[str, str] = {}
    for conflict in conflicts:
        numbers = {str(place): side.op_id for place, side in enumerate(conflict.sides, start=1)}
        for name in conflict.fields:
            what = "the whole" if conflict.kind == "retract" else name
            kind = click.Choice([*numbers, _LEAVE])
            said = click.prompt(f"{what}: which side is to stand", type=kind, default=_LEAVE)
            if said in numbers and conflict.kind == "retract":
                return numbers[said]
            if said in numbers:
                take[name] = numbers[said]
    return take


def _take(words: Sequence[str], conflicts: Sequence[Conflict]) -> str | dict[str, str] | None:
    pairs = [(name, side) for name, equals, side in (word.rpartition("=") for word in words) if equals]
    whole = [word for word in words if "=" not in word]
    if len(whole) > 1 or (whole and pairs):
        raise click.UsageError("--take SIDE is for all of it: give it once, or --take FIELD=SIDE for each")
    if whole:
        return _side(whole[0], conflicts)
    return {name: _side(side, conflicts) for name, side in pairs} or None


def _side(word: str, conflicts: Sequence[Conflict]) -> str:
    if not word.isdecimal():
        return word.lower()
    op_ids = {tuple(side.op_id for side in conflict.sides) for conflict in conflicts}
    if len(op_ids) != 1:
        raise click.UsageError("a side's number is of one conflict: name the op instead")
    [sides] = op_ids
    if not 1 <= int(word) <= len(sides):
        raise click.UsageError(f"there is no side {word}: there are {len(sides)}")
    return sides[int(word) - 1]


def _fields(told: Told) -> dict[str, bytes]:
    fields: dict[str, bytes] = {}
    if told.payload is not None:
        try:
            fields |= members_of(told.payload)
        except msgspec.MsgspecError:
            raise OpInvalid("payload", "is no JSON object") from None
    for word in told.sets:
        name, equals, text = word.partition("=")
        if not equals:
            raise click.UsageError(f"--set takes FIELD=JSON, not {word!r}")
        fields[name] = text.encode(errors="surrogateescape")
    return fields
