"""What of a driver's errors says that a file is damaged, and where whoever runs the store hears of it.

A statement that was wrong, a disk that is full and a file that is locked are no damage.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlcipher3 import dbapi2 as sqlcipher

from medxz.errors import RowCorrupt, StoreDamaged

_SIGNS: Final = ("SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_IOERR_READ", "SQLITE_IOERR_SHORT_READ")


def is_damage(error: BaseException) -> bool:
    """Whether it says that a file does not hold what was written to it."""
    if isinstance(error, RowCorrupt | StoreDamaged):
        return True
    name = getattr(error, "sqlite_errorname", "") or ""
    return isinstance(error, sqlcipher.Error) and name.startswith(_SIGNS)


@dataclass(frozen=True, slots=True)
class Finding:
    """Which file, by its name alone, and how it was found out."""

    file: str
    found: str


class Damage:
    """Damage of the files of one store: the first finding is told, later ones say nothing new."""

    def __init__(self) -> None:
        self.found: Finding | None = None
        self._met: Final = asyncio.Event()

    def meet(self, path: Path, found: str) -> None:
        if self.found is None:
            self.found = Finding(path.name, found)
            self._met.set()

    def meet_rows(self, path: Path, damaged: Sequence[int]) -> None:
        """The same of rows of a log, by their server_seqs, where there are any."""
        if damaged:
            self.meet(path, f"the check of every row: {len(damaged)} damaged, first server_seq {damaged[0]}")

    @contextmanager
    def watching(self, path: Path, doing: str) -> Iterator[None]:
        """What is raised and is a sign of damage is met. Its text stays where it is: it may quote what it choked on."""
        try:
            yield
        except Exception as error:
            if is_damage(error):
                sign = getattr(error, "sqlite_errorname", None) or "a checksum does not fit"
                self.meet(path, f"{doing}: {sign}")
            raise

    async def met(self) -> Finding:
        """Wait for the first."""
        await self._met.wait()
        assert self.found is not None
        return self.found
