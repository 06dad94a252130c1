"""The slices of a folder, and the writing of a set of them: one file after another, each whole before the next begins.

A file has its name once it is on the disk; what was begun and not finished has a name that nobody reads. Refused:
nothing of a folder but what cannot be read; of each file it is said why it is left.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

import msgspec
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey

from medxz import limits
from medxz.courier.content import Content, End, packed, unpacked
from medxz.courier.envelope import ENDING, Header, Slice, SliceWriter, Unlocked, Way, read_slice
from medxz.errors import CourierRefused
from medxz.store.durable import sync
from medxz.work import Worker

UNFINISHED: Final = ".unfinished"


@dataclass(frozen=True, slots=True)
class Found:
    """What lies in a folder: the slices of one way, the oldest set first, and why other files are none."""

    slices: list[Slice]
    refused: list[str]


def find_slices(folder: Path, way: Way) -> Found:
    """Look through a folder; CourierRefused where there is none. Those of the other way are passed by in silence."""
    slices: list[Slice] = []
    refused: list[str] = []
    try:
        names = sorted(path for path in folder.iterdir() if path.name.endswith(ENDING))
    except OSError as error:
        raise CourierRefused(f"{folder}: {error.strerror}", "name the folder that the files lie in") from None
    for path in names:
        try:
            found = read_slice(path)
        except CourierRefused as error:
            refused.append(str(error))
        else:
            if found.header.way == way:
                slices.append(found)
    slices.sort(
        key=lambda each: (each.header.clinic_id, each.header.hub_id, each.header.set_id, each.header.number)
    )
    return Found(slices, refused)


@dataclass(frozen=True, slots=True)
class Making:
    """Whose set is made, for whom, where; and how large a file of it becomes."""

    folder: Path
    header: Header
    receiver: EllipticCurvePublicKey
    maker: EllipticCurvePrivateKey
    slice_bytes: int = limits.COURIER_SLICE_BYTES


class SetWriter:
    """Writes a set. `before_end` is asked for what has to stand in each slice, so that each can be taken by itself."""

    def __init__(self, making: Making, worker: Worker) -> None:
        self._making: Final = making
        self._worker: Final = worker
        self._file: BinaryIO | None = None
        self._slice: SliceWriter | None = None
        self.made: list[Path] = []

    @property
    def is_full(self) -> bool:
        """Whether what follows belongs into another slice."""
        return self._slice is not None and self._slice.size >= self._making.slice_bytes

    @property
    def is_open(self) -> bool:
        return self._slice is not None

    async def add(self, content: Content) -> None:
        await self._worker.run(self._add, content)

    async def end_slice(self) -> None:
        """It is whole, and on the disk, when this returns."""
        await self._worker.run(self._end)

    async def discard(self) -> None:
        """Take away what was made: it is not what it should be."""
        await self._worker.run(self._discard)

    def _path(self) -> tuple[Header, Path]:
        number = len(self.made) + 1
        if number > limits.COURIER_SLICES_MAX:
            raise CourierRefused(f"more than {limits.COURIER_SLICES_MAX} files: make them larger")
        header = msgspec.structs.replace(self._making.header, number=number)
        return header, self._making.folder / header.file_name

    def _add(self, content: Content) -> None:
        if self._slice is None:
            header, path = self._path()
            self._file = path.with_name(path.name + UNFINISHED).open("wb")
            self._slice = SliceWriter(self._file, header, self._making.receiver, self._making.maker)
        self._slice.add(packed(content))

    def _end(self) -> None:
        if self._slice is None or self._file is None:
            raise AssertionError("a slice was begun before it is ended")
        self._slice.close(packed(End()))
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        _, path = self._path()
        path.with_name(path.name + UNFINISHED).rename(path)
        sync(path.parent)
        self._file, self._slice = None, None
        self.made.append(path)

    def _discard(self) -> None:
        self.close()
        for path in self.made:
            path.unlink(missing_ok=True)
        self.made = []

    def close(self) -> None:
        """Let go of what was not finished."""
        if self._file is not None:
            self._file.close()
            _, path = self._path()
            path.with_name(path.name + UNFINISHED).unlink(missing_ok=True)
            self._file, self._slice = None, None


async def contents(slices: Sequence[Unlocked], worker: Worker) -> AsyncGenerator[Content, None]:
    """What stands in them, one after another, each frame read and opened by the worker."""
    for each in slices:
        frames = each.frames()
        while (frame := await worker.run(next, frames, None)) is not None:
            yield await worker.run(unpacked, frame, each.slice.name)


def clear_superseded(made: list[Path], folder: Path, is_ours: Callable[[Header], bool]) -> list[Path]:
    """Take away older sets of the same maker for the same receiver, which the new one has all of; those that went."""
    gone = []
    for path in sorted(folder.glob(f"medxz-*{ENDING}{UNFINISHED}")):  # what else lies on a stick is not ours
        path.unlink(missing_ok=True)
    for path in sorted(folder.glob("*" + ENDING)):
        if path in made:
            continue
        try:
            header = read_slice(path).header
        except CourierRefused:
            continue
        if is_ours(header):
            path.unlink(missing_ok=True)
            gone.append(path)
    return gone
