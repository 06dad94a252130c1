"""`medxz-cloud audit …`: who did what in a clinic, or to the cloud itself, and whether nobody has changed what was noted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from cloud.options import At, at_cloud, clinic_option
from medxz.commandline import DONE, FAILED, Example, Examples
from medxz.program.audit import entries_in_words, entries_told, entry_options, query_of, walk_in_words
from medxz.program.listing import read_cursor
from medxz.store.authority.attempts import NO_CLINIC

if TYPE_CHECKING:
    from cloud.office import Office

no_clinic_option = click.option(
    "--no-clinic", is_flag=True, help="What is no clinic's: operators, rollouts, keys, codes of nobody."
)


@click.group(cls=Examples, example="medxz-cloud audit verify --data /var/lib/medxz-cloud")
def audit() -> None:
    """What was done, read and refused, in chains that only grow."""


@audit.command(
    "list",
    cls=Example,
    example="medxz-cloud audit list --data /var/lib/medxz-cloud --from 2026-11-01 --json\n"
    "medxz-cloud audit list --data /var/lib/medxz-cloud --no-clinic",
)
@at_cloud
@clinic_option
@no_clinic_option
@entry_options
def list_entries(
    at: At, clinic: str | None, no_clinic: bool, limit: int, cursor: str | None, **asked: str | None
) -> None:
    """The newest entries first."""
    query = query_of(asked)

    async def act(office: Office) -> dict[str, Any]:
        place = read_cursor(cursor)
        whose = await _whose(office, clinic, no_clinic=no_clinic)
        entries, after = await office.audit_page(whose, query, place, limit)
        return entries_told(entries, after)

    answer = at.run(act)
    at.tell(answer, entries_in_words(answer))


@audit.command(cls=Example, example="medxz-cloud audit verify --data /var/lib/medxz-cloud")
@at_cloud
@clinic_option
@no_clinic_option
@click.pass_context
def verify(context: click.Context, at: At, clinic: str | None, no_clinic: bool) -> None:
    """Walk every chain of a clinic from its beginning. Ends with status 1 where one is broken."""

    async def act(office: Office) -> dict[str, Any]:
        return await office.audit_verify(await _whose(office, clinic, no_clinic=no_clinic))

    answer = at.run(act)
    at.tell(answer, walk_in_words(answer))
    context.exit(DONE if answer["ok"] else FAILED)


async def _whose(office: Office, clinic: str | None, *, no_clinic: bool) -> str:
    """The chains that are asked for: a clinic's, or those that are noted beside all clinics."""
    if not no_clinic:
        return await office.clinic(clinic)
    if clinic is not None:
        raise click.UsageError("--clinic and --no-clinic are things of their own: give one")
    return NO_CLINIC
