"""`medxz-hub restore`: bring a backup back, from a medium or from the hub's cloud."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from hub.backup.command import progress
from hub.options import PATH, data_option, json_option, key_option, settings_for
from medxz import limits
from medxz.commandline import Example
from medxz.program.errors import CommandFailed
from medxz.program.outcome import tell

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hub.ask import Json
    from hub.backup.checking import Stage
    from hub.backup.restoring import Opened
    from hub.config import HubPlaces
    from medxz.wire import LaidDown

_KEY_BYTES_MAX: Final = 4_096


@click.command(
    cls=Example,
    example="medxz-hub restore --data /var/lib/medxz/hub --from /media/stick\n"
    "medxz-hub restore --data /var/lib/medxz/hub --from /media/stick/medxz-hub-9f3e5a10/20261122T020000Z\n"
    "medxz-hub restore --data /var/lib/medxz/hub --from cloud",
)
@data_option
@click.option(
    "--from",
    "from_",
    type=PATH,
    required=True,
    help="A backup, the folder given to `backup --to`, or `cloud`.",
)
@click.option("--backup", metavar="ID", help="Which one of the cloud's. [default: the newest]")
@click.option("--list", "only_list", is_flag=True, help="Tell which ones the cloud has; bring none back.")
@click.option(
    "--recovery-key-file",
    type=PATH,
    help="A file with the recovery key. [default: the box's own key, or typed]",
)
@key_option
@json_option
def restore(
    data: Path,
    from_: Path,
    backup: str | None,
    only_list: bool,
    recovery_key_file: Path | None,
    key_file: Path | None,
    *,
    as_json: bool,
) -> None:
    """Bring a backup back: onto a new box, or where the store was lost.

    The hub must not run. It begins a new epoch, so that devices and the cloud bring what came after the backup; a
    store that is there is kept, and what can be read of it is put back when the hub next runs.

    From the cloud a hub gets its own backups, and a new box that was claimed in the place of another that one's: then
    its ops are taken in, and the new hub stays who it is.
    """
    import asyncio

    from hub.backup.uploading import CLOUD

    is_cloud = str(from_) == CLOUD
    if not is_cloud and (backup is not None or only_list):
        raise click.UsageError("--backup and --list are for --from cloud")
    places = settings_for(data, key_file).places
    typed = _key_of(recovery_key_file) if recovery_key_file is not None else None
    if only_list:
        found = asyncio.run(_in_the_cloud(places))
        answer = {"backups": [each.model_dump() for each in found]}
        tell(answer, as_json, "\n".join(map(_line, found)) or "The cloud has none of this hub.")
        return
    with progress(quiet=as_json) as stage:
        if is_cloud:
            told = _from_cloud(places, backup, typed, stage)
        else:
            from hub.backup.folder import find_backup

            told = _brought_back(places, _opened(find_backup(from_), places, typed), stage)
    tell(told, as_json, _in_words(told, places))


def _in_words(told: Json, places: HubPlaces) -> str:
    if "taken_from" in told:
        return (
            f"The backup of {told['backup_of']} of hub {told['taken_from']} was taken in: {told['ops_new']} ops were"
            f" missing here. Run this hub; what the cloud lacks of it goes up."
        )
    lines = [
        f"The backup of {told['backup_of']} is back in {places.data}: hub {told['hub_id']}, {told['ops']} ops.",
        "Run it. The box that it was made on must not be switched on beside it.",
    ]
    if not told["noted"]:
        lines.append("Its audit is damaged, and says nothing of this: write it down.")
    return "\n".join(lines)


def _line(each: LaidDown) -> str:
    mib = sum(file.bytes for file in each.files) / limits.MIB
    return f"{each.id}: made at {each.made_at}, {mib:.1f} MiB"


# ------------------------------------------------------------------------------------- what is done


def _brought_back(places: HubPlaces, opened: Opened, stage: Stage) -> Json:
    """In the place of whatever store there is; noted in its audit."""
    import asyncio

    from hub.backup.noting import note_restored
    from hub.backup.restoring import restore as bring_back
    from medxz.clock import SystemClock
    from medxz.ids import RandomIds

    clock, ids = SystemClock(), RandomIds()
    told = bring_back(places, opened, os.environ, clock, ids, stage)
    told["noted"] = asyncio.run(note_restored(places, opened.contents.key, told, clock, ids))
    return told


def _from_cloud(places: HubPlaces, wanted: str | None, typed: str | None, stage: Stage) -> Json:
    import asyncio

    from hub.backup.from_cloud import forget
    from hub.backup.taking_in import take_in
    from hub.storage import locked
    from medxz.clock import SystemClock
    from medxz.ids import RandomIds

    if places.data.is_dir():
        with locked(places):  # before anything is fetched: a hub that runs is let be
            pass
    fetched, of_hub, own = asyncio.run(_fetched(places, wanted, stage))
    opened = _opened(fetched, places, typed)
    if opened.contents.hub_id != of_hub:
        raise CommandFailed(
            "the cloud gave the backup of another hub than it said", "ask whoever runs the cloud"
        )
    if of_hub == own:
        told = _brought_back(places, opened, stage)
    else:
        told = asyncio.run(take_in(places, opened, os.environ, SystemClock(), RandomIds(), stage))
    forget(fetched)
    return {**told, "from": "cloud"}


async def _in_the_cloud(places: HubPlaces) -> Sequence[LaidDown]:
    from hub.backup.from_cloud import all_backups, claim_of, cloud_of
    from medxz.clock import SystemClock
    from medxz.ids import RandomIds

    async with cloud_of(await claim_of(places, os.environ), SystemClock(), RandomIds()) as cloud:
        return await all_backups(cloud)


async def _fetched(places: HubPlaces, wanted: str | None, stage: Stage) -> tuple[Path, str, str]:
    """Where it lies on this machine now, of which hub it is, and which hub this is."""
    from hub.backup.from_cloud import all_backups, choose, claim_of, cloud_of, fetch
    from medxz.clock import SystemClock
    from medxz.ids import RandomIds

    clock, claim = SystemClock(), await claim_of(places, os.environ)
    async with cloud_of(claim, clock, RandomIds()) as cloud:
        chosen = choose(await all_backups(cloud), wanted)
        return await fetch(cloud, chosen, places, clock, stage), chosen.hub_id, claim.hub_id


# ------------------------------------------------------------------------------------- what opens it


def _opened(found: Path, places: HubPlaces, typed: str | None) -> Opened:
    """By what was given, else by the box's own key, else by what is typed now."""
    from hub.backup.restoring import open_backup

    try:
        return open_backup(found, places, os.environ, typed)
    except CommandFailed as refused:
        if typed is not None or refused.code != "recovery_key" or not sys.stdin.isatty():
            raise
        return open_backup(found, places, os.environ, _typed_key(str(refused)))


def _key_of(file: Path) -> str:
    from hub.backup.recovery_key import read_recovery_key

    try:
        text = file.read_bytes()[:_KEY_BYTES_MAX].decode("ascii")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "no text"
        raise CommandFailed(f"{file}: {reason}", "give a file with the recovery key alone in it") from None
    return read_recovery_key(text)


def _typed_key(asked: str) -> str:
    from hub.backup.recovery_key import read_recovery_key

    return read_recovery_key(click.prompt(asked, prompt_suffix=": ", err=True))
