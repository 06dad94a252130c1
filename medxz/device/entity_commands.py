"""The commands of `medxz` that are about entities: what they look like, what became of them, what is in conflict.

A conflict is settled by a person: each side is shown with who, when and where, and on a terminal it is asked for field
by field whose value is to stand.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, TypeVar

import click

from medxz import limits
from medxz.commandline import Example, Uuid
from medxz.device.commanding import common, compact_json, tell_result, with_device

if TYPE_CHECKING:
    from medxz.device.device import Device, ToldConflict
    from medxz.merge.view import View
    from medxz.store.views import Portion

Thing = TypeVar("Thing")

_LIMIT: Final = click.option(
    "--limit", type=click.IntRange(1, limits.LIST_PAGE_MAX), default=limits.LIST_PAGE_DEFAULT, show_default=True,
    help="So many at most.",
)  # fmt: skip
_CURSOR: Final = click.option("--cursor", help="Go on there: what the page before said.")


@click.command(cls=Example, example="medxz show --store tablet Patient 01999999-0000-7000-8000-000000000001")
@common
@click.argument("entity_type", metavar="TYPE")
@click.argument("entity_id", metavar="ID", type=Uuid())
def show(store: Path, key_file: Path | None, as_json: bool, entity_type: str, entity_id: str) -> None:
    """Show an entity as it stands, and what is in conflict about it."""
    from medxz.device import show_entities

    async def work(device: Device) -> None:
        view = _found(await device.get(entity_type, entity_id), entity_type, entity_id)
        if as_json:
            show_entities.raw_line(view.to_wire_json())
        else:
            click.echo("\n".join(show_entities.entity_lines(view)))

    with_device(store, key_file, work, only_reads=True)


@click.command(
    "list",
    cls=Example,
    example="medxz list --store tablet Observation --patient 01999999-0000-7000-8000-000000000001 --from 2026-11",
)
@common
@click.argument("entity_type", metavar="TYPE")
@click.option("--patient", type=Uuid(), help="Those of this patient, newest first.")
@click.option("--from", "first", metavar="DATE", help="With --patient: not before this day, month or year.")
@click.option("--to", "last", metavar="DATE", help="With --patient: not after this day, month or year.")
@_LIMIT
@_CURSOR
def list_entities(  # noqa: PLR0913  click hands each option over
    store: Path, key_file: Path | None, as_json: bool, *, entity_type: str, patient: str | None,
    first: str | None, last: str | None, limit: int, cursor: str | None,
) -> None:  # fmt: skip
    """List entities of a type, by their ids or as a patient's, by date."""
    if patient is None and (first or last):
        raise click.UsageError("--from and --to go with --patient", click.get_current_context())

    async def work(device: Device) -> None:
        if patient is None:
            found = await device.list(entity_type, after=cursor, limit=limit)
        else:
            found = await device.of_patient(
                patient, types=[entity_type], first=first, last=last, after=cursor, limit=limit
            )
        _tell_entities(as_json, found)

    with_device(store, key_file, work, only_reads=True)


@click.command(cls=Example, example="medxz search --store tablet 'muller 1980'")
@common
@click.argument("text", metavar="TEXT")
@_LIMIT
@_CURSOR
def search(
    store: Path, key_file: Path | None, as_json: bool, text: str, limit: int, cursor: str | None
) -> None:
    """Search patients by name, birth date, identifier or phone number, each word or its beginning."""

    async def work(device: Device) -> None:
        _tell_entities(as_json, await device.search(text, after=cursor, limit=limit))

    with_device(store, key_file, work, only_reads=True)


@click.command(
    cls=Example, example="medxz history --store tablet Patient 01999999-0000-7000-8000-000000000001"
)
@common
@click.argument("entity_type", metavar="TYPE")
@click.argument("entity_id", metavar="ID", type=Uuid())
@_LIMIT
@_CURSOR
def history(
    store: Path, key_file: Path | None, as_json: bool, *, entity_type: str, entity_id: str, limit: int,
    cursor: str | None,
) -> None:  # fmt: skip
    """Show what became of an entity: who wrote what and when, before and after, and what merged by itself."""
    from medxz.device import show_entities

    async def work(device: Device) -> None:
        told = _found(await device.history(entity_type, entity_id), entity_type, entity_id)
        places = {entry.change.op_id: place for place, entry in enumerate(told.entries, start=1)}
        if cursor is not None and cursor not in places:
            raise click.BadParameter("is no op of this entity", param_hint="--cursor")
        begin = places[cursor] if cursor is not None else 0
        page = told.entries[begin : begin + limit]
        more = page[-1].change.op_id if begin + limit < len(told.entries) else None
        if as_json:
            show_entities.list_line("history", [entry.to_wire_json() for entry in page], more)
        else:
            click.echo("\n".join(show_entities.history_lines(told, page, is_end=more is None)))
            _tell_more(more)

    with_device(store, key_file, work, only_reads=True)


@click.command(cls=Example, example="medxz conflicts --store tablet")
@common
@click.argument("conflict_id", metavar="[CONFLICT]", type=Uuid(), required=False)
@click.option(
    "--state", type=click.Choice(("open", "resolved")), default="open", show_default=True, help="Which of them."
)  # fmt: skip
@_LIMIT
@_CURSOR
def conflicts(
    store: Path, key_file: Path | None, as_json: bool, *, conflict_id: str | None,
    state: Literal["open", "resolved"], limit: int, cursor: str | None,
) -> None:  # fmt: skip
    """Show what is in conflict, each side with who, when and where; or one conflict."""
    from medxz.device import show_entities

    async def work(device: Device) -> None:
        if conflict_id is not None:
            one = await _conflict(device, conflict_id)
            show_entities.tell_conflicts([one], as_json=as_json, alone=True)
            return
        found = await device.conflicts(state, after=cursor, limit=limit)
        if as_json:
            show_entities.list_line("conflicts", [bytes(one.text) for one in found.rows], found.after)
            return
        show_entities.tell_conflicts(found.rows, as_json=False)
        if not found.rows:
            click.echo(f"no {state} conflicts")
        _tell_more(found.after)

    with_device(store, key_file, work, only_reads=True)


@click.command(
    cls=Example,
    example="medxz resolve --store tablet CONFLICT --take 2 --reason 'asked the patient'\n"
    """medxz resolve --store tablet CONFLICT --set 'telecom=[{"value":"44"}]' --reason 'a new number'""",
)
@common
@click.argument("about", metavar="CONFLICT|TYPE/ID")
@click.option(
    "--take", multiple=True, metavar="SIDE|FIELD=SIDE",
    help="Whose values stand, of all or of one field: a side's number in `medxz conflicts`, or its op's id.",
)  # fmt: skip
@click.option(
    "--set", "sets", multiple=True, metavar="FIELD=JSON", help="A value in place of theirs; null: none."
)
@click.option("--payload", help="Several such values, as a JSON object, or @FILE.")
@click.option("--reason", help="Why. [default: asked on a terminal]")
@click.option("--user", type=Uuid(), help="The author. [default: who is logged in]")
def resolve(  # noqa: PLR0913  click hands each option over
    store: Path, key_file: Path | None, as_json: bool, *, about: str, take: tuple[str, ...],
    sets: tuple[str, ...], payload: str | None, reason: str | None, user: str | None,
) -> None:  # fmt: skip
    """Settle a conflict. What is not named stays in conflict; on a terminal it is asked field by field.

    With TYPE/ID it is about all that is in conflict there, and joins heads that say the same.
    """
    from medxz.device import deciding

    text = None
    if payload is not None:
        text = compact_json(Path(payload[1:])) if payload.startswith("@") else payload.encode()
    told = deciding.Told(take, sets, text, reason)
    may_ask = sys.stdin.isatty() and sys.stdout.isatty() and not as_json
    target = deciding.target(about)

    async def work(device: Device) -> None:
        sides = await deciding.sides_of(device, target)
        choice = deciding.chosen(told, sides) or (deciding.asked(told, sides) if may_ask else None)
        if choice is None:
            raise click.UsageError("say whose values stand (--take, --set) and why (--reason)", context)
        done = await device.resolve(
            target, take=choice.take, fields=choice.fields, reason=choice.reason, user_id=user
        )
        entity = done[0].entity_type, done[0].entity_id
        left = _found(await device.get(*entity), *entity).conflicts
        answer = {
            "op_id": done[0].op_id, "op_ids": [op.op_id for op in done], "entity_type": entity[0],
            "entity_id": entity[1], "device_seq": done[0].device_seq,
            "open_conflicts": [conflict.conflict_id for conflict in left],
        }  # fmt: skip
        also = "; part of it stays in conflict: `medxz conflicts`" if left else ""
        tell_result(as_json, answer, f"resolved by {done[0].op_id} of {'/'.join(entity)}{also}")

    context = click.get_current_context()
    with_device(store, key_file, work)


def _tell_entities(as_json: bool, found: Portion[View]) -> None:
    from medxz.device import show_entities

    if as_json:
        show_entities.list_line("entities", [view.to_wire_json() for view in found.rows], found.after)
        return
    for view in found.rows:
        click.echo(show_entities.summary_line(view))
    _tell_more(found.after)


def _tell_more(after: str | None) -> None:
    if after is not None:
        click.echo(f"there is more: --cursor {after}", err=True)


def _found(thing: Thing | None, entity_type: str, entity_id: str) -> Thing:
    from medxz.errors import StoreError

    if thing is None:
        raise StoreError(f"there is no {entity_type}/{entity_id} here")
    return thing


async def _conflict(device: Device, conflict_id: str) -> ToldConflict:
    from medxz.errors import StoreError

    found = await device.conflict(conflict_id)
    if found is None:
        raise StoreError(f"there is no conflict {conflict_id} here")
    return found


ENTITY_COMMANDS: Final = (show, list_entities, search, history, conflicts, resolve)
