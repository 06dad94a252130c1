"""A backup is laid down in the hub's cloud, piece by piece; broken off, it goes on where it was.

The cloud keeps what it can't open. It is asked how much it has before anything is sent.
"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from hub.backup.manifest import read_manifest
from medxz import limits
from medxz.errors import CloudRequired, PeerRefused, PeerUnreachable
from medxz.program.backup_files import MANIFEST
from medxz.program.errors import CommandFailed
from medxz.wire import BackupAnswer, BackupPiece

if TYPE_CHECKING:
    from hub.backup.checking import Stage

CLOUD: Final = "cloud"


class Keeping(Protocol):
    """A cloud that keeps backups."""

    async def keep_backup(self, piece: BackupPiece) -> BackupAnswer: ...


async def upload(backup: Path, cloud: Keeping, stage: Stage) -> None:
    """All of it, the manifest last. CloudRequired where the cloud can't be reached, CommandFailed where it refuses."""
    manifest = read_manifest(backup)
    names = [*(file.name for file in manifest.files), MANIFEST]
    try:
        for name in names:
            await _send(backup / name, cloud, stage)
    except PeerUnreachable as error:
        raise CloudRequired(str(error)) from None
    except PeerRefused as refused:
        raise CommandFailed(
            f"the cloud refused the backup: {refused.message}", "ask whoever runs the cloud", refused.code
        ) from None


async def _send(file: Path, cloud: Keeping, stage: Stage) -> None:
    size = _size(file)
    there = await _ask(file, cloud, 0, b"")  # how much of it there is, from a time before
    with file.open("rb") as opened:
        while not there.whole and there.size < size:
            stage(f"to the cloud: {file.name}", there.size, size)
            opened.seek(there.size)
            there = await _ask(file, cloud, there.size, opened.read(limits.BACKUP_PIECE_BYTES))


async def _ask(file: Path, cloud: Keeping, offset: int, content: bytes) -> BackupAnswer:
    text = base64.urlsafe_b64encode(content).rstrip(b"=").decode()
    asked = {"backup": file.parent.name, "file": file.name, "offset": offset, "content": text}
    return await cloud.keep_backup(BackupPiece.model_validate(asked))


def _size(file: Path) -> int:
    return file.stat().st_size
