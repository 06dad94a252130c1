"""What `audit` asks and tells on either program's command line: its filters, a page of entries, what a walk found."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import click

from medxz.commandline import Uuid
from medxz.program.listing import cursor_option, limit_option, make_cursor, more_text, table

_Command = TypeVar("_Command", bound=Callable[..., Any])

_COLUMNS = ("at", "event", "user_id", "device_id", "hub_id", "entity_type", "entity_id")
_OPTIONS = (
    click.option("--patient", type=Uuid(), help="Only about this patient."),
    click.option("--encounter", type=Uuid(), help="Only about this encounter."),
    click.option("--user", type=Uuid(), help="Only by this user."),
    click.option("--device", type=Uuid(), help="Only from this device."),
    click.option("--from", "from_", help="Only since this day or moment, with it."),
    click.option("--to", help="Only before this day or moment."),
    limit_option,
    cursor_option,
)


def entry_options(command: _Command) -> _Command:
    """Which entries are asked for, and which page of them."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def query_of(asked: Mapping[str, str | None]) -> dict[str, str]:
    """The filters that were given, as /v1/audit names them."""
    return {name.rstrip("_"): text for name, text in asked.items() if text is not None}


def entries_told(entries: Sequence[dict[str, Any]], after: str | None) -> dict[str, Any]:
    """A page as it is answered; `after` is where the next one begins."""
    return {"entries": entries, "next_cursor": None if after is None else make_cursor(after)}


def entries_in_words(answer: dict[str, Any]) -> str:
    return table(answer["entries"], *_COLUMNS) + more_text(answer)


def walk_in_words(found: dict[str, Any]) -> str:
    broken = [chain for chain in found["chains"] if not chain["ok"]]
    if broken:
        return "\n".join(
            f"BAD  {chain['chain_id']}: broken at entry {chain['first_broken']} of {chain['entries']}"
            for chain in broken
        )
    count = sum(chain["entries"] for chain in found["chains"])
    return f"{len(found['chains'])} chains of {count} entries, every one as it was written"
