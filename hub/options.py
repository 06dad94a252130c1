"""What the commands of the hub have in common: which hub, its key, how it answers; and asking it, running or not."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from medxz.program.errors import CommandFailed

if TYPE_CHECKING:
    from hub.config import HubPlaces, Settings

STARTING_S_MAX: Final = 15.0
STARTING_POLL_S: Final = 0.1  # nobody tells when its socket is there

PATH = click.Path(path_type=Path)
data_option = click.option(
    "--data", type=PATH, envvar="MEDXZ_HUB_DATA", show_envvar=True, required=True, help="The hub's directory."
)
key_option = click.option("--key-file", type=PATH, help="The key of the store. [default: DIR.key]")
json_option = click.option("--json", "as_json", is_flag=True, help="Answer in JSON, one object.")


def settings_for(data: Path, key_file: Path | None) -> Settings:
    """The settings as `run` would have them."""
    from hub.config import load_settings

    flags = {"data": data} | ({"key_file": key_file} if key_file is not None else {})
    return load_settings(flags, os.environ)


def places_of(data: Path) -> HubPlaces:
    from hub.config import HubPlaces

    return HubPlaces(data)


def asked_or_opened(
    data: Path, key_file: Path | None, command: str, arguments: dict[str, Any]
) -> dict[str, Any]:
    """The answer of the running hub, or of the store itself where none runs."""
    from hub import ask

    give_up_at = time.monotonic() + STARTING_S_MAX
    while True:
        try:
            return ask.ask(places_of(data).socket, command, arguments)
        except ask.HubNotRunning:
            from hub.desk import answer_stopped

            try:
                return answer_stopped(settings_for(data, key_file).places, os.environ, command, arguments)
            except CommandFailed as refused:
                # in use by a hub that does not answer: it is starting or stopping
                if refused.code != "in_use" or time.monotonic() >= give_up_at:
                    raise
        time.sleep(STARTING_POLL_S)
