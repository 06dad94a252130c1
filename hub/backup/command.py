"""`medxz-hub backup`: make a backup, and carry it off the machine."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from hub.options import data_option, json_option, key_option, settings_for
from medxz import limits
from medxz.commandline import Example
from medxz.errors import CloudRequired, MedxzError
from medxz.program.errors import CommandFailed
from medxz.program.outcome import tell

if TYPE_CHECKING:
    from hub.ask import Json
    from hub.backup.backups import Backups
    from hub.backup.checking import Stage
    from hub.config import HubPlaces

_POLL_S: Final = 0.1  # the hub works on by itself, and tells how far it is when asked


@click.command(
    cls=Example,
    example="medxz-hub backup --data /var/lib/medxz/hub --to /media/stick\n"
    "medxz-hub backup --data /var/lib/medxz/hub --show-recovery-key",
)
@data_option
@click.option(
    "--to", metavar="PLACE", help="A folder (a stick, a share), or `cloud`. [default: the setting backup_to]"
)
@click.option(
    "--show-recovery-key", is_flag=True, help="Show what backups open with where the box is gone; make none."
)
@key_option
@json_option
def backup(
    data: Path, to: str | None, *, show_recovery_key: bool, key_file: Path | None, as_json: bool
) -> None:
    """Make a backup while the hub serves, open it to see that it can be, and carry it off the machine.

    It is made in `backups` beside the directory. Write the recovery key down, and keep it away from the box: it opens
    every backup of this hub where the box is gone, and nothing else does.
    """
    settings = settings_for(data, key_file)
    places = settings.places
    if show_recovery_key:
        shown = _asked_or_opened(places, "recovery_key")
        tell(shown, as_json, shown["recovery_key"])
        return
    with progress(quiet=as_json) as stage:
        made = _made(places, stage)
        to = to or settings.backup_to
        carried, is_off = _carried(places, made, to, stage) if to is not None else (None, False)
    shown = made["is_key_shown"]
    told = {name: made[name] for name in ("made_at", "bytes", "ops", "took_s", "lies_in")}
    told |= {"carried_to": carried, "off_this_disk": is_off, "recovery_key_shown": shown}
    tell(told, as_json, _in_words(told))


def _in_words(told: Json) -> str:
    mib = told["bytes"] / limits.MIB
    lines = [f"A backup of {told['ops']} ops was made and opened again: {told['lies_in']} ({mib:.1f} MiB)."]
    if told["carried_to"] is None:
        lines.append("It lies on the hub's own disk: carry it elsewhere with --to FOLDER.")
    else:
        lines.append(f"It was carried to {told['carried_to']}, and read back there.")
        if not told["off_this_disk"]:
            lines.append(
                "That is the hub's own disk, and is lost with it: is the stick, or the share, mounted?"
            )
    if not told["recovery_key_shown"]:
        lines.append(
            "Nobody has its recovery key yet: medxz-hub backup --show-recovery-key, and write it down."
        )
    return "\n".join(lines)


def _made(places: HubPlaces, stage: Stage) -> Json:
    """A backup of the hub, running or not: its note."""
    from hub import ask

    try:
        return _watched(places, "backup", stage)
    except ask.HubNotRunning:
        return _stopped(places, "backup")


def _watched(places: HubPlaces, command: str, stage: Stage) -> Json:
    """What the running hub was asked to do, to its end."""
    from hub import ask

    told = ask.ask(places.socket, command)
    while told["running"]:
        stage(told["stage"], told["done"], told["total"])
        time.sleep(_POLL_S)
        told = ask.ask(places.socket, "backup_state")
    if (error := told["error"]) is not None:
        if error.get("needs_cloud"):
            raise CloudRequired(error["message"])
        raise CommandFailed(error["message"], error["hint"])
    return told


def _carried(places: HubPlaces, made: Json, to: str, stage: Stage) -> tuple[str, bool]:
    """Carry it there, and tell the hub; where it lies, and whether that is another disk than the hub's."""
    from hub.backup.folder import Folder, carry
    from hub.backup.manifest import read_manifest
    from hub.backup.uploading import CLOUD

    if to == CLOUD:
        try:
            _watched(places, "backup_upload", stage)
        except CloudRequired as away:
            raise CloudRequired(
                f"the backup of {made['made_at']} was made and lies in {made['lies_in']}, and not in the cloud: {away};"
                " the running hub carries it up once it can"
            ) from None
        return CLOUD, True
    lies_in = Path(made["lies_in"])
    try:
        manifest = read_manifest(lies_in)
        folder = Folder(Path(to), manifest.hub_id)
        folder.make_room(manifest.size)
        carried = carry(lies_in, folder, lambda done, total: stage("carrying", done, total))
        folder.prune()
    except (MedxzError, OSError) as error:
        hint = error.hint if isinstance(error, MedxzError) else "look at that disk"
        _asked_or_opened(places, "backup_failed", {"message": str(error), "hint": hint})
        raise CommandFailed(str(error), hint) from None
    is_off = carried.stat().st_dev != places.data.stat().st_dev
    if is_off:
        _asked_or_opened(places, "backup_carried", {"at": made["made_at"], "to": to})
    return str(carried), is_off


def _asked_or_opened(places: HubPlaces, command: str, arguments: Json | None = None) -> Json:
    from hub import ask

    try:
        return ask.ask(places.socket, command, arguments)
    except ask.HubNotRunning:
        return _stopped(places, command, arguments)


def _stopped(places: HubPlaces, command: str, arguments: Json | None = None) -> Json:
    """The same of a hub that does not run: its store is opened for it, under its lock."""
    import asyncio

    from hub.app import VERSION
    from hub.backup.backups import Backups
    from hub.storage import open_storage
    from medxz.clock import SystemClock
    from medxz.program.keys import read_key

    async def act(backups: Backups) -> Json:
        if command == "backup":
            await backups.make()
            return await backups.state({})
        return await backups.table()[command](arguments or {})

    async def opened() -> Json:
        async with open_storage(
            places, lambda: read_key(places.key_file, os.environ), SystemClock()
        ) as storage:
            backups = Backups(storage, VERSION)
            try:
                return await act(backups)
            finally:
                await backups.close()

    return asyncio.run(opened())


@contextmanager
def progress(*, quiet: bool) -> Iterator[Stage]:
    """On a terminal, how much of what is being done is done."""
    from medxz.program.bars import progress_bar

    with progress_bar("medxz-hub", quiet=quiet) as show:
        yield lambda _stage, done, total: show(done, total)
