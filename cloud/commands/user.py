"""`medxz-cloud user …`: the people of a clinic."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from cloud.options import (
    At,
    at_cloud,
    clinic_option,
    cursor_option,
    limit_option,
    more_text,
    page,
    password_option,
    read_password,
    table,
)
from medxz.commandline import Example, Examples

if TYPE_CHECKING:
    from cloud.office import Office

ROLE = click.Choice(["admin", "clinician", "front_desk"])
user_option = click.option("--email", "user", required=True, help="The person's address, or user id.")


@click.group(cls=Examples, example="medxz-cloud user list --data /var/lib/medxz-cloud")
def user() -> None:
    """The people of a clinic: who may log in, and what they may."""


@user.command(
    cls=Example,
    example="medxz-cloud user add --data /var/lib/medxz-cloud --email nora@clinic.example --name 'Nora Nurse' \\\n"
    "  --role clinician --password-file -",
)
@at_cloud
@clinic_option
@click.option("--email", required=True, help="The address to log in with.")
@click.option("--name", required=True, help="The person's name, as others read it.")
@click.option(
    "--role", "roles", type=ROLE, required=True, multiple=True, help="What the person may; several."
)
@password_option
def add(
    at: At, clinic: str | None, email: str, name: str, roles: tuple[str, ...], password_file: str
) -> None:
    """Let a person log in, on every device of the clinic."""
    password = read_password(password_file)

    async def act(office: Office) -> str:
        clinic_id = await office.clinic(clinic)
        return await office.admin.users.add(clinic_id, email, name, roles, password)

    user_id = at.run(act)
    at.tell({"user_id": user_id}, f"{email} may log in now.")


@user.command("list", cls=Example, example="medxz-cloud user list --data /var/lib/medxz-cloud --json")
@at_cloud
@clinic_option
@limit_option
@cursor_option
def list_users(at: At, clinic: str | None, limit: int, cursor: str | None) -> None:
    """Everybody who was ever let in, the disabled too."""

    async def act(office: Office) -> list[dict[str, Any]]:
        return [
            {
                "user_id": row.user_id,
                "email": row.email,
                "name": row.name,
                "roles": sorted(row.roles),
                "disabled": row.disabled,
            }
            for row in await office.admin.users.list(await office.clinic(clinic))
        ]

    answer = page("users", at.run(act), "user_id", limit, cursor)
    at.tell(
        answer, table(answer["users"], "email", "name", "roles", "disabled", "user_id") + more_text(answer)
    )


@user.command(
    cls=Example,
    example="medxz-cloud user disable --data /var/lib/medxz-cloud --email nora@clinic.example",
)
@at_cloud
@clinic_option
@user_option
@click.option("--undo", is_flag=True, help="Let the person log in again.")
def disable(at: At, clinic: str | None, user: str, undo: bool) -> None:
    """End every session of a person, and let nobody log in as them. What they wrote stays."""

    async def act(office: Office) -> None:
        await office.admin.users.disable(await office.clinic(clinic), user, disabled=not undo)

    at.run(act)
    at.tell({"disabled": not undo}, f"{user} may log in again." if undo else f"{user} is out.")


@user.command(
    cls=Example,
    example="medxz-cloud user passwd --data /var/lib/medxz-cloud --email nora@clinic.example --password-file -",
)
@at_cloud
@clinic_option
@user_option
@password_option
def passwd(at: At, clinic: str | None, user: str, password_file: str) -> None:
    """Give a person a new password. Every session of theirs ends."""
    password = read_password(password_file)

    async def act(office: Office) -> None:
        await office.admin.users.set_password(await office.clinic(clinic), user, password)

    at.run(act)
    at.tell({"changed": True}, f"{user} has a new password, and logs in anew.")


@user.command(
    cls=Example,
    example="medxz-cloud user roles --data /var/lib/medxz-cloud --email nora@clinic.example \\\n"
    "  --role clinician --role admin",
)
@at_cloud
@clinic_option
@user_option
@click.option(
    "--role", "roles", type=ROLE, required=True, multiple=True, help="What the person may; several."
)
def roles(at: At, clinic: str | None, user: str, roles: tuple[str, ...]) -> None:
    """Say what a person may from now on: these roles, and no other."""

    async def act(office: Office) -> None:
        await office.admin.users.set_roles(await office.clinic(clinic), user, roles)

    at.run(act)
    at.tell({"roles": sorted(set(roles))}, f"{user} is {', '.join(sorted(set(roles)))} now.")


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
