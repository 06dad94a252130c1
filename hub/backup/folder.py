"""Where a hub's backups lie: `<place>/medxz-hub-<last 8 of its id>/<time>/`, on whatever file system.

One that is being made has another name, and gets its own when all of it is on the disk. Only what this hub made is ever
removed here. Refused: a place that can't be written to, and a backup for which there is no room.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from hub.backup.manifest import read_manifest
from medxz import limits
from medxz.program.backup_files import MANIFEST, check_file
from medxz.program.errors import CommandFailed
from medxz.program.keeping import moment_of, stamp_of, superfluous
from medxz.store.copying import Progress
from medxz.store.durable import sync

# beside what a backup takes, so that its place is never filled to the last byte
ROOM_BYTES: Final = 16 * limits.MIB
_READ_BYTES: Final = limits.MIB
_UNFINISHED: Final = ".unfinished-"


class Folder:
    """One hub's at one place."""

    def __init__(self, place: Path, hub_id: str) -> None:
        self.place: Final = place
        self.path: Final = place / f"medxz-hub-{hub_id[-8:]}"

    def all(self) -> list[Path]:
        """Those that were made to the end, the oldest first."""
        if not self.path.is_dir():
            return []
        return sorted(
            path
            for path in self.path.iterdir()
            if moment_of(path.name) is not None and (path / MANIFEST).is_file()
        )

    def newest(self) -> Path | None:
        return next(reversed(self.all()), None)

    def free_stamp(self, moment_ms: int) -> str:
        """The name of a backup made then: the first second from there on that has none, as two may be asked for in one."""
        while (self.path / (stamp := stamp_of(moment_ms))).exists():
            moment_ms += 1_000
        return stamp

    @contextmanager
    def making(self, stamp: str) -> Iterator[Path]:
        """A folder to make one in; it gets its name when this ends well, and is gone where it does not."""
        unfinished = self.path / f"{_UNFINISHED}{stamp}"
        if (self.path / stamp).exists():
            raise CommandFailed(
                f"there is a backup of that second already: {self.path / stamp}", "take that one"
            )
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            for left in self.path.glob(f"{_UNFINISHED}*"):
                shutil.rmtree(left)
            unfinished.mkdir(mode=0o700)
        except OSError as error:
            raise CommandFailed(
                f"{self.path} can't be written to: {error.strerror}",
                "give another --to, or let this user write there",
            ) from None
        try:
            yield unfinished
            sync(unfinished)
            unfinished.rename(self.path / stamp)
            sync(self.path)
        except OSError as error:
            raise CommandFailed(f"{self.path}: {error.strerror}", "look at that disk") from None
        finally:
            with suppress(OSError):
                shutil.rmtree(unfinished)

    def make_room(self, needed: int, *, beside: int = ROOM_BYTES) -> list[str]:
        """Let the oldest go until so much fits and `beside` is left; CommandFailed where it never does.

        Where all of them would not be enough none goes: the disk is full of something else.
        """
        gone: list[str] = []
        *older, _newest = self.all() or [self.path]
        hopeless = self._free() + sum(map(_bytes_in, older)) < needed + beside
        while (free := self._free()) < needed + beside:
            if hopeless or not older:
                raise CommandFailed(
                    f"{self.place} has {free // limits.MIB} MiB free, and a backup takes"
                    f" {(needed + beside) // limits.MIB + 1} MiB",
                    "make room there, or give another --to",
                    "no_room",
                )
            oldest = older.pop(0)
            shutil.rmtree(oldest)
            gone.append(oldest.name)
        return gone

    def prune(self) -> list[str]:
        """Let those go that the scheme does not keep; their names."""
        gone = superfluous(path.name for path in self.all())
        for stamp in gone:
            shutil.rmtree(self.path / stamp)
        return gone

    def keep_newest(self, count: int) -> list[str]:
        """Let all others go; their names."""
        found = self.all()
        gone = found[: max(0, len(found) - count)]
        for path in gone:
            shutil.rmtree(path)
        return [path.name for path in gone]

    def _free(self) -> int:
        folder = next(path for path in (self.path, *self.path.parents) if path.exists())
        return shutil.disk_usage(folder).free


def _bytes_in(backup: Path) -> int:
    """What goes free with it."""
    with suppress(OSError):
        return sum(file.lstat().st_size for file in backup.iterdir())
    return 0


def find_backup(place: Path) -> Path:
    """The backup that is meant: the one in this folder, or the newest one below it, of one hub."""
    if (place / MANIFEST).is_file():
        return place
    found: dict[str, Path] = {}
    for manifest in [*place.glob(f"*/{MANIFEST}"), *place.glob(f"medxz-hub-*/*/{MANIFEST}")]:
        backup = manifest.parent
        if moment_of(backup.name) is not None:
            hub_id = read_manifest(backup).hub_id
            found[hub_id] = max(found.get(hub_id, backup), backup, key=lambda path: path.name)
    if len(found) == 1:
        return next(iter(found.values()))
    if found:
        lines = ", ".join(f"{path} (hub {hub_id})" for hub_id, path in sorted(found.items()))
        raise CommandFailed(
            f"there are backups of {len(found)} hubs in {place}: {lines}", "name the one to take"
        )
    raise CommandFailed(f"there is no backup in {place}", "name the folder that was given to `backup --to`")


def carry(backup: Path, folder: Folder, progress: Progress) -> Path:
    """Copy a whole backup there, and read it back from the medium; where it lies now."""
    manifest = read_manifest(backup)
    done = 0

    def went_on(count: int) -> None:
        nonlocal done
        done += count
        progress(done, 2 * manifest.size)

    with folder.making(backup.name) as unfinished:
        for file in manifest.files:
            went_on(copy_durably(backup / file.name, unfinished / file.name))
        for file in manifest.files:
            check_file(unfinished, file)
            went_on(file.bytes)
        copy_durably(backup / MANIFEST, unfinished / MANIFEST)
        if read_manifest(unfinished) != manifest:
            raise CommandFailed(
                f"{folder.place} gives back another {MANIFEST} than was written", "take another medium"
            )
    return folder.path / backup.name


def copy_durably(source: Path, target: Path) -> int:
    """A file that is on the disk when this returns; how long it is."""
    with source.open("rb") as reading, target.open("xb") as writing:
        shutil.copyfileobj(reading, writing, _READ_BYTES)
        writing.flush()
        os.fsync(writing.fileno())
        return writing.tell()
