"""A small file in the hub's directory in which something is remembered that may be lost: when the last backup was made,
when the last courier came. One that is not there, or is damaged, says nothing; it is written in one step.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final, TypeVar

from pydantic import BaseModel, ValidationError

from medxz import limits
from medxz.store.durable import sync

_BYTES_MAX: Final = 64 * limits.KIB

Note = TypeVar("Note", bound=BaseModel)


def read_note_file(file: Path, kind: type[Note]) -> Note:
    """What stands there, else a note that says nothing."""
    try:
        with file.open("rb") as opened:
            return kind.model_validate_json(opened.read(_BYTES_MAX))
    except (OSError, ValidationError):
        return kind()


def write_note_file(file: Path, note: BaseModel) -> None:
    """In one step; OSError where it can't be."""
    unfinished = file.with_name(file.name + ".new")
    with unfinished.open("wb") as opened:
        opened.write(note.model_dump_json(indent=1).encode())
        opened.flush()
        os.fsync(opened.fileno())
    unfinished.rename(file)
    sync(file.parent)
