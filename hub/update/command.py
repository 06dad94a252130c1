"""`medxz-hub update`: other software, from the cloud or from a stick; what runs, and whether it is good.

As root: it writes to the other half of the card and restarts the machine. The hub itself does neither.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hub.options import PATH, data_option, json_option, places_of
from medxz.commandline import DONE, FAILED, Example
from medxz.program.outcome import tell

if TYPE_CHECKING:
    from hub.update.backend import Backend, Progress
    from hub.update.confirming import Confirmer
    from hub.update.updating import Updater

Json = dict[str, Any]

_WORDS = {
    "current": "This hub runs {version} already: there is nothing newer.",
    "offered": "The cloud offers {version}; `medxz-hub update` installs it.",
    "installed": "{version} is installed; it is tried at the next start of the machine.",
    "restarting": "The machine restarts into {version}, which is kept if it is well.",
    "kept": "{version} runs, as before.",
    "confirmed": "{version} is well and is kept.",
    "waiting": "{version} is installed and waits for a restart.",
    "back": "The update did not come up; {version} runs again: {why}.",
    "cut_off": "Installing {version} was cut off; it is tried again.",
    "giving_back": "The update is not well ({why}): the machine goes back to {version}.",
}


@click.command(
    cls=Example,
    example="medxz-hub update --data /var/lib/medxz/hub\n"
    "medxz-hub update --data /var/lib/medxz/hub --from /media/usb\n"
    "medxz-hub update --data /var/lib/medxz/hub --status",
)
@data_option
@click.option("--check", is_flag=True, help="Only ask whether the cloud has something newer.")
@click.option("--from", "place", type=PATH, help="A bundle, or the folder (a stick) in which one lies.")
@click.option("--back", is_flag=True, help="Go back to what the last update replaced.")
@click.option("--status", is_flag=True, help="Which version runs, and what came of the update before.")
@click.option("--confirm", is_flag=True, help="After a start: keep what runs if it is well, or go back.")
@click.option(
    "--force", is_flag=True, help="Also to an older version, the same again, or one that failed here."
)
@click.option("--restart/--no-restart", default=True, help="Restart when nobody pushes. [default: yes]")
@click.option(
    "--wait", "wait_s", type=float, default=6 * 3_600, help="Seconds to wait for that. [default: 6 hours]"
)
@click.option(
    "--within",
    "within_s",
    type=float,
    default=900,
    help="Seconds within which --confirm wants it well. [default: 900]",
)
@click.option("--root", type=PATH, default=Path("/"), help="The machine's root, for trying. [default: /]")
@json_option
@click.pass_context
def update(context: click.Context, /, data: Path, as_json: bool, root: Path, **said: Any) -> None:
    """Install the version that the cloud offers, or one from a stick, when nobody is pushing.

    It is written beside what runs, tried at the next start, and kept only if the hub serves, its database opens and it
    syncs; otherwise the machine goes back by itself. A step back is refused. Status 3: the cloud can't be reached.
    """
    chosen = [name for name in ("check", "place", "back", "status", "confirm") if said[name]]
    if len(chosen) > 1:
        raise click.UsageError(
            "--check, --from, --back, --status and --confirm are things of their own: give one"
        )
    if said["status"]:
        told = _standing(root)
        tell(told, as_json, "\n".join(f"{name:<12}{_in_words(value)}" for name, value in told.items()))
        return
    if said["confirm"]:
        told = _confirmer(data, root, said["within_s"]).run()
    else:
        told = _updated(data, root, as_json, said)
    tell(told, as_json, _WORDS[told["state"]].format(**told))
    context.exit(FAILED if told["state"] in {"back", "cut_off", "giving_back"} else DONE)


def _updated(data: Path, root: Path, as_json: bool, said: dict[str, Any]) -> Json:
    from hub.update.updating import Wish
    from medxz.program.bars import progress_bar

    wish = Wish(force=said["force"], restart=said["restart"], wait_s=said["wait_s"])
    with progress_bar("", quiet=as_json) as progress:
        updater = _updater(data, root, as_json, progress)
        if said["check"]:
            offer = updater.offer()
            return (
                {"state": "current", "version": updater.machine.image().version}
                if offer is None
                else {"state": "offered", **offer}
            )
        if said["back"]:
            return updater.back(wish)
        if said["place"] is not None:
            return updater.from_file(said["place"], wish)
        return updater.from_cloud(wish)


def _updater(data: Path, root: Path, as_json: bool, progress: Progress) -> Updater:
    from hub.update.machine import Machine
    from hub.update.running import RunningHub
    from hub.update.schemas import needs_backup
    from hub.update.updating import Updater

    def say(line: str) -> None:
        if not as_json:
            click.echo(line, err=True)

    return Updater(
        machine=Machine(root),
        backend=_backend(root),
        hub=RunningHub(places_of(data).socket),
        fetched_in=places_of(data).beside(".update"),
        backup=lambda: _back_up(data),
        needs_backup=needs_backup,
        say=say,
        progress=progress,
    )


def _confirmer(data: Path, root: Path, within_s: float) -> Confirmer:
    from hub.update.confirming import Confirmer
    from hub.update.machine import Machine
    from hub.update.running import RunningHub

    return Confirmer(Machine(root), _backend(root), RunningHub(places_of(data).socket), within_s)


def _backend(root: Path) -> Backend:
    """CommandFailed on a machine that has none."""
    from hub.update.debian import Debian
    from hub.update.machine import Machine
    from hub.update.rauc import Rauc

    return Debian(root) if Machine(root).image().is_package else Rauc(root)


def _standing(root: Path) -> Json:
    """What runs, what starts next, and the update that was tried last."""
    from hub.update.machine import Machine

    machine = Machine(root)
    image, slots, trial = machine.image(), _backend(root).slots(), machine.trial()
    return {
        "version": image.version,
        "built": image.built,
        "machine": image.compatible,
        "slot": slots.booted.name,
        "next_slot": slots.next,
        "can_go_back": slots.other.starts,
        "last_update": None if trial is None else trial.model_dump(exclude={"boot_id"}),
    }


def _in_words(value: object) -> str:
    if isinstance(value, dict):
        why = f": {value['why']}" if value["why"] else ""
        return f"{value['before']} → {value['version']}, {value['state']}{why}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else str(value)


def _back_up(data: Path) -> None:
    """By the command that operators have; CommandFailed where there is no backup now."""
    from medxz.program.errors import CommandFailed

    ended = subprocess.run(  # noqa: S603  our own program
        [sys.executable, "-I", "-m", "hub", "backup", "--data", str(data), "--json"],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    if ended.returncode:
        lines = ended.stderr.strip().splitlines()
        raise CommandFailed(
            f"there is no backup, and without one there is no way back: {lines[-1] if lines else ended.returncode}",
            "make one: medxz-hub backup; then update again",
            "no_backup",
        )
