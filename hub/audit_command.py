"""`medxz-hub audit`: what the running hub noted of who did what, and whether anybody has changed it since."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from hub.options import data_option, json_option, places_of
from medxz.commandline import DONE, FAILED, Example
from medxz.program.audit import entries_in_words, entries_told, entry_options, query_of, walk_in_words
from medxz.program.listing import read_cursor
from medxz.program.outcome import tell


@click.command(
    cls=Example,
    example="medxz-hub audit --data /var/lib/medxz/hub --from 2026-11-01\n"
    "medxz-hub audit --data /var/lib/medxz/hub --verify",
)
@data_option
@click.option("--verify", is_flag=True, help="Walk the chains instead: is every entry as it was written?")
@entry_options
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

    socket, query = places_of(data).socket, query_of(asked)
    if verify:
        if query or cursor is not None:
            raise click.UsageError("--verify walks all of it: give no filter and no --cursor")
        while (found := ask.ask(socket, "audit_verify")["found"]) is None:
            pass  # each answer waits a while itself
        tell(found, as_json, walk_in_words(found))
        context.exit(DONE if found["ok"] else FAILED)
    wanted: dict[str, Any] = {"query": query, "limit": limit}
    if (before := read_cursor(cursor)) is not None:
        wanted["before"] = before
    told = ask.ask(socket, "audit_page", wanted)
    answer = entries_told(told["entries"], told["after"])
    tell(answer, as_json, entries_in_words(answer))
