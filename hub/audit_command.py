"""`medxz-hub audit`: what the running hub noted of who did what, and whether anybody has changed it since."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hub.options import data_option, json_option, places_of
from medxz.commandline import DONE, FAILED, Example, Uuid
from medxz.program.listing import cursor_option, limit_option, make_cursor, more_text, read_cursor, table
from medxz.program.outcome import tell

if TYPE_CHECKING:
    from hub.ask import Json


@click.command(
    cls=Example,
    example="medxz-hub audit --data /var/lib/medxz/hub --from 2026-11-01\n"
    "medxz-hub audit --data /var/lib/medxz/hub --verify",
)
@data_option
@click.option("--verify", is_flag=True, help="Walk the chains instead: is every entry as it was written?")
@click.option("--patient", type=Uuid(), help="Only about this patient.")
@click.option("--encounter", type=Uuid(), help="Only about this encounter.")
@click.option("--user", type=Uuid(), help="Only by this user.")
@click.option("--device", type=Uuid(), help="Only from this device.")
@click.option("--from", "from_", help="Only since this day or moment, with it.")
@click.option("--to", help="Only before this day or moment.")
@limit_option
@cursor_option
@json_option
@click.pass_context
def audit(
    context: click.Context,
    /,
    data: Path,
    *,
    verify: bool,
    limit: int,
    cursor: str | None,
    as_json: bool,
    **asked: str | None,
) -> None:
    """Who did what at the running hub, the newest first; that you looked is noted too.

    With --verify every chain is walked from its beginning: status 1 where one is broken.
    """
    from hub import ask

    socket, query = places_of(data).socket, {name.rstrip("_"): text for name, text in asked.items() if text}
    if verify:
        if query or cursor is not None:
            raise click.UsageError("--verify walks all of it: give no filter and no --cursor")
        while (found := ask.ask(socket, "audit_verify")["found"]) is None:
            pass  # each answer waits a while itself
        tell(found, as_json, _walked(found))
        context.exit(DONE if found["ok"] else FAILED)
    wanted: dict[str, Any] = {"query": query, "limit": limit}
    if (before := read_cursor(cursor)) is not None:
        wanted["before"] = before
    told = ask.ask(socket, "audit_page", wanted)
    after = told["after"]
    answer = {"entries": told["entries"], "next_cursor": None if after is None else make_cursor(after)}
    columns = ("at", "event", "user_id", "device_id", "hub_id", "entity_type", "entity_id")
    tell(answer, as_json, table(answer["entries"], *columns) + more_text(answer))


def _walked(found: Json) -> str:
    broken = [chain for chain in found["chains"] if not chain["ok"]]
    if broken:
        return "\n".join(
            f"BAD  {chain['chain_id']}: broken at entry {chain['first_broken']} of {chain['entries']}"
            for chain in broken
        )
    count = sum(chain["entries"] for chain in found["chains"])
    return f"{len(found['chains'])} chains of {count} entries, every one as it was written"
