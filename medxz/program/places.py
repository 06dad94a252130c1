"""Where a program's files lie: what it stores inside its directory, the key beside it."""

from __future__ import annotations

import os
from pathlib import Path

from medxz.program.errors import CommandFailed
from medxz.store.durable import make_directory


class Places:
    """The directory and its key; a program adds the names of its own files."""

    def __init__(self, data: Path, key_file: Path | None = None) -> None:
        self.data = Path(os.path.normpath(data.absolute()))
        self.key_file = self.beside(".key") if key_file is None else key_file.absolute()

    def beside(self, ending: str) -> Path:
        return self.data.with_name(self.data.name + ending)

    def make_directory(self) -> None:
        try:
            make_directory(self.data)
        except OSError as error:
            raise CommandFailed(
                f"{self.data} can't be made: {error.strerror}", "give another --data"
            ) from None
