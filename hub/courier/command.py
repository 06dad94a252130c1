"""`medxz-hub export` and `import`: files between the hub and a medium that a courier carries.

A running hub makes and takes them in its own directory, and this carries them from and to the medium, file by file: one
that is there already is not copied again. It may be root that does so, and a hub that was broken into must not choose what
root reads and writes: names are a courier's, places are known, links are not followed. Refused: a folder that is not
there, a medium without room, a name of the hub's that is none.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from hub.options import PATH, data_option, json_option, key_option, settings_for
from medxz.commandline import FAILED, Example
from medxz.errors import CourierRefused
from medxz.ids import UUID_PATTERN
from medxz.program.bars import Progress, progress_bar
from medxz.program.errors import CommandFailed
from medxz.program.outcome import tell
from medxz.store.durable import sync

if TYPE_CHECKING:
    from hub.ask import Json
    from hub.config import HubPlaces
    from medxz.courier.envelope import Header

_POLL_S: Final = 0.1  # the hub works on by itself, and tells how far it is when asked
_UNFINISHED: Final = ".unfinished"
_NAME: Final = re.compile(rf"medxz-up-{UUID_PATTERN}-{UUID_PATTERN}-[0-9]{{4}}\.courier")
_READING: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW
_WRITING: Final = os.O_WRONLY | os.O_CLOEXEC | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW

Ask = Callable[[str, "Json"], "Json"]


@click.command("export", cls=Example, example="medxz-hub export --data /var/lib/medxz/hub --to /media/usb")
@data_option
@click.option("--to", "folder", type=PATH, required=True, help="The folder that the files go into.")
@click.option(
    "--slice-mb", type=click.IntRange(1, 4_000), help="How large a file becomes, in MiB. [default: 64]"
)
@key_option
@json_option
def give(data: Path, folder: Path, slice_mb: int | None, *, key_file: Path | None, as_json: bool) -> None:
    """Write for the cloud what it lacks, encrypted and signed, onto a medium that somebody carries there.

    Safe to repeat, and to interrupt: what lies there whole is not copied again. At the cloud, `medxz-cloud import` takes
    it in and lays the answer beside it.
    """
    _check_folder(folder)
    places = settings_for(data, key_file).places
    with _hub(places) as ask, progress_bar("packing", quiet=as_json) as progress:
        ask("courier_export", {} if slice_mb is None else {"slice_mb": slice_mb})
        told = _finished(ask, progress)
        made = [places.courier / "out" / _name(name) for name in told["files"]]
        files = [_copied(path, folder / path.name, progress) for path in made]
    with suppress(OSError):  # not every file system of a stick can say so
        sync(folder)
    _tidy(folder, files)
    for path in made:  # what is on the medium need not lie on the hub too
        path.unlink(missing_ok=True)
    answer = {**told, "files": [str(path) for path in files]}
    size = f"{told['bytes'] / 1_048_576:.1f} MiB in {len(files)} files"
    tell(answer, as_json, f"{told['ops']} ops for the cloud lie in {folder}: {size}.")


@click.command("import", cls=Example, example="medxz-hub import --data /var/lib/medxz/hub --from /media/usb")
@data_option
@click.option("--from", "folder", type=PATH, required=True, help="The folder with the cloud's files.")
@key_option
@json_option
@click.pass_context
def take(context: click.Context, data: Path, folder: Path, *, key_file: Path | None, as_json: bool) -> None:
    """Take in what the cloud sent by a courier: ops, people, revocations, configuration, keys, the certificate.

    Safe to repeat, and to interrupt. Files for other hubs are left alone. Ends with status 1 where one was refused.
    """
    from medxz.courier.slices import find_slices

    _check_folder(folder)
    found = find_slices(folder, "down")
    refused, taken = list(found.refused), []
    places = settings_for(data, key_file).places
    with _hub(places) as ask, progress_bar("taking in", quiet=as_json) as progress:
        own = ask("courier_state", {})["hub_id"]
        mine = [each for each in found.slices if each.header.hub_id == own]
        for each in mine:
            name = each.header.file_name  # whatever a browser or a person has made of it
            _copied(each.path, places.courier / "in" / name, progress)
            ask("courier_import", {"name": name})
            told = _finished(ask, progress)
            if told["refused"] is None:
                taken.append({"file": each.name, **told})
            else:
                refused.append(told["refused"])
    others = len(found.slices) - len(mine)
    if not mine and not refused:
        raise CourierRefused(
            f"{folder}: nothing for this hub lies there, and {others} files for others",
            "medxz-cloud import writes it",
        )
    ops = sum(each["ops"] for each in taken)
    answer = {"taken": taken, "refused": refused, "ops": ops, "for_others": others}
    lines = [_line(each) for each in taken] + [f"left: {why}" for why in refused]
    tell(answer, as_json, "\n".join(lines))
    if refused:
        context.exit(FAILED)


def _line(taken: Json) -> str:
    renewed = ", a new certificate" if taken["renewed"] else ""
    came = f"{taken['ops']} ops new here, {taken['answered']} of this hub's answered{renewed}"
    return f"taken, as the cloud was at {taken['made_at']}: {came}"


def _check_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise CourierRefused(f"{folder}: there is no such folder", "is the medium mounted?")


# ------------------------------------------------------------------------------------- the hub


@contextmanager
def _hub(places: HubPlaces) -> Iterator[Ask]:
    """The running hub over its socket, or the one whose store is opened for this."""
    from hub import ask

    try:
        ask.ask(places.socket, "courier_state")
    except ask.HubNotRunning:
        with _stopped(places) as asking:
            yield asking
    else:
        yield lambda command, arguments: ask.ask(places.socket, command, arguments)


@contextmanager
def _stopped(places: HubPlaces) -> Iterator[Ask]:
    from hub.courier.opening import stopped_desk

    with asyncio.Runner() as runner:
        opening = stopped_desk(places, os.environ)
        desk = runner.run(opening.__aenter__())
        try:

            async def asked(command: str, arguments: Json) -> Json:
                answer = await desk.table()[command](arguments)
                await asyncio.sleep(_POLL_S)  # what was begun goes on while it is waited for
                return answer

            yield lambda command, arguments: runner.run(asked(command, arguments))
        finally:
            runner.run(opening.__aexit__(None, None, None))


def _finished(ask: Ask, progress: Progress) -> Json:
    while True:
        state = ask("courier_state", {})
        progress(state["done"], state["total"])
        if not state["busy"]:
            answer: Json = state["answer"]
            return answer
        time.sleep(_POLL_S)


# ------------------------------------------------------------------------------------- the medium


def _copied(source: Path, target: Path, progress: Progress) -> Path:
    """It is whole, and on the disk, under its name; one of that name and size is what was copied before."""
    size = source.stat().st_size
    progress(0, size)
    if target.is_file() and target.stat().st_size == size:
        return target
    unfinished = target.with_name(target.name + _UNFINISHED)
    try:
        unfinished.unlink(missing_ok=True)
        reading, writing = os.open(source, _READING), os.open(unfinished, _WRITING, 0o644)
        with os.fdopen(reading, "rb") as from_, os.fdopen(writing, "wb") as to:
            shutil.copyfileobj(from_, to)
            to.flush()
            os.fsync(writing)
            _give_to_owner(writing, target.parent)
        unfinished.rename(target)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise CommandFailed(
            f"{target} can't be written: {error.strerror}", "is there room? do it again with another medium"
        ) from None
    progress(size, size)
    return target


def _give_to_owner(descriptor: int, folder: Path) -> None:
    """What root puts into the hub's directory the hub has to read."""
    held = folder.stat()
    if os.geteuid() == 0 and held.st_uid != 0:
        os.fchown(descriptor, held.st_uid, held.st_gid)


def _name(told: str) -> str:
    if _NAME.fullmatch(told) is None:
        raise CommandFailed(f"the hub names {told!r}, which is no file of a courier", "see the hub's log")
    return told


def _tidy(folder: Path, made: list[Path]) -> None:
    """Older files of this hub for its cloud are in the new ones."""
    from medxz.courier.envelope import read_slice
    from medxz.courier.slices import clear_superseded

    if made:
        own = read_slice(made[0]).header
        clear_superseded(made, folder, lambda other: _is_before(other, own))


def _is_before(other: Header, own: Header) -> bool:
    same = (other.way, other.clinic_id, other.hub_id) == (own.way, own.clinic_id, own.hub_id)
    return same and other.set_id < own.set_id
