"""`medxz-cloud session …`: who is logged in where, and the end of one session."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from cloud.options import At, at_cloud, clinic_option
from medxz.clock import format_time
from medxz.commandline import Example, Examples, Uuid
from medxz.program.listing import cursor_option, limit_option, more_text, page, table

if TYPE_CHECKING:
    from cloud.office import Office


@click.group(cls=Examples, example="medxz-cloud session list --data /var/lib/medxz-cloud")
def session() -> None:
    """The sessions of a clinic: a person at a device, from the login on."""


@session.command("list", cls=Example, example="medxz-cloud session list --data /var/lib/medxz-cloud --json")
@at_cloud
@clinic_option
@limit_option
@cursor_option
def list_sessions(at: At, clinic: str | None, limit: int, cursor: str | None) -> None:
    """Every session that was used within thirty days, the revoked too."""

    async def act(office: Office) -> list[dict[str, Any]]:
        return [
            {
                "session_id": row.session_id,
                "user_id": row.user_id,
                "device_id": row.device_id,
                "hub_id": row.hub_id,
                "began_at": format_time(row.made_at_ms),
                "last_used_at": format_time(row.last_used_ms),
                "revoked": row.revoked,
            }
            for row in await office.admin.sessions.list(await office.clinic(clinic))
        ]

    answer = page("sessions", at.run(act), "session_id", limit, cursor)
    text = table(answer["sessions"], "session_id", "user_id", "device_id", "last_used_at", "revoked")
    at.tell(answer, text + more_text(answer))


@session.command(
    cls=Example,
    example="medxz-cloud session revoke --data /var/lib/medxz-cloud --session 0199d0a2-7c4e-7b0e-a1c5-0b1d9f3f5a10",
)
@at_cloud
@clinic_option
@click.option("--session", "session_id", type=Uuid(), required=True, help="Which one.")
def revoke(at: At, clinic: str | None, session_id: str) -> None:
    """End one session: its person logs in anew on that device."""

    async def act(office: Office) -> None:
        await office.admin.sessions.revoke(await office.clinic(clinic), session_id)

    at.run(act)
    at.tell({"revoked": True}, f"The session {session_id} is over.")
