"""A folder as a power cut leaves it, written as a new folder."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tests.disk.medium import Medium

_SHM: Final = "-shm"


def lay_down(folder: Path, to: Path, medium: Medium, image: Mapping[str, bytes]) -> None:
    """`image` beside a copy of what the medium knows nothing of. What processes share is memory, and gone."""
    to.mkdir(parents=True, mode=folder.stat().st_mode & 0o777)
    known = medium.files.keys() | medium.before.keys()
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_dir():
            (to / name).mkdir(mode=path.stat().st_mode & 0o777)
        elif path.is_file() and not name.endswith(_SHM) and name not in known:
            shutil.copy2(path, to / name)
    for name, content in image.items():
        (to / name).parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(to / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
