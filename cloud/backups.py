"""The backups that hubs lay down in the cloud: `backups/<clinic>/<hub>/<time>/`, as on a stick, and kept by the same scheme.

Nobody here can open one: each is sealed by its hub. One that is not whole is not counted, and goes with the next.
With several relays their directory has to be one that they share, or each keeps a part. Refused: a backup whose files are not
what its manifest says, and one that would leave the cloud itself too little room.
"""

from __future__ import annotations

import base64
import binascii
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pydantic import ValidationError

from medxz import limits
from medxz.errors import Invalid, StorageFull
from medxz.program.backup_files import MANIFEST, Listed, check_file
from medxz.program.errors import CommandFailed
from medxz.program.keeping import moment_of, superfluous
from medxz.service.gate import Caller, require
from medxz.store.durable import make_directory, sync
from medxz.store.room import room_of
from medxz.wire import BackupAnswer, BackupPiece

if TYPE_CHECKING:
    from medxz.work import Worker

_UNFINISHED: Final = ".unfinished-"
_NAMES: Final = {"hub.db", "audit.db"}


class CloudBackups:
    """`Backups` (medxz/service/backups.py) in a folder; `worker` writes, one piece after another."""

    def __init__(self, folder: Path, worker: Worker) -> None:
        self._folder: Final = folder
        self._worker: Final = worker

    async def take(self, caller: Caller, piece: BackupPiece) -> BackupAnswer:
        require(caller, "hub")
        assert caller.hub_id is not None, "who has the role is a hub"
        place = self._folder / caller.clinic_id / caller.hub_id
        return await self._worker.run(_take, place, caller.hub_id, piece)


def _take(place: Path, hub_id: str, piece: BackupPiece) -> BackupAnswer:
    if moment_of(piece.backup) is None:
        raise Invalid("is no time", field="backup")
    finished = place / piece.backup
    if finished.is_dir():
        return BackupAnswer(size=_size(finished / piece.file), whole=True)
    content = _bytes_of(piece.content)
    unfinished = place / f"{_UNFINISHED}{piece.backup}"
    size = _size(unfinished / piece.file)
    if not content or piece.offset != size:
        return BackupAnswer(size=size, whole=False)
    if room_of(_standing(place)).free < limits.DISK_FREE_BYTES_MIN + len(content):
        raise StorageFull("the cloud's disk is nearly full", retry_after_s=limits.STORAGE_FULL_RETRY_S)
    _clear_others(place, unfinished)
    make_directory(unfinished)
    _append(unfinished / piece.file, content)
    if piece.file == MANIFEST:
        _finish(unfinished, finished, hub_id)
    return BackupAnswer(size=size + len(content), whole=piece.file == MANIFEST)


def _finish(unfinished: Path, finished: Path, hub_id: str) -> None:
    """Give a backup its name, where it is what it says; else it is gone, and is sent anew."""
    try:
        listed = Listed.model_validate_json((unfinished / MANIFEST).read_bytes())
        is_sound = listed.hub_id == hub_id and {file.name for file in listed.files} <= _NAMES
        for file in listed.files if is_sound else ():
            check_file(unfinished, file)
    except (ValidationError, CommandFailed):
        is_sound = False
    if not is_sound:
        shutil.rmtree(unfinished)
        raise Invalid("the backup is not what its manifest says; send it anew", field="content")
    unfinished.rename(finished)
    sync(finished.parent)
    made = [path.name for path in finished.parent.iterdir() if moment_of(path.name) is not None]
    for stamp in superfluous(made):
        shutil.rmtree(finished.parent / stamp)


def _clear_others(place: Path, unfinished: Path) -> None:
    """What was begun and given up."""
    for left in place.glob(f"{_UNFINISHED}*"):
        if left != unfinished:
            shutil.rmtree(left)


def _append(file: Path, content: bytes) -> None:
    with file.open("ab") as opened:
        opened.write(content)
        opened.flush()
        os.fsync(opened.fileno())


def _bytes_of(text: str) -> bytes:
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (ValueError, binascii.Error):
        raise Invalid("is no base64url", field="content") from None


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0


def _standing(place: Path) -> Path:
    return next(path for path in (place, *place.parents) if path.exists())
