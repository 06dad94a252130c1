"""`medxz-cloud user …`: the people of a clinic."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from cloud.options import At, at_clinic, at_cloud, clinic_option
from medxz.commandline import Example
from medxz.program.people import user_commands, user_option

if TYPE_CHECKING:
    from cloud.office import Office

user = user_commands("medxz-cloud", "/var/lib/medxz-cloud", at_clinic)


@user.command(
    cls=Example,
    example="medxz-cloud user totp --data /var/lib/medxz-cloud --email nora@clinic.example\n"
    "medxz-cloud user totp --data /var/lib/medxz-cloud --email nora@clinic.example --code 123456",
)
@at_cloud
@clinic_option
@user_option
@click.option("--code", help="What their app shows: from then on each login asks for one.")
@click.option("--off", is_flag=True, help="Ask for none any more.")
def totp(at: At, clinic: str | None, user: str, code: str | None, off: bool) -> None:
    """Give a person a second factor: without --code a secret for their app, with it the proof that they have it."""
    if off and code is not None:
        raise click.UsageError("--code and --off contradict each other")

    async def act(office: Office) -> dict[str, Any]:
        clinic_id, factor = await office.clinic(clinic), office.admin.totp
        if off:
            await factor.disable(clinic_id, user)
            return {"enabled": False}
        if code is None:
            return {"enabled": False, "otpauth": await factor.begin(clinic_id, user)}
        await factor.confirm(clinic_id, user, code)
        return {"enabled": True}

    answer = at.run(act)
    enabled = f"{user} logs in with a code of their app from now on."
    at.tell(answer, answer.get("otpauth") or (enabled if answer["enabled"] else f"{user} needs no code."))
