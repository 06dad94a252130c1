"""The backups of hubs at their cloud: laid down in pieces, listed, and given back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medxz.service.gate import require
from medxz.web.handlers.room import Room, page_of, places_of
from medxz.wire import BackupPiece

if TYPE_CHECKING:
    from aiohttp import web

    from medxz.service import Services
    from medxz.web.answers import Answers
    from medxz.web.body import Bodies
    from medxz.web.call import Call
    from medxz.web.downloads import Downloads
    from medxz.web.handlers.room import Handler


class BackupsRoom(Room):
    """/v1/hubs/backups."""

    def __init__(self, services: Services, bodies: Bodies, answers: Answers, downloads: Downloads) -> None:
        super().__init__(services, bodies, answers)
        self._downloads = downloads

    def table(self) -> dict[str, Handler]:
        return {"hub_backup": self._take, "hub_backups": self._list, "hub_backup_file": self._file}

    async def _take(self, call: Call) -> web.StreamResponse:
        require(call.authorised(), "hub")
        piece = await self._bodies.read_model(call, BackupPiece)
        return await self._model(call, await self._services.backups.take(call.authorised(), piece))

    async def _list(self, call: Call) -> web.StreamResponse:
        return await self._model(call, await self._services.backups.list(call.authorised(), *page_of(call)))

    async def _file(self, call: Call) -> web.StreamResponse:
        (backup_id,) = places_of(call)
        file = str(call.query["file"])
        return await self._downloads.send(
            call, await self._services.backups.file(call.authorised(), backup_id, file)
        )
