"""What SQLite did to the files of a process that was killed, written down as it did it, and read again afterwards.

What a process has handed to the kernel outlives its kill, so nothing here is synced. An entry goes before what it
tells of: the last one may tell of a write that was never made, as a write under way at a power cut.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Final

from tests.disk.medium import FileMedium, Medium

# kind, number of the file, place or size, bytes that follow
_HEAD: Final = struct.Struct("<BHQI")


class Kind(IntEnum):
    """`NAME` gives a number to a name, for all that follows."""

    NAME = 0
    CREATED = 1
    ADOPTED = 2
    WRITE = 3
    TRUNCATE = 4
    SYNC_BEGUN = 5
    SYNCED = 6
    DELETE = 7
    NAMES_SYNCED = 8


class Journal:
    """`Recorder` (tests/disk/disks.py) of one process. `told` hears of each entry once it is written."""

    def __init__(self, path: Path, told: Callable[[Kind, str], None]) -> None:
        self._descriptor: Final = os.open(
            path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        )
        self._told: Final = told
        self._numbers: dict[str, int] = {}

    def created(self, name: str) -> None:
        self._put(Kind.CREATED, name)

    def adopted(self, name: str, content: bytes) -> None:
        self._put(Kind.ADOPTED, name, data=content)

    def write(self, name: str, offset: int, data: bytes) -> None:
        self._put(Kind.WRITE, name, offset, data)

    def truncate(self, name: str, size: int) -> None:
        self._put(Kind.TRUNCATE, name, size)

    def sync_begun(self, name: str) -> None:
        self._put(Kind.SYNC_BEGUN, name)

    def synced(self, name: str) -> None:
        self._put(Kind.SYNCED, name)

    def delete(self, name: str) -> None:
        self._put(Kind.DELETE, name)

    def names_synced(self, folder: str) -> None:
        self._put(Kind.NAMES_SYNCED, folder)

    def _put(self, kind: Kind, name: str, place: int = 0, data: bytes = b"") -> None:
        number = self._numbers.get(name)
        if number is None:
            number = self._numbers[name] = len(self._numbers)
            encoded = name.encode()
            os.writev(self._descriptor, (_HEAD.pack(Kind.NAME, number, 0, len(encoded)), encoded))
        os.writev(self._descriptor, (_HEAD.pack(kind, number, place, len(data)), data))
        self._told(kind, name)


@dataclass(slots=True)
class Reading:
    """Brings a medium to where a journal's process left it."""

    medium: Medium
    syncing: dict[str, int] = field(default_factory=dict)
    entries: int = 0
    strangers: list[str] = field(default_factory=list)
    """Files that are not what was written to them by SQLite: others made them anew."""

    def read(self, path: Path, folder: Path) -> None:
        """`folder`: as the process left it."""
        for kind, name, place, data in _entries(path.read_bytes()):
            self.entries += 1
            self._take(kind, name, place, data)
        for name in list(self.medium.files):
            self._compare(name, folder / name)

    def _take(self, kind: Kind, name: str, place: int, data: bytes) -> None:
        match kind:
            case Kind.CREATED:
                self.medium.delete(name)
                self.medium.create(name)
            case Kind.ADOPTED:
                self._adopt(name, data)
            case Kind.WRITE:
                self.medium.files[name].write(place, data)
            case Kind.TRUNCATE:
                self.medium.files[name].truncate(place)
            case Kind.SYNC_BEGUN:
                known = self.medium.files.get(name)
                self.syncing[name] = len(known.pending) if known is not None else 0
            case Kind.SYNCED:
                if name in self.medium.files:
                    self.medium.files[name].settle(self.syncing[name])
            case Kind.DELETE:
                self.medium.delete(name)
            case Kind.NAMES_SYNCED:
                self.medium.sync_names(name)

    def _adopt(self, name: str, content: bytes) -> None:
        """A file that the process found. What an earlier process wrote and never synced is no safer for its death."""
        known = self.medium.files.get(name)
        if known is None or known.now() != content:
            self.medium.files[name] = FileMedium.holding(content)
            if known is not None:
                self.strangers.append(name)

    def _compare(self, name: str, path: Path) -> None:
        """Hold what was written down against what is there; the last change may not have been made, or in part."""
        file = self.medium.files[name]
        if not path.exists():
            self.medium.delete(name)
            return
        content = path.read_bytes()
        if file.now() != content and file.pending:
            offset, data = file.pending.pop()
            file.size = len(content)
            if data is not None and (made := content[offset : offset + len(data)]):
                file.write(offset, made)
        if file.now() != content:
            self._adopt(name, content)


def _entries(journal: bytes) -> Iterator[tuple[Kind, str, int, bytes]]:
    """All that were written to their ends."""
    names: dict[int, str] = {}
    start = 0
    while start + _HEAD.size <= len(journal):
        kind, number, place, length = _HEAD.unpack_from(journal, start)
        start += _HEAD.size
        data = journal[start : start + length]
        if len(data) < length:
            return
        start += length
        if kind == Kind.NAME:
            names[number] = data.decode()
        else:
            yield Kind(kind), names[number], place, data
