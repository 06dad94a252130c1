"""`medxz-hub pair`, `user …` and `device …`: who comes in to a hub, and who is sent away."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hub.options import asked_or_opened, data_option, json_option, key_option, places_of
from medxz.commandline import Example
from medxz.program.outcome import tell
from medxz.program.people import device_commands, user_commands

if TYPE_CHECKING:
    from hub.ask import Json


@click.command(
    cls=Example,
    example="medxz-hub pair --data /var/lib/medxz --name 'Tablet in room 2'\n"
    "medxz-hub pair --data /var/lib/medxz --name Reception --scope front_desk --json",
)
@data_option
@click.option("--name", help="What the device will be called. [default: what it says itself]")
@click.option(
    "--scope", type=click.Choice(["full", "front_desk"]), help="What the device holds. [default: full]"
)
@json_option
def pair(data: Path, as_json: bool, name: str | None, scope: str | None) -> None:
    """A code that lets one device in, within ten minutes; on a terminal as a QR code too.

    The hub must run. One that was claimed asks its cloud: status 3 where that can't be reached.
    """
    from hub.ask import ask

    wanted = {"name": name, "scope": scope}
    given = {key: value for key, value in wanted.items() if value is not None}
    answer = ask(places_of(data).socket, "pair", given)
    tell(answer, as_json, _shown(answer))


def _shown(answer: Json) -> str:
    from medxz.trust.certificates import to_compare

    code = answer["code"]
    lines = [
        f"code      {code[:4]}-{code[4:]}   until {answer['expires_at']}",
        f"address   {answer['url'].partition('#')[0]}",
        f"compare   {to_compare(answer['fp'])}",
        f"QR text   {answer['url']}",
    ]
    return "\n".join(([_drawn(answer["url"])] if sys.stdout.isatty() else []) + lines)


def _drawn(text: str) -> str:
    """The QR code, for a camera."""
    import io

    import segno

    drawn = io.StringIO()
    segno.make(text, error="m").terminal(out=drawn, compact=True)
    return drawn.getvalue()


@dataclass(frozen=True, slots=True)
class AtHub:
    """`Deciding` (medxz/program/people.py) on a hub alone, running or not."""

    data: Path
    key_file: Path | None
    as_json: bool

    def add_user(self, email: str, name: str, roles: tuple[str, ...], password: str) -> str:
        new = {"email": email, "name": name, "roles": list(roles), "password": password}
        return str(self._ask("user_add", new)["user_id"])

    def list_users(self, limit: int, cursor: str | None) -> Json:
        return self._ask("user_list", {"limit": limit, "cursor": cursor})

    def disable_user(self, user: str, *, disabled: bool) -> None:
        self._ask("user_disable", {"user": user, "disabled": disabled})

    def set_password(self, user: str, password: str) -> None:
        self._ask("user_passwd", {"user": user, "password": password})

    def set_roles(self, user: str, roles: tuple[str, ...]) -> None:
        self._ask("user_roles", {"user": user, "roles": list(roles)})

    def list_devices(self, limit: int, cursor: str | None) -> Json:
        return self._ask("device_list", {"limit": limit, "cursor": cursor})

    def revoke_device(self, device_id: str) -> None:
        self._ask("device_revoke", {"device_id": device_id})

    def tell(self, answer: Json, text: str) -> None:
        tell(answer, self.as_json, text)

    def _ask(self, command: str, arguments: Json) -> Json:
        return asked_or_opened(self.data, self.key_file, command, arguments)


def at_hub(command: Callable[..., None]) -> Callable[..., None]:
    """Options of every such command; it gets the place as its first argument."""

    @data_option
    @key_option
    @json_option
    @wraps(command)
    def wrapped(data: Path, key_file: Path | None, as_json: bool, **options: Any) -> None:
        command(AtHub(data, key_file, as_json), **options)

    return wrapped


user = user_commands("medxz-hub", "/var/lib/medxz", at_hub)
device = device_commands("medxz-hub", "/var/lib/medxz", at_hub)
