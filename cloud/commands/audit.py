"""`medxz-cloud audit …`: who did what in a clinic, and whether nobody has changed what was noted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from cloud.options import At, at_cloud, clinic_option
from medxz.commandline import DONE, FAILED, Example, Examples, Uuid
from medxz.program.listing import cursor_option, limit_option, make_cursor, more_text, read_cursor, table

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
@click.option("--patient", type=Uuid(), help="Only about this patient.")
@click.option("--encounter", type=Uuid(), help="Only about this encounter.")
@click.option("--user", type=Uuid(), help="Only by this user.")
@click.option("--device", type=Uuid(), help="Only from this device.")
@click.option("--from", "from_", help="Only since this day or moment, with it.")
@click.option("--to", help="Only before this day or moment.")
@limit_option
@cursor_option
def list_entries(at: At, clinic: str | None, limit: int, cursor: str | None, **asked: str | None) -> None:
    """The newest entries first."""
    query = {name.rstrip("_"): value for name, value in asked.items() if value is not None}

    async def act(office: Office) -> dict[str, Any]:
        place = read_cursor(cursor)
        entries, after = await office.audit_page(await office.clinic(clinic), query, place, limit)
        return {"entries": entries, "next_cursor": None if after is None else make_cursor(after)}

    answer = at.run(act)
    text = table(
        answer["entries"], "at", "event", "user_id", "device_id", "hub_id", "entity_type", "entity_id"
    )
    at.tell(answer, text + more_text(answer))


@audit.command(cls=Example, example="medxz-cloud audit verify --data /var/lib/medxz-cloud")
@at_cloud
@clinic_option
@click.pass_context
def verify(context: click.Context, at: At, clinic: str | None) -> None:
    """Walk every chain of a clinic from its beginning. Ends with status 1 where one is broken."""

    async def act(office: Office) -> dict[str, Any]:
        return await office.audit_verify(await office.clinic(clinic))

    answer = at.run(act)
    broken = [chain for chain in answer["chains"] if not chain["ok"]]
    text = "\n".join(
        f"BAD  {chain['chain_id']}: broken at entry {chain['first_broken']} of {chain['entries']}"
        for chain in broken
    )
    count = sum(chain["entries"] for chain in answer["chains"])
    at.tell(answer, text or f"{len(answer['chains'])} chains of {count} entries, every one as it was written")
    context.exit(DONE if answer["ok"] else FAILED)
