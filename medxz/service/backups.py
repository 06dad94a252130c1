"""Where hubs lay down their backups. The cloud keeps them, and can open none; a hub keeps nobody's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from medxz.errors import Forbidden
from medxz.service.gate import require

if TYPE_CHECKING:
    from medxz.service.gate import Caller
    from medxz.wire import BackupAnswer, BackupPiece


class Backups(Protocol):
    """Backups of the hubs of every clinic."""

    async def take(self, caller: Caller, piece: BackupPiece) -> BackupAnswer:
        """Keep a piece that follows what there is; another one changes nothing. The same piece again is nothing new.

        Raises Forbidden where the caller is no hub, StorageFull, and Invalid where a backup that came to its end is
        not what its manifest says: then it is to be sent anew.
        """
        ...


class NoBackups:
    """Those of a server that keeps none."""

    async def take(self, caller: Caller, _piece: BackupPiece) -> BackupAnswer:
        require(caller, "hub")
        raise Forbidden("a hub keeps nobody's backups; ask the cloud")
