"""How entities, histories and conflicts are shown: the protocol's JSON for programs, lines and a table for people.

A value is shown as its author wrote it; what a terminal would obey in place of showing it is written out.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import Final

import click
import msgspec

from medxz.device.entities import ToldConflict, ToldRetract, ToldSide
from medxz.merge.history import Entry, History
from medxz.merge.standing import Merge
from medxz.merge.view import Conflict, View

SUMMARY_CHARS: Final = 160
_NOTHING: Final = "–"


def raw_line(text: bytes) -> None:
    """One line of JSON that is JSON already."""
    click.echo(text)
    sys.stdout.flush()


def list_line(name: str, items: Sequence[bytes], after: str | None) -> None:
    """A page of a list, as a server would answer it."""
    raw_line(msgspec.json.encode({name: [msgspec.Raw(item) for item in items], "next_cursor": after}))


def summary_line(view: View) -> str:
    state = _plain(view.state_json())
    short = state if len(state) <= SUMMARY_CHARS else state[: SUMMARY_CHARS - 1] + "…"
    marks = "  retracted" if view.retracted is not None else ""
    marks += "  in conflict" if view.conflicts else ""
    return f"{view.entity.entity_type}/{view.entity.entity_id}{marks}  {short}"


def entity_lines(view: View) -> Iterator[str]:
    yield f"{view.entity.entity_type}/{view.entity.entity_id}, {_count(view.version, 'op')}"
    if view.retracted is not None:
        yield f"  retracted: {_value(view.retracted.reason)}"
    for name, value in view.state.items():
        yield f"  {_plain(name)}: {_value(value)}"
    if view.missing_parents:
        yield f"  {_count(len(view.missing_parents), 'op')} that others follow is not here yet"
    for conflict in view.conflicts:
        yield from conflict_lines(told(conflict))


# ---------------------------------------------------------------------------------------------- history


def history_lines(history: History, page: Sequence[Entry], *, is_end: bool) -> Iterator[str]:
    entity = history.entity
    yield f"{entity.entity_type}/{entity.entity_id}, {_count(len(history.entries), 'op')}"
    for entry in page:
        yield from _entry_lines(entry)
    if is_end and history.merged is not None:
        yield f"now {_merge_text(history.merged)}"


def _entry_lines(entry: Entry) -> Iterator[str]:
    op = entry.change
    arrived = f", at the server {op.server_received_at}" if op.server_received_at else ""
    yield f"{op.device_time}{arrived}  {op.op_type}  {op.op_id}"
    yield f"    by user {op.user_id} on device {op.device_id}"
    if entry.merged is not None:
        yield f"    before it {_merge_text(entry.merged)}"
    for name, (before, after) in entry.fields.items():
        yield f"    {_difference(_plain(name), before, after)}"
    if op.reason is not None:
        yield f"    reason: {_value(op.reason)}"
    for conflict_id in entry.resolves:
        yield f"    settled conflict {conflict_id}"
    if entry.retracted:
        yield "    retracted"


def _difference(name: str, before: bytes | None, after: bytes | None) -> str:
    if before == after:
        return f"= {name}: {_value(after)}"
    if before is None:
        return f"+ {name}: {_value(after)}"
    if after is None:
        return f"- {name}: {_value(before)}"
    return f"~ {name}: {_value(before)} → {_value(after)}"


def _merge_text(merge: Merge) -> str:
    fields = "; ".join(
        f"{_plain(name)} {_value(value)} from {', '.join(op_ids)}"
        for name, (value, op_ids) in merge.fields.items()
    )
    return f"merged by itself, {_count(len(merge.heads), 'op')}" + (
        f": {fields}" if fields else " that agree"
    )


# -------------------------------------------------------------------------------------------- conflicts


def told(conflict: Conflict) -> ToldConflict:
    """A conflict of a view, as it is told in a list."""
    text = conflict.to_wire_json()
    return msgspec.structs.replace(msgspec.json.decode(text, type=ToldConflict), text=msgspec.Raw(text))


def tell_conflicts(conflicts: Sequence[ToldConflict], *, as_json: bool, alone: bool = False) -> None:
    """On a terminal a table of the sides, field by field; elsewhere lines."""
    if as_json and alone:
        raw_line(bytes(conflicts[0].text))
        return
    for conflict in conflicts:
        if sys.stdout.isatty():
            _table(conflict)
        else:
            click.echo("\n".join(conflict_lines(conflict)))


def conflict_lines(conflict: ToldConflict) -> Iterator[str]:
    yield _heading(conflict)
    for place, side in enumerate(conflict.sides, start=1):
        yield f"  side {place}: {', '.join(_who(side))}"
    for name in _names(conflict):
        yield f"  {_plain(name)}"
        for place, side in enumerate(conflict.sides, start=1):
            yield f"    {place}: {_said(side, name)}"


def _table(conflict: ToldConflict) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(_heading(conflict)), title_justify="left", show_lines=True)
    table.add_column("")
    for place, side in enumerate(conflict.sides, start=1):
        table.add_column(Text("\n".join([f"side {place}", *_who(side)])), overflow="fold")
    for name in _names(conflict):
        table.add_row(Text(_plain(name)), *(Text(_said(side, name)) for side in conflict.sides))
    Console().print(table)


def _heading(conflict: ToldConflict) -> str:
    what = {
        "edit": f"differing {', '.join(map(_plain, conflict.fields))}",
        "retract": "retracted on one side, not on another",
        "duplicate": f"may be one person: the same {', '.join(map(_plain, conflict.fields))}",
    }[conflict.kind]
    also = " (an op that is not here yet may change it)" if conflict.provisional else ""
    by = f", settled by {conflict.resolved_by}" if conflict.resolved_by else ""
    return f"{conflict.conflict_id}  {conflict.entity_type}/{conflict.entity_id}: {what}{also}{by}"


def _who(side: ToldSide) -> list[str]:
    if side.op_id is None:
        return [f"Patient/{side.entity_id}"]
    told = [
        f"{side.op_type} {side.op_id}",
        f"user {side.user_id}",
        f"device {side.device_id}",
        f"{side.device_time}",
    ]
    return told + ([f"retracted: {_retract_text(side.retracted)}"] if side.retracted is not None else [])


def _retract_text(mark: ToldRetract) -> str:
    return _value(bytes(mark.reason))


def _names(conflict: ToldConflict) -> list[str]:
    """The fields of the conflict; of a retract those that any side has."""
    if conflict.kind != "retract":
        return list(conflict.fields)
    return sorted({name for side in conflict.sides for name in side.values})


def _said(side: ToldSide, name: str) -> str:
    return _value(bytes(side.values[name])) if name in side.values else _NOTHING


def _value(raw: bytes | None) -> str:
    return _NOTHING if raw is None or raw == b"null" else _plain(raw)


def _plain(text: bytes | str) -> str:
    """Text that a terminal shows and does not obey."""
    whole = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    return "".join(letter if letter.isprintable() else f"\\u{ord(letter):04x}" for letter in whole)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
