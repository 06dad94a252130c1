"""What the commands of the cloud have in common: where it is, whose clinic it is about, who decides there.

A command opens the authority itself, beside a running cloud or without one; the running one notices what changed.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from medxz.commandline import Uuid
from medxz.program.listing import page
from medxz.program.outcome import tell
from medxz.program.people import told_device, told_user

if TYPE_CHECKING:
    from cloud.config import Settings
    from cloud.office import Office
    from medxz.accounts.cloud import Administration

T = TypeVar("T")

PATH: Final = click.Path(path_type=Path)

clinic_option = click.option(
    "--clinic", type=Uuid(), help="The clinic's id. [default: the one clinic, where there is one alone]"
)


@dataclass(frozen=True, slots=True)
class At:
    """The cloud that a command is about, and how it answers."""

    data: Path
    database: str | None
    key_file: Path | None
    as_json: bool

    def settings(self) -> Settings:
        """The settings as `run` would have them."""
        from cloud.config import load_settings

        flags = {"data": self.data, "database": self.database, "key_file": self.key_file}
        return load_settings({name: value for name, value in flags.items() if value is not None}, os.environ)

    def run(self, act: Callable[[Office], Awaitable[T]]) -> T:
        """Do it with the open authority."""
        from cloud.office import open_office

        async def run() -> T:
            async with open_office(self.settings(), os.environ) as office:
                return await act(office)

        return asyncio.run(run())

    def tell(self, answer: dict[str, Any], text: str) -> None:
        tell(answer, self.as_json, text)


def at_cloud(command: Callable[..., None]) -> Callable[..., None]:
    """Options of every command; it gets the place as its first argument."""

    @click.option(
        "--data",
        type=PATH,
        envvar="MEDXZ_CLOUD_DATA",
        show_envvar=True,
        required=True,
        help="The cloud's directory.",
    )
    @click.option("--database", help="A PostgreSQL, as postgresql://…  [env var: MEDXZ_CLOUD_DATABASE]")
    @click.option("--key-file", type=PATH, help="The key of the cloud. [default: DIR.key]")
    @click.option("--json", "as_json", is_flag=True, help="Answer in JSON, one object.")
    @wraps(command)
    def wrapped(
        data: Path, database: str | None, key_file: Path | None, as_json: bool, **options: Any
    ) -> None:
        command(At(data, database, key_file, as_json), **options)

    return wrapped


@dataclass(frozen=True, slots=True)
class AtClinic:
    """`Deciding` (medxz/program/people.py) about one clinic of a cloud."""

    at: At
    clinic: str | None

    def add_user(self, email: str, name: str, roles: tuple[str, ...], password: str) -> str:
        return self._run(lambda admin, clinic_id: admin.users.add(clinic_id, email, name, roles, password))

    def list_users(self, limit: int, cursor: str | None) -> dict[str, Any]:
        rows = self._run(lambda admin, clinic_id: admin.users.list(clinic_id))
        return page("users", [told_user(row) for row in rows], "user_id", limit, cursor)

    def disable_user(self, user: str, *, disabled: bool) -> None:
        self._run(lambda admin, clinic_id: admin.users.disable(clinic_id, user, disabled=disabled))

    def set_password(self, user: str, password: str) -> None:
        self._run(lambda admin, clinic_id: admin.users.set_password(clinic_id, user, password))

    def set_roles(self, user: str, roles: tuple[str, ...]) -> None:
        self._run(lambda admin, clinic_id: admin.users.set_roles(clinic_id, user, roles))

    def list_devices(self, limit: int, cursor: str | None) -> dict[str, Any]:
        rows = self._run(lambda admin, clinic_id: admin.devices.list(clinic_id))
        return page("devices", [told_device(row) for row in rows], "device_id", limit, cursor)

    def revoke_device(self, device_id: str) -> None:
        self._run(lambda admin, clinic_id: admin.devices.revoke(clinic_id, device_id))

    def tell(self, answer: dict[str, Any], text: str) -> None:
        self.at.tell(answer, text)

    def _run(self, act: Callable[[Administration, str], Awaitable[T]]) -> T:
        async def run(office: Office) -> T:
            return await act(office.admin, await office.clinic(self.clinic))

        return self.at.run(run)


def at_clinic(command: Callable[..., None]) -> Callable[..., None]:
    """The same with a clinic, for what is decided about its people and devices."""

    @at_cloud
    @clinic_option
    @wraps(command)
    def wrapped(at: At, clinic: str | None, **options: Any) -> None:
        command(AtClinic(at, clinic), **options)

    return wrapped
