"""`medxz-cloud audit …`: who did what in a clinic, and whether nobody has changed what was noted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from cloud.options import At, at_cloud, clinic_option
from medxz.commandline import DONE, FAILED, Example, Examples
from medxz.program.audit import entries_in_words, entries_told, entry_options, query_of, walk_in_words
from medxz.program.listing import read_cursor

if TYPE_CHECKING:
    from cloud.office import Office


@click.group(cls=Examples, example="medxz-cloud audit verify --data /var/lib/medxz-cloud")
def audit() -> None:
    """What was done, read and refused, in chains that only grow."""


@audit.command(
    "list", cls=Example, example="medxz-cloud audit list --data /var/lib/medxz-cloud --from 2026-11-01 --json"
)
@at_cloud
@clinic_option
@entry_options
def list_entries(at: At, clinic: str | None, limit: int, cursor: str | None, **asked: str | None) -> None:
    """The newest entries first."""
    query = query_of(asked)

    async def act(office: Office) -> dict[str, Any]:
        place = read_cursor(cursor)
        entries, after = await office.audit_page(await office.clinic(clinic), query, place, limit)
        return entries_told(entries, after)

    answer = at.run(act)
    at.tell(answer, entries_in_words(answer))


@audit.command(cls=Example, example="medxz-cloud audit verify --data /var/lib/medxz-cloud")
@at_cloud
@clinic_option
@click.pass_context
def verify(context: click.Context, at: At, clinic: str | None) -> None:
    """Walk every chain of a clinic from its beginning. Ends with status 1 where one is broken."""

    async def act(office: Office) -> dict[str, Any]:
        return await office.audit_verify(await office.clinic(clinic))

    answer = at.run(act)
    at.tell(answer, walk_in_words(answer))
    context.exit(DONE if answer["ok"] else FAILED)
