"""Folders whose disk can lose what was not synced, fill up, fail to sync, and go away at any write.

    disk = disks().watch(folder)      # before SQLite opens anything in it
    disk.survive(random, to)          # what a power cut just now would leave
    disk.seal()                       # and nobody writes to it from now on

What is synced, by SQLite or by `os.fsync`, is synced in the model alone: no disk is waited for. Files that are not SQLite's are taken as they are. Shared memory (`-shm`) is left out: it is memory.
"""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Final, Protocol

from tests.disk import native
from tests.disk.images import lay_down
from tests.disk.medium import FileMedium, Medium, folder_of
from tests.disk.vfs import Interposed


class HasFileno(Protocol):
    def fileno(self) -> int: ...


class Recorder(Protocol):
    """Who else is told of what happens to the files, in order."""

    def created(self, name: str) -> None: ...
    def adopted(self, name: str, content: bytes) -> None: ...
    def write(self, name: str, offset: int, data: bytes) -> None: ...
    def truncate(self, name: str, size: int) -> None: ...
    def sync_begun(self, name: str) -> None: ...
    def synced(self, name: str) -> None: ...
    def delete(self, name: str) -> None: ...
    def names_synced(self, folder: str) -> None: ...


@cache
def disks() -> Disks:
    """Those of this process."""
    return Disks()


class Disks:
    """All watched folders of a process. Made once, by `disks`: it becomes SQLite's default file system."""

    def __init__(self) -> None:
        self._watched: dict[str, Disk] = {}
        self._vfs = Interposed(self)
        self._native_fsync = os.fsync
        os.fsync = self._fsync

    def watch(self, folder: Path, recorder: Recorder | None = None) -> Disk:
        """Look after a folder, and what is below it, from now on. Nothing in it may be open."""
        place = os.path.realpath(folder)
        assert place not in self._watched, f"{place} is watched already"
        disk = Disk(Path(place), lambda: self._watched.pop(place, None), recorder)
        self._watched[place] = disk
        return disk

    def _fsync(self, fd: int | HasFileno) -> None:
        """What Python code syncs: files that SQLite writes, and folders; of others nothing is ever lost here."""
        descriptor = fd if isinstance(fd, int) else fd.fileno()
        path = str(Path(f"/proc/self/fd/{descriptor}").readlink())
        disk = self._watched.get(path) or self._disk_of(path)
        if disk is None:
            self._native_fsync(descriptor)
        else:
            disk.sync_by_python(path)

    def opening(
        self, path: str, flags: int, act: Callable[[], int], content: Callable[[], bytes]
    ) -> tuple[int, OpenFile | None]:
        disk = self._disk_of(path)
        return (act(), None) if disk is None else disk.opening(path, flags, act, content)

    def deleting(self, path: str, sync_folder: bool, act: Callable[[], int]) -> int:
        disk = self._disk_of(path)
        return act() if disk is None else disk.deleting(path, sync_folder, act)

    def broke(self, error: BaseException) -> None:
        for disk in self._watched.values():
            disk.broken = disk.broken or error

    def _disk_of(self, path: str) -> Disk | None:
        folder = path
        while folder and (folder := folder.rpartition("/")[0]):
            if (disk := self._watched.get(folder)) is not None:
                return disk
        return None


class Disk:
    """One watched folder. `writes` counts what changed it: writes, truncations, syncs, deletions."""

    def __init__(
        self,
        folder: Path,
        unwatch: Callable[[], object],
        recorder: Recorder | None,
    ) -> None:
        self.folder: Final = folder
        self.medium = Medium()
        self.writes = 0
        self.syncs = 0
        self.failed_syncs = 0
        self.refused_for_room = 0
        self.is_sealed = False
        self.broken: BaseException | None = None
        self.recorder: Final = recorder
        self._unwatch: Final = unwatch
        self._is_watched = True
        self._open: dict[str, int] = {}
        self._stamps: dict[str, tuple[int, ...]] = {}
        self._room_bytes: int | None = None
        self._failing_syncs = 0
        self._failing_chance: random.Random | None = None
        self._cut: tuple[int, Callable[[], None]] | None = None

    # ------------------------------------------------------------------ what a test does to it

    def survive(self, chance: random.Random, to: Path) -> None:
        """Write what a power cut now would leave to a new folder."""
        self._sound()
        medium = self._take_stock()
        lay_down(self.folder, to, medium, medium.left(chance))

    def copy(self, to: Path) -> None:
        """Write what is there now to a new folder: an image taken of a card."""
        self._sound()
        medium = self._take_stock()
        lay_down(self.folder, to, medium, {name: file.now() for name, file in medium.files.items()})

    def seal(self) -> None:
        """Refuse every write, sync, deletion and opening from now on; what is open can be read and closed."""
        self.is_sealed = True

    def forget(self) -> None:
        """Look after it no longer: what is open writes as it likes."""
        self._is_watched = False
        self.medium = Medium()
        self._unwatch()

    def fill(self, room_bytes: int = 0) -> None:
        """Let no file grow by more than this, all together."""
        self._room_bytes = room_bytes

    def free(self) -> None:
        self._room_bytes = None

    def fail_syncs(self, count: int, chance: random.Random | None = None) -> None:
        """Fail the next syncs. What they were to bring to the disk is lost, or by chance only some of it, whatever
        is synced later: so does Linux.
        """
        self._failing_syncs, self._failing_chance = count, chance

    def cut_at_write(self, number: int, cut: Callable[[], None]) -> None:
        """Call this in the middle of the number-th change from now, 1 being the next; then go on, if not sealed."""
        self._cut = (self.writes + number, cut)

    # ------------------------------------------------------------------ what SQLite does to it

    def opening(
        self, path: str, flags: int, act: Callable[[], int], content: Callable[[], bytes]
    ) -> tuple[int, OpenFile | None]:
        if self.is_sealed:
            return native.CANTOPEN, None
        name = self.name_of(path)
        is_new = not Path(path).exists()
        code = act()
        if code != native.OK:
            return code, None
        if is_new:
            self.medium.delete(name)
            self.medium.create(name)
            if self.recorder is not None:
                self.recorder.created(name)
        elif name not in self.medium.files or (not self._open.get(name) and self._is_foreign(name)):
            self._adopt(name, content)
        self._open[name] = self._open.get(name, 0) + 1
        syncs_folder = bool(flags & native.OPEN_CREATE and flags & native.OPEN_JOURNALS)
        return code, OpenFile(self, name, self.medium.files[name], syncs_folder)

    def sync_by_python(self, path: str) -> None:
        name = self.name_of(path)
        if self.sync(name) != native.OK:
            raise OSError(errno.EIO, os.strerror(errno.EIO), path)
        if Path(path).is_dir():
            self.names_synced(name)

    def sync(self, name: str) -> int:
        """What was written to a file before this began is on the disk when it returns."""
        if self.changes():
            return native.IOERR_FSYNC
        file = self.medium.files.get(name)
        if self._failing_syncs:
            self._failing_syncs -= 1
            self.failed_syncs += 1
            if file is not None:
                file.lose(self._failing_chance)
            return native.IOERR_FSYNC
        self.syncs += 1
        count = len(file.pending) if file is not None else 0
        if self.recorder is not None:
            self.recorder.sync_begun(name)
        if file is not None:
            file.settle(count)
        if self.recorder is not None:
            self.recorder.synced(name)
        return native.OK

    def deleting(self, path: str, sync_folder: bool, act: Callable[[], int]) -> int:
        if self.changes():
            return native.IOERR_DELETE
        code = act()
        if code == native.OK:
            name = self.name_of(path)
            self.medium.delete(name)
            if self.recorder is not None:
                self.recorder.delete(name)
            if sync_folder:
                self.names_synced(folder_of(name))
        return code

    def changes(self) -> bool:
        """Count a change; whether it is refused."""
        if self.is_sealed:
            return True
        self.writes += 1
        if self._cut is not None and self.writes >= self._cut[0]:
            cut, self._cut = self._cut[1], None
            cut()
        return self.is_sealed

    def names_synced(self, folder: str) -> None:
        self.medium.sync_names(folder)
        if self.recorder is not None:
            self.recorder.names_synced(folder)

    def has_room(self, growth: int) -> bool:
        if self._room_bytes is None or growth <= 0:
            return True
        if growth > self._room_bytes:
            self.refused_for_room += 1
            return False
        self._room_bytes -= growth
        return True

    @property
    def is_watched(self) -> bool:
        return self._is_watched

    def closed(self, name: str) -> None:
        self._open[name] -= 1
        if not self._open[name] and (stamp := _stamp(self.folder / name)):
            self._stamps[name] = stamp

    def name_of(self, path: str) -> str:
        return path[len(str(self.folder)) + 1 :]

    # ------------------------------------------------------------------ what others did to it

    def _is_foreign(self, name: str) -> bool:
        """Whether a file that is closed is another one by now, or was written by somebody else."""
        return self._stamps.get(name) != _stamp(self.folder / name)

    def _adopt(self, name: str, content: Callable[[], bytes]) -> None:
        """Look after a file that was there; renamed from one that we know, it keeps what is not synced."""
        if former := self._former_name(name):
            self.medium.files[name] = self.medium.files.pop(former)
            del self._stamps[former]
        else:
            self.medium.files[name] = FileMedium.holding(content())
        if self.recorder is not None:
            self.recorder.adopted(name, self.medium.files[name].now())
        self.medium.before.pop(name, None)

    def _former_name(self, name: str) -> str | None:
        stamp = _stamp(self.folder / name)
        for former, held in self._stamps.items():
            if held == stamp and former != name and not (self.folder / former).exists():
                return former
        return None

    def _take_stock(self) -> Medium:
        """What is known of the files, once what happened behind SQLite's back is noted."""
        for name in list(self.medium.files):
            if not self._open.get(name) and self._is_foreign(name):
                renamed = not (self.folder / name).exists() and self._new_name(name)
                if renamed:
                    self._stamps[renamed] = self._stamps.pop(name)
                    self.medium.files[renamed] = self.medium.files[name]
                del self.medium.files[name]
        return self.medium

    def _new_name(self, name: str) -> str | None:
        stamp = self._stamps.get(name)
        for path in self.folder.rglob("*"):
            if stamp is not None and _stamp(path) == stamp:
                return self.name_of(str(path))
        return None

    def _sound(self) -> None:
        if self.broken is not None:
            raise AssertionError("the watched disk itself broke") from self.broken


class OpenFile:
    """One handle that SQLite has on a file of a disk."""

    __slots__ = ("_disk", "_file", "_name", "_syncs_folder")

    def __init__(self, disk: Disk, name: str, file: FileMedium, syncs_folder: bool) -> None:
        self._disk = disk
        self._name = name
        self._file = file
        self._syncs_folder = syncs_folder

    def writing(self, offset: int, data: bytes) -> int:
        disk, file = self._disk, self._file
        if not disk.is_watched:
            return native.OK
        if disk.is_sealed:
            return native.IOERR_WRITE
        if not disk.has_room(offset + len(data) - file.size):
            return native.FULL
        file.write(offset, data)
        if disk.recorder is not None:
            disk.recorder.write(self._name, offset, data)
        return native.IOERR_WRITE if disk.changes() else native.OK

    def truncating(self, size: int) -> int:
        disk = self._disk
        if not disk.is_watched:
            return native.OK
        if disk.is_sealed:
            return native.IOERR_TRUNCATE
        self._file.truncate(size)
        if disk.recorder is not None:
            disk.recorder.truncate(self._name, size)
        return native.IOERR_TRUNCATE if disk.changes() else native.OK

    def syncing(self, sync: Callable[[], int]) -> int:
        disk = self._disk
        if not disk.is_watched:
            return sync()
        code = disk.sync(self._name)
        if code != native.OK:
            return code
        if self._syncs_folder:
            self._syncs_folder = False
            disk.names_synced(folder_of(self._name))
        return native.OK

    def closed(self) -> None:
        if self._disk.is_watched:
            self._disk.closed(self._name)


def _stamp(path: Path) -> tuple[int, ...] | None:
    """By which a file is known again, whatever its name; nothing is opened for it."""
    try:
        told = path.stat()
    except FileNotFoundError:
        return None
    return told.st_dev, told.st_ino, told.st_size, told.st_mtime_ns
