"""`medxz lock` and `medxz unlock`: a device that shows nothing while its user is away. Neither asks a server.

They work beside a process that holds the store, such as `medxz watch`, which goes on syncing.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from medxz.commandline import Example
from medxz.device.commanding import common, tell_result, with_device
from medxz.device.session_commands import read_password

if TYPE_CHECKING:
    from medxz.device.device import Device


@click.command(cls=Example, example="medxz lock --store tablet")
@common
def lock(store: Path, key_file: Path | None, as_json: bool) -> None:
    """Show and record nothing until `medxz unlock`. An hour without use does it too; syncing goes on."""

    async def work(device: Device) -> None:
        await device.lock()
        tell_result(as_json, {"locked": True}, "locked; `medxz unlock` opens it")

    with_device(store, key_file, work, only_reads=True)


@click.command(cls=Example, example="medxz unlock --store tablet")
@common
@click.option(
    "--password-file",
    help="A file with the password on its first line; -: the standard input. [default: asked on a terminal]",
)
def unlock(store: Path, key_file: Path | None, as_json: bool, password_file: str | None) -> None:
    """Open it again, by the password of who is logged in. No server is asked.

    Somebody else logs in: `medxz login`, which needs a server.
    """
    if password_file is not None:
        password = read_password(password_file)
    elif sys.stdin.isatty():
        password = click.prompt("password", hide_input=True, err=True)
    else:
        raise click.UsageError(
            "there is no terminal to ask on: give --password-file", click.get_current_context()
        )

    async def work(device: Device) -> None:
        await device.unlock(password)
        tell_result(as_json, {"locked": False}, "unlocked")

    with_device(store, key_file, work, only_reads=True)


LOCK_COMMANDS: Final = (lock, unlock)
