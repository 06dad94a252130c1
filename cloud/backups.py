"""The backups that hubs lay down in the cloud: `backups/<clinic>/<hub>/<time>/`, as on a stick, and kept by the same scheme.

Nobody here can open one: each is sealed by its hub. One that is not whole is not counted, and goes with the next. A hub
gets back its own, and those of the hubs whose place it took, which is noted; others are not there for it.
With several relays their directory has to be one that they share, or each keeps a part. Refused: a backup whose files are not
what its manifest says, and one that would leave the cloud itself too little room.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from pydantic import ValidationError

from cloud.downloads import download_of
from medxz import limits
from medxz.clock import format_time
from medxz.errors import BadCursor, Invalid, NotFound, StorageFull
from medxz.program.backup_files import MANIFEST, Listed, check_file
from medxz.program.errors import CommandFailed
from medxz.program.keeping import moment_of, superfluous
from medxz.service.download import Download
from medxz.service.gate import Caller, require
from medxz.store.durable import make_directory, sync
from medxz.store.room import room_of
from medxz.wire import (
    BACKUP_FILES,
    BACKUP_ID_PATTERN,
    BackupAnswer,
    BackupFile,
    BackupPiece,
    BackupsAnswer,
    LaidDown,
)

if TYPE_CHECKING:
    from medxz.work import Worker

_UNFINISHED: Final = ".unfinished-"
_NAMES: Final = set(BACKUP_FILES) - {MANIFEST}
_MANIFEST_BYTES_MAX: Final = 4 * limits.MIB


class Successors(Protocol):
    """Who took whose place (medxz/accounts/successors.py)."""

    async def forerunners(self, clinic_id: str, hub_id: str) -> Sequence[str]: ...
    async def fetched(self, clinic_id: str, hub_id: str, backup_id: str) -> None: ...


class CloudBackups:
    """`Backups` (medxz/service/backups.py) in a folder; `worker` writes, one piece after another."""

    def __init__(self, folder: Path, worker: Worker, successors: Successors) -> None:
        self._folder: Final = folder
        self._worker: Final = worker
        self._successors: Final = successors

    async def take(self, caller: Caller, piece: BackupPiece) -> BackupAnswer:
        require(caller, "hub")
        assert caller.hub_id is not None, "who has the role is a hub"
        place = self._folder / caller.clinic_id / caller.hub_id
        return await self._worker.run(_take, place, caller.hub_id, piece)

    async def list(self, caller: Caller, cursor: str | None, limit: int) -> BackupsAnswer:
        hubs = await self._hubs_of(caller)
        if cursor is not None and re.fullmatch(BACKUP_ID_PATTERN, cursor) is None:
            raise BadCursor("this is not a cursor of this list")
        return await self._worker.run(_listed, self._folder / caller.clinic_id, hubs, cursor, limit)

    async def file(self, caller: Caller, backup_id: str, name: str) -> Download:
        hubs = await self._hubs_of(caller)
        stamp, _, hub_id = backup_id.partition("-")
        path = self._folder / caller.clinic_id / hub_id / stamp / name
        if hub_id not in hubs or not (size := await self._worker.run(_size, path)):
            raise NotFound("there is no such backup, or it has no such file")
        if name == MANIFEST:  # without which the rest is worth nothing
            assert caller.hub_id is not None, "who has the role is a hub"
            await self._successors.fetched(caller.clinic_id, caller.hub_id, backup_id)
        return download_of(path, size, self._worker)

    async def _hubs_of(self, caller: Caller) -> Sequence[str]:
        """Whose backups it may have."""
        require(caller, "hub")
        assert caller.hub_id is not None, "who has the role is a hub"
        return caller.hub_id, *await self._successors.forerunners(caller.clinic_id, caller.hub_id)


def _listed(place: Path, hubs: Sequence[str], before: str | None, limit: int) -> BackupsAnswer:
    """Their whole ones, the newest first: a page of them, from behind that one on."""
    found = sorted(
        (
            f"{path.name}-{hub_id}"
            for hub_id in hubs
            for path in (place / hub_id).glob("*")
            if moment_of(path.name) is not None
        ),
        reverse=True,
    )
    following = [backup_id for backup_id in found if before is None or backup_id < before]
    page = following[:limit]
    backups = [told for backup_id in page if (told := _laid_down(place, backup_id)) is not None]
    return BackupsAnswer(backups=backups, next_cursor=page[-1] if len(following) > limit else None)


def _laid_down(place: Path, backup_id: str) -> LaidDown | None:
    """None where it was let go meanwhile."""
    stamp, _, hub_id = backup_id.partition("-")
    moment = moment_of(stamp)
    assert moment is not None, "only those have a name of that form"
    try:
        with (place / hub_id / stamp / MANIFEST).open("rb") as opened:
            listed = Listed.model_validate_json(opened.read(_MANIFEST_BYTES_MAX))
    except (OSError, ValidationError):
        return None
    files = [BackupFile.model_validate(file.model_dump()) for file in listed.files]
    made_at = format_time(round(moment.timestamp() * 1_000))
    return LaidDown(id=backup_id, hub_id=hub_id, made_at=made_at, files=files)


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
