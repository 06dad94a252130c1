"""What the commands of the cloud have in common: where it is, whose clinic it is about, passwords, pages of a list.

A command opens the authority itself, beside a running cloud or without one; the running one notices what changed.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from medxz import limits
from medxz.commandline import Uuid
from medxz.errors import Invalid
from medxz.program.errors import CommandFailed
from medxz.program.outcome import tell

if TYPE_CHECKING:
    from cloud.config import Settings
    from cloud.office import Office

T = TypeVar("T")

PATH: Final = click.Path(path_type=Path)
PASSWORD_BYTES_MAX: Final = 4 * limits.KIB

clinic_option = click.option(
    "--clinic", type=Uuid(), help="The clinic's id. [default: the one clinic, where there is one alone]"
)
password_option = click.option(
    "--password-file",
    required=True,
    help="A file with the password on its first line; -: the standard input.",
)
limit_option = click.option(
    "--limit",
    type=click.IntRange(1, limits.LIST_PAGE_MAX),
    default=limits.LIST_PAGE_DEFAULT,
    show_default=True,
    help="How many at most.",
)
cursor_option = click.option("--cursor", help="Where to go on: the next_cursor of the page before.")


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


def read_password(file: str) -> str:
    """The first line of it; no password is ever an argument, which every user of the machine could read."""
    try:
        with click.open_file(file, "rb") as opened:
            text = opened.read(PASSWORD_BYTES_MAX + 1)
    except OSError as error:
        raise CommandFailed(f"{file}: {error.strerror}", "name a file with the password") from None
    line: bytes = text.partition(b"\n")[0].removesuffix(b"\r")
    if len(text) > PASSWORD_BYTES_MAX or not line:
        where = "the standard input" if file == "-" else file
        raise Invalid(f"{where} has no password on its first line", field="password")
    try:
        return line.decode()
    except UnicodeDecodeError:
        raise Invalid("the password is not UTF-8", field="password") from None


def page(
    name: str, rows: Sequence[dict[str, Any]], key: str, limit: int, cursor: str | None
) -> dict[str, Any]:
    """A page of rows that have their order by this key, as every list is answered."""
    after = read_cursor(cursor)
    left = sorted((row for row in rows if after is None or row[key] > after), key=lambda row: row[key])
    shown = left[:limit]
    more = len(left) > limit
    return {name: shown, "next_cursor": make_cursor(shown[-1][key]) if more else None}


def table(rows: Sequence[dict[str, Any]], *columns: str) -> str:
    """For people: a line each, in columns."""
    cells = [[_cell(row.get(column)) for column in columns] for row in rows]
    if not cells:
        return "none"
    widths = [max(len(row[place]) for row in [list(columns), *cells]) for place in range(len(columns))]
    lines = [list(columns), *cells]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in lines
    )


def more_text(answer: dict[str, Any]) -> str:
    return f"\nmore: --cursor {answer['next_cursor']}" if answer["next_cursor"] else ""


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    return "-" if value is None else str(value)


def make_cursor(key: str) -> str:
    return base64.urlsafe_b64encode(key.encode()).rstrip(b"=").decode()


def read_cursor(cursor: str | None) -> str | None:
    if cursor is None:
        return None
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        return base64.b64decode(padded, altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeDecodeError, ValueError):
        raise Invalid("--cursor is not one that a list gave", field="cursor") from None
