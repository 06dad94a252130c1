"""Where hubs lay down their backups, and get them back. The cloud keeps them, and can open none; a hub keeps nobody's.

A hub gets its own, and those of the hubs of its site whose place it took. Others are not there for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from medxz.errors import Forbidden
from medxz.service.gate import require

if TYPE_CHECKING:
    from medxz.service.download import Download
    from medxz.service.gate import Caller
    from medxz.wire import BackupAnswer, BackupPiece, BackupsAnswer


class Backups(Protocol):
    """Backups of the hubs of every clinic."""

    async def take(self, caller: Caller, piece: BackupPiece) -> BackupAnswer:
        """Keep a piece that follows what there is; another one changes nothing. The same piece again is nothing new.

        Raises Forbidden where the caller is no hub, StorageFull, and Invalid where a backup that came to its end is
        not what its manifest says: then it is to be sent anew.
        """
        ...

    async def list(self, caller: Caller, cursor: str | None, limit: int) -> BackupsAnswer:
        """Those that the caller may have, the newest first. Raises Forbidden, and BadCursor."""
        ...

    async def file(self, caller: Caller, backup_id: str, name: str) -> Download:
        """A file of one. Raises Forbidden, and NotFound where the caller may have no such file."""
        ...


class NoBackups:
    """Those of a server that keeps none."""

    async def take(self, caller: Caller, _piece: BackupPiece) -> BackupAnswer:
        require(caller, "hub")
        raise Forbidden("a hub keeps nobody's backups; ask the cloud")

    async def list(self, caller: Caller, _cursor: str | None, _limit: int) -> BackupsAnswer:
        require(caller, "hub")
        raise Forbidden("a hub keeps nobody's backups; ask the cloud")

    async def file(self, caller: Caller, _backup_id: str, _name: str) -> Download:
        require(caller, "hub")
        raise Forbidden("a hub keeps nobody's backups; ask the cloud")
