"""`user …` and `device …`, for every program that lets people and devices in: the same words, the same answers.

What does them is the program's own: `Deciding`. How a program is asked where it is, and answers, comes with it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Protocol

import click

from medxz.commandline import Example, Examples, Uuid
from medxz.program.listing import cursor_option, limit_option, more_text, table
from medxz.program.passwords import password_option, read_password

if TYPE_CHECKING:
    from medxz.store.authority.devices import DeviceRow
    from medxz.store.authority.users import UserRow

ROLE: Final = click.Choice(["admin", "clinician", "front_desk"])

user_option = click.option("--email", "user", required=True, help="The person's address, or user id.")
_roles_option = click.option(
    "--role", "roles", type=ROLE, required=True, multiple=True, help="What the person may; several."
)


class Deciding(Protocol):
    """One command's place: who decides there, and how it is told."""

    def add_user(self, email: str, name: str, roles: tuple[str, ...], password: str) -> str:
        """The new person's id."""
        ...

    def list_users(self, limit: int, cursor: str | None) -> dict[str, Any]: ...
    def disable_user(self, user: str, *, disabled: bool) -> None: ...
    def set_password(self, user: str, password: str) -> None: ...
    def set_roles(self, user: str, roles: tuple[str, ...]) -> None: ...
    def list_devices(self, limit: int, cursor: str | None) -> dict[str, Any]: ...
    def revoke_device(self, device_id: str) -> None: ...
    def tell(self, answer: dict[str, Any], text: str) -> None: ...


# gives a command the options by which its program is found, and a `Deciding` as its first argument
Asked = Callable[[Callable[..., None]], Callable[..., None]]


def told_user(row: UserRow) -> dict[str, Any]:
    return {
        "user_id": row.user_id,
        "email": row.email,
        "name": row.name,
        "roles": sorted(row.roles),
        "disabled": row.disabled,
    }


def told_device(row: DeviceRow) -> dict[str, Any]:
    return {
        "device_id": row.device_id,
        "name": row.name,
        "site_id": row.site_id,
        "scope": row.scope,
        "revoked": row.revoked,
    }


def user_commands(program: str, data: str, asked: Asked) -> click.Group:
    """`user add|list|disable|passwd|roles` of a program whose examples have this directory."""
    of_nora = f"--data {data} --email nora@clinic.example"

    @click.group(cls=Examples, example=f"{program} user list --data {data}")
    def user() -> None:
        """The people of a clinic: who may log in, and what they may."""

    @user.command(
        cls=Example,
        example=f"{program} user add {of_nora} --name 'Nora Nurse' \\\n  --role clinician --password-file -",
    )
    @asked
    @click.option("--email", required=True, help="The address to log in with.")
    @click.option("--name", required=True, help="The person's name, as others read it.")
    @_roles_option
    @password_option
    def add(at: Deciding, email: str, name: str, roles: tuple[str, ...], password_file: str) -> None:
        """Let a person log in, on every device of the clinic."""
        user_id = at.add_user(email, name, roles, read_password(password_file))
        at.tell({"user_id": user_id}, f"{email} may log in now.")

    @user.command("list", cls=Example, example=f"{program} user list --data {data} --json")
    @asked
    @limit_option
    @cursor_option
    def list_users(at: Deciding, limit: int, cursor: str | None) -> None:
        """Everybody who was ever let in, the disabled too."""
        answer = at.list_users(limit, cursor)
        shown = table(answer["users"], "email", "name", "roles", "disabled", "user_id")
        at.tell(answer, shown + more_text(answer))

    @user.command(cls=Example, example=f"{program} user disable {of_nora}")
    @asked
    @user_option
    @click.option("--undo", is_flag=True, help="Let the person log in again.")
    def disable(at: Deciding, user: str, undo: bool) -> None:
        """End every session of a person, and let nobody log in as them. What they wrote stays."""
        at.disable_user(user, disabled=not undo)
        at.tell({"disabled": not undo}, f"{user} may log in again." if undo else f"{user} is out.")

    @user.command(cls=Example, example=f"{program} user passwd {of_nora} --password-file -")
    @asked
    @user_option
    @password_option
    def passwd(at: Deciding, user: str, password_file: str) -> None:
        """Give a person a new password. Every session of theirs ends."""
        at.set_password(user, read_password(password_file))
        at.tell({"changed": True}, f"{user} has a new password, and logs in anew.")

    @user.command(cls=Example, example=f"{program} user roles {of_nora} \\\n  --role clinician --role admin")
    @asked
    @user_option
    @_roles_option
    def roles(at: Deciding, user: str, roles: tuple[str, ...]) -> None:
        """Say what a person may from now on: these roles, and no other."""
        at.set_roles(user, roles)
        at.tell({"roles": sorted(set(roles))}, f"{user} is {', '.join(sorted(set(roles)))} now.")

    return user


def device_commands(program: str, data: str, asked: Asked) -> click.Group:
    """`device list|revoke`, likewise."""

    @click.group(cls=Examples, example=f"{program} device list --data {data}")
    def device() -> None:
        """The devices of a clinic."""

    @device.command("list", cls=Example, example=f"{program} device list --data {data} --json")
    @asked
    @limit_option
    @cursor_option
    def list_devices(at: Deciding, limit: int, cursor: str | None) -> None:
        """Every device that was ever let in, the revoked too."""
        answer = at.list_devices(limit, cursor)
        text = table(answer["devices"], "device_id", "name", "site_id", "scope", "revoked")
        at.tell(answer, text + more_text(answer))

    @device.command(
        "revoke",
        cls=Example,
        example=f"{program} device revoke --data {data} --device 0199d0a2-7c4e-7b0e-a1c5-0b1d9f3f5a10",
    )
    @asked
    @click.option("--device", "device_id", type=Uuid(), required=True, help="Which one.")
    def revoke_device(at: Deciding, device_id: str) -> None:
        """Shut a device out for good: a lost or stolen one. What it wrote stays; enrolled anew it is another device."""
        at.revoke_device(device_id)
        at.tell({"revoked": True}, f"The device {device_id} is out.")

    return device
