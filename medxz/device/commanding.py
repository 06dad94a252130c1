"""What the commands of `medxz` share: the device that they work on, answers for people and for programs, files."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

if TYPE_CHECKING:
    from medxz.device.device import Device
    from medxz.device.discovery import Hear

F = TypeVar("F", bound=Callable[..., Any])

PAYLOAD_FILE_BYTES_MAX: Final = 16 * 1_024 * 1_024
PATH = click.Path(path_type=Path)


def common(command: F) -> F:
    """What every command takes."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="Answer in JSON."),
        click.option("--key-file", type=PATH, help="The key of the store. [default: DIR.key]"),
        click.option(
            "--store", type=PATH, required=True, envvar="MEDXZ_STORE", show_envvar=True,
            help="The device's directory.",
        ),
    ):  # fmt: skip
        command = option(command)
    return command


def hearing() -> Hear | None:
    """Who listens on the LAN; nobody where the environment says MEDXZ_MDNS=0."""
    if os.environ.get("MEDXZ_MDNS") == "0":
        return None
    from medxz.lan.browsing import Browser

    return Browser


def tell_result(as_json: bool, answer: dict[str, Any], text: str) -> None:
    from medxz.device import show

    if as_json:
        show.json_line(answer)
    else:
        click.echo(text)


def with_device(
    store: Path, key_file: Path | None, work: Callable[[Device], Coroutine[Any, Any, None]], *,
    only_reads: bool = False, until_interrupted: bool = False,
) -> None:  # fmt: skip
    """Do the work with the store's device. What only reads goes beside a process that has the store."""
    device = _opened(store, key_file, only_reads=only_reads)

    async def run() -> None:
        async with device:
            task = asyncio.ensure_future(work(device))
            if not until_interrupted:
                await task
                return
            for number in (signal.SIGINT, signal.SIGTERM):
                asyncio.get_running_loop().add_signal_handler(number, task.cancel)
            await asyncio.wait([task])
            if not task.cancelled():
                task.result()

    asyncio.run(run())


def _opened(store: Path, key_file: Path | None, *, only_reads: bool) -> Device:
    from medxz.device.device import Device, Machine
    from medxz.device.keyfile import read_key
    from medxz.device.store.file import DATABASE
    from medxz.errors import StoreError, StoreLocked

    if not (store / DATABASE).exists():
        raise StoreError(
            f"there is no device's store in {store}; make one with `medxz enroll`, or `medxz init`"
        )
    key = read_key(store, key_file)
    machine = Machine(hear=hearing())
    if not only_reads:
        return Device.open(store, key=key, machine=machine)
    try:
        # it takes in what has changed, before it answers
        return Device.open(store, key=key, machine=machine, lock_wait_s=0)
    except StoreLocked:
        return Device.open(store, key=key, machine=machine, read_only=True)


def read_text(file: Path) -> str:
    return file.read_text("utf-8")


_OUTSIDE_STRINGS = re.compile(rb'("(?:[^"\\]|\\.)*")|[\n\r\t]+', re.DOTALL)


def compact_json(file: Path) -> bytes:
    """JSON may be written over several lines in a file; a payload may not. Nothing else of it is changed."""
    with file.open("rb") as opened:
        text = opened.read(PAYLOAD_FILE_BYTES_MAX)
    return _OUTSIDE_STRINGS.sub(lambda match: match[1] or b"", text).strip()
