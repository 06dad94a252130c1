"""What a disk holds for certain, what it may hold, and what a power cut leaves of both.

A file has what was synced, and what was written since. Of that a power cut leaves any part: nothing, all, the first
writes, some of them, some of their sectors. A name that was made or taken away in a folder that was not synced since
may stand for what it stood for before. Nothing is ordered between two files.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

SECTOR_BYTES: Final = 512
# The kernel writes by itself what has waited for long: so the oldest of more than these is on the disk.
PENDING_MAX: Final = 20_000

Change = tuple[int, bytes | None]
"""A write: where, and what; or with None a new size."""


@dataclass(slots=True)
class FileMedium:
    """One file. `size` is what its process sees."""

    durable: bytearray = field(default_factory=bytearray)
    pending: list[Change] = field(default_factory=list)
    size: int = 0

    @classmethod
    def holding(cls, content: bytes) -> FileMedium:
        return cls(bytearray(content), [], len(content))

    def write(self, offset: int, data: bytes) -> None:
        self.pending.append((offset, data))
        self.size = max(self.size, offset + len(data))
        if len(self.pending) > PENDING_MAX:
            self.settle(PENDING_MAX // 2)

    def truncate(self, size: int) -> None:
        self.pending.append((size, None))
        self.size = size

    def settle(self, count: int) -> None:
        """The oldest of these changes are on the disk."""
        for offset, data in self.pending[:count]:
            _apply(self.durable, offset, data)
        del self.pending[:count]

    def lose(self, chance: random.Random | None) -> None:
        """A sync failed: the kernel takes what waited for written, though only some of it is, by chance, or nothing."""
        if chance is not None:
            self.durable = bytearray(self.left(chance))
        self.pending.clear()

    def now(self) -> bytes:
        """What its process reads."""
        image = bytearray(self.durable)
        for offset, data in self.pending:
            _apply(image, offset, data)
        return bytes(image)

    def left(self, chance: random.Random) -> bytes:
        """What a power cut leaves."""
        image = bytearray(self.durable)
        is_kept = _choose(chance, len(self.pending))
        for index, (offset, data) in enumerate(self.pending):
            for start, piece in _sectors(offset, data):
                if is_kept(index):
                    _apply(image, start, piece)
        if (beyond := self.size - len(image)) > 0 and chance.random() < 0.25:
            # the file has grown, and what it grew by was not written
            image += bytes(beyond) if chance.random() < 0.5 else chance.randbytes(beyond)
        return bytes(image)


@dataclass(slots=True)
class Medium:
    """The files of one directory by their names, `folder/name`."""

    files: dict[str, FileMedium] = field(default_factory=dict)
    # what a name stands for on the disk, where its folder was not synced since that changed; None: for nothing
    before: dict[str, FileMedium | None] = field(default_factory=dict)

    def create(self, name: str) -> FileMedium:
        self.before.setdefault(name, None)
        self.files[name] = made = FileMedium()
        return made

    def delete(self, name: str) -> None:
        gone = self.files.pop(name, None)
        if gone is not None:
            self.before.setdefault(name, gone)

    def sync_names(self, folder: str) -> None:
        for name in [name for name in self.before if folder_of(name) == folder]:
            del self.before[name]

    def left(self, chance: random.Random) -> dict[str, bytes]:
        """What a power cut leaves: content by name."""
        image = {}
        for name in sorted(self.files.keys() | self.before.keys()):
            file = self.files.get(name)
            if name in self.before and chance.random() < 0.5:
                file = self.before[name]
            if file is not None:
                image[name] = file.left(chance)
        return image


def folder_of(name: str) -> str:
    return name.rpartition("/")[0]


def _apply(image: bytearray, offset: int, data: bytes | None) -> None:
    if data is None:
        del image[offset:]
    if offset > len(image):
        image += bytes(offset - len(image))
    if data is not None:
        image[offset : offset + len(data)] = data


def _sectors(offset: int, data: bytes | None) -> Iterator[tuple[int, bytes | None]]:
    """The pieces of a change that are kept or lost as one."""
    if data is None:
        yield offset, None
        return
    start, end = 0, SECTOR_BYTES - offset % SECTOR_BYTES
    while start < len(data):
        yield offset + start, data[start:end]
        start, end = end, end + SECTOR_BYTES


def _choose(chance: random.Random, count: int) -> Callable[[int], bool]:
    """Whether a piece of the change with this number is kept."""
    match chance.choice(("nothing", "all", "first", "first", "some", "torn")):
        case "nothing":
            return lambda _: False
        case "all":
            return lambda _: True
        case "first":
            last = chance.randrange(count + 1)
            # the one at which the power went is torn
            return lambda index: index < last or (index == last and chance.random() < 0.5)
        case "some":
            kept = {index for index in range(count) if chance.random() < 0.7}
            return lambda index: index in kept
        case _:
            share = chance.choice((0.1, 0.5, 0.9, 0.99))
            return lambda _: chance.random() < share
