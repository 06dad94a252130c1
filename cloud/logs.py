"""Opening the log of a clinic: a file of its own, or the clinic's rows in a PostgreSQL.

On SQLite the file is the key: what is not in it can't be read with it. A few threads serve the files of all clinics. A
file that was last open under another epoch takes the cloud's as it is opened.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol
from zlib import crc32

from medxz.store.durable import make_directory, put_in_place
from medxz.store.files import Identity, LogFile
from medxz.store.sqlite import Workers, open_log
from medxz.store.views.file import ViewsFile
from medxz.work import ThreadWorker, Worker

if TYPE_CHECKING:
    from pathlib import Path

    from cloud.config import CloudPlaces
    from cloud.epoch import Epoch
    from medxz.clock import Clock
    from medxz.store.base import LogStore
    from medxz.store.postgres.pool import Pool

LANES: Final = 4
# its log and its views, with everything that reads them
FILES_PER_CLINIC: Final = 20
_LOG: Final = "log.db"
_VIEWS: Final = "views.db"
_CURSOR_KEY_BYTES: Final = 32


class Logs(Protocol):
    """What the logs of a cloud are kept on."""

    async def open(self, clinic_id: str) -> LogStore:
        """The log of a clinic of this cloud, which is made where there is none."""
        ...

    async def close(self) -> None:
        """Let go of what all of them share; they are closed by then."""
        ...


@dataclass(frozen=True, slots=True)
class Folders:
    """Where each clinic's files lie, and the key of them all."""

    places: CloudPlaces
    key: bytes

    def of(self, clinic_id: str) -> Path:
        """The clinic's folder, which is made where there is none."""
        folder = self.places.clinic(clinic_id)
        if not folder.is_dir():
            make_directory(folder)
        return folder


class ViewsFiles:
    """What is derived from the logs, which each relay keeps for itself."""

    def __init__(self, folders: Folders) -> None:
        self._folders: Final = folders
        self._workers: Final = [ThreadWorker(f"views-{n}") for n in range(LANES)]

    def of(self, clinic_id: str) -> ViewsFile:
        worker: Worker = self._workers[_lane(clinic_id)]
        return ViewsFile(self._folders.of(clinic_id) / _VIEWS, self._folders.key, worker)

    def close(self) -> None:
        for worker in self._workers:
            worker.close()


class SqliteLogs:
    """`Logs` in files."""

    def __init__(self, folders: Folders, epoch: Epoch, clock: Clock) -> None:
        self._folders: Final = folders
        self._epoch: Final = epoch
        self._clock: Final = clock
        self._workers: Final = [Workers.threads() for _ in range(LANES)]

    async def open(self, clinic_id: str) -> LogStore:
        workers = self._workers[_lane(clinic_id)]
        path = await workers.writer.run(self._made, clinic_id)
        log, _ = await open_log(path, self._folders.key, self._clock, workers)
        return log

    async def close(self) -> None:
        for workers in self._workers:
            workers.close()

    def _made(self, clinic_id: str) -> Path:
        folder = self._folders.of(clinic_id)
        path = folder / _LOG
        if not path.exists():
            # a name of its own until it is whole: a power cut leaves nothing that looks like a log
            unfinished = path.with_suffix(".new")
            for ending in ("", "-wal", "-shm"):
                unfinished.with_name(unfinished.name + ending).unlink(missing_ok=True)
            identity = Identity(
                clinic_id, self._epoch.server_id, self._epoch.epoch, secrets.token_bytes(_CURSOR_KEY_BYTES)
            )
            LogFile.create(unfinished, self._folders.key, identity)
            put_in_place(unfinished, path)
        return path


class PostgresLogs:
    """`Logs` in a PostgreSQL, which other relays may have open too."""

    def __init__(self, pool: Pool, epoch: Epoch, clock: Clock) -> None:
        from medxz.store.postgres.relay import Relay

        self._bodies: Final = ThreadWorker("bodies")
        self._relay: Final = Relay(pool, epoch, clock, self._bodies)

    async def begin(self) -> None:
        """Bring its tables up to date, and hear of what other relays append."""
        await self._relay.open()

    async def open(self, clinic_id: str) -> LogStore:
        return await self._relay.open_log(clinic_id)

    async def close(self) -> None:
        await self._relay.close()
        self._bodies.close()


def _lane(clinic_id: str) -> int:
    return crc32(clinic_id.encode()) % LANES
