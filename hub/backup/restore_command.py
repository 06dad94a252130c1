"""`medxz-hub restore`: bring a backup back, from a medium or from the hub's cloud."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hub.backup.command import progress
from hub.options import PATH, data_option, json_option, key_option, settings_for
from medxz import limits
from medxz.commandline import Example
from medxz.program.outcome import tell

if TYPE_CHECKING:
    from hub.ask import Json
    from hub.config import HubPlaces
    from medxz.wire import LaidDown


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
    from hub.backup.bringing import Bringing, key_in
    from hub.backup.uploading import CLOUD

    is_cloud = str(from_) == CLOUD
    if not is_cloud and (backup is not None or only_list):
        raise click.UsageError("--backup and --list are for --from cloud")
    places = settings_for(data, key_file).places
    typed = key_in(recovery_key_file) if recovery_key_file is not None else None
    bringing = Bringing(places, typed, _typed, lambda: progress(quiet=as_json))
    if only_list:
        found = bringing.listed()
        answer = {"backups": [each.model_dump() for each in found]}
        tell(answer, as_json, "\n".join(map(_line, found)) or "The cloud has none of this hub.")
        return
    told = bringing.from_cloud(backup) if is_cloud else bringing.from_medium(from_)
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


def _typed(asked: str) -> str | None:
    """What is typed at a terminal."""
    if not sys.stdin.isatty():
        return None
    typed: str = click.prompt(asked, prompt_suffix=": ", err=True)
    return typed
