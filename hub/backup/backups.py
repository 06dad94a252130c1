"""The backups of one open hub: one at a time, told while it is made, noted when it is done.

The recovery key is made with the first. Refused: a second one while one is being made.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from structlog.typing import FilteringBoundLogger

from hub.arguments import Arguments
from hub.ask import Json
from hub.backup import recovery_key
from hub.backup.making import Made, Source, make_backup
from hub.backup.note import BackupNote, Trouble, read_note
from hub.backup.uploading import CLOUD, Keeping, upload
from hub.control import Handler
from hub.notefile import write_note_file
from hub.recovery.watching import PageWatch
from hub.storage import Storage
from medxz.clock import format_time
from medxz.errors import CloudRequired, MedxzError, StoreDamaged
from medxz.program.errors import CommandFailed
from medxz.web.log import told
from medxz.work import ThreadWorker

# between portions of the copy: whoever pushes goes first
PAUSE_S: Final = 0.002
# between two tries to carry up what the cloud could not be reached for
AGAIN_S: Final = 300.0


class Stopped(Exception):  # the hub is stopping: the backup was not made to its end
    """The hub stops, and the backup with it."""


class Carried(Arguments):
    """That one was carried off the machine."""

    at: str
    to: str


class Failed(Arguments):
    """That carrying one failed."""

    message: str
    hint: str = ""


class Backups:
    """Those of one hub. `close` it before its storage."""

    def __init__(
        self,
        storage: Storage,
        version: str,
        say: FilteringBoundLogger | None = None,
        cloud: Keeping | None = None,
        is_online: Callable[[], bool] = lambda: True,
    ) -> None:
        """`say` is told of those that nobody waits for; `cloud` is where one may be carried to, while it `is_online`."""
        self._is_online: Final = is_online
        self._tried_s: float | None = None
        self._cloud: Final = cloud
        self._storage: Final = storage
        self._version: Final = version
        self._say: Final = say
        self._worker: Final = ThreadWorker("backup")
        self._stopping: Final = threading.Event()
        self._task: asyncio.Task[object] | None = None
        self._stage: tuple[str, int, int] = ("", 0, 0)
        self.note: BackupNote = read_note(storage.places.backup_note)

    def table(self) -> dict[str, Handler]:
        """For the control socket."""
        return {
            "backup": self.begin,
            "backup_upload": self.begin_upload,
            "backup_state": self.state,
            "backup_carried": self.carried,
            "backup_failed": self.failed,
            "recovery_key": self.recovery_key,
        }

    @property
    def is_running(self) -> bool:
        """Whether one is being made."""
        return self._task is not None and not self._task.done()

    async def begin(self, _arguments: Json) -> Json:
        """Begin one, unless one is being made: then that one is told of."""
        return await self._begin(self.make)

    async def begin_upload(self, _arguments: Json) -> Json:
        """Begin to carry the last one to the hub's cloud."""
        return await self._begin(self.upload)

    async def _begin(self, what: Callable[[], Coroutine[Any, Any, object]]) -> Json:
        if not self.is_running:
            self._stage = ("beginning", 0, 0)
            self._task = asyncio.create_task(what(), name="backup")
            self._task.add_done_callback(_heard)
        return await self.state({})

    async def state(self, _arguments: Json) -> Json:
        """How far it is, and how the last one ended."""
        stage, done, total = self._stage
        shown = await self.is_key_shown()
        found: Json = {
            "is_key_shown": shown,
            "running": self.is_running,
            "stage": stage,
            "done": done,
            "total": total,
            "error": None,
        }
        if self._task is not None and self._task.done() and not self._task.cancelled():
            error = self._task.exception()
            if isinstance(error, MedxzError):
                away = isinstance(error, CloudRequired)
                found["error"] = {"message": str(error), "hint": error.hint, "needs_cloud": away}
            elif error is not None:
                found["error"] = {"message": "the backup failed", "hint": "the hub's log says why"}
        return {**found, **self.note.model_dump()}

    async def make(self) -> Made:
        """One, to its end."""
        storage = self._storage
        begun_s = storage.clock.monotonic()
        try:
            made = await self._worker.run(
                make_backup, await self._source(), storage.clock.now_ms(), self._went_on
            )
        except (MedxzError, OSError) as error:
            await self._trouble(error)
            if isinstance(error, StoreDamaged) or getattr(error, "code", "") == "damaged":
                await PageWatch(storage).look()  # the disk forgot the copy, or what was copied
            raise
        took_s = round(storage.clock.monotonic() - begun_s, 1)
        await self._note(
            made_at=made.at,
            bytes=made.bytes,
            ops=made.ops,
            took_s=took_s,
            lies_in=str(made.path),
            key_shown=await self.is_key_shown(),
            trouble=None,
        )
        if self._say is not None:
            self._say.info(
                "backup made", ops=made.ops, bytes=made.bytes, took_s=took_s, let_go=len(made.gone)
            )
        return made

    async def upload(self) -> None:
        """Carry the last one to the cloud."""
        if self._cloud is None or self.note.lies_in is None or self.note.made_at is None:
            raise CommandFailed("this hub has no cloud to carry a backup to", "give --to FOLDER", "no_cloud")
        made_at = self.note.made_at
        try:
            await upload(Path(self.note.lies_in), self._cloud, self._told_of)
        except CloudRequired:
            await self._note(owed=True)
            raise
        except (MedxzError, OSError) as error:  # what stays so is for people
            await self._trouble(error, owed=False)
            raise
        await self._note(carried_at=made_at, carried_to=CLOUD, owed=False, trouble=None)

    async def go_on(self) -> None:
        """Try again to carry the last one up, where the cloud could not be reached for it: now and then, once it can be."""
        now_s = self._storage.clock.monotonic()
        waited = self._tried_s is None or now_s - self._tried_s >= AGAIN_S
        if self.note.owed and waited and not self.is_running and self._is_online():
            self._tried_s = now_s
            await self._begin(self.upload)

    def _told_of(self, stage: str, done: int, total: int) -> None:
        self._stage = (stage, done, total)
        if self._stopping.is_set():
            raise Stopped

    async def carried(self, arguments: Json) -> Json:
        """Note that a backup lies elsewhere now."""
        given = Carried.read(arguments)
        await self._note(carried_at=given.at, carried_to=given.to, trouble=None)
        return {}

    async def failed(self, arguments: Json) -> Json:
        """Note that one could not be carried."""
        given = Failed.read(arguments)
        await self._note(trouble=Trouble(at=self._now(), message=given.message, hint=given.hint))
        return {}

    async def recovery_key(self, _arguments: Json) -> Json:
        """The key, which whoever may ask here can read out of the store anyway."""
        text = await self._recovery_key()
        await self._storage.registry.put_secret(recovery_key.SHOWN, b"1")
        await self._note(key_shown=True)
        return {"recovery_key": recovery_key.printed(text), "name": recovery_key.name_of(text)}

    async def is_key_shown(self) -> bool:
        """Whether anybody can have written it down."""
        return await self._storage.registry.get_secret(recovery_key.SHOWN) is not None

    async def close(self) -> None:
        """What is being made is given up."""
        self._stopping.set()
        if self._task is not None:
            await asyncio.wait([self._task])
        self._worker.close()

    async def _source(self) -> Source:
        storage = self._storage
        return Source(
            storage.places,
            storage.key,
            await self._recovery_key(),
            storage.log.server_id,
            storage.log.clinic_id,
            self._version,
        )

    async def _recovery_key(self) -> str:
        registry = self._storage.registry
        held = await registry.get_secret(recovery_key.SECRET)
        if held is None:
            held = recovery_key.make_recovery_key().encode()
            await registry.put_secret(recovery_key.SECRET, held)
        return held.decode()

    def _went_on(self, stage: str, done: int, total: int) -> None:
        """Called in the worker's thread."""
        self._told_of(stage, done, total)
        self._stopping.wait(PAUSE_S)

    async def _trouble(self, error: MedxzError | OSError, **changes: bool) -> None:
        hint = error.hint if isinstance(error, MedxzError) else "look at that disk"
        if self._say is not None:
            self._say.error("backup failed", **told(error))
        await self._note(trouble=Trouble(at=self._now(), message=str(error), hint=hint), **changes)

    async def _note(self, **changes: Any) -> None:
        self.note = self.note.model_copy(update=changes)
        with suppress(OSError):  # a full disk: it is known in memory
            await asyncio.to_thread(write_note_file, self._storage.places.backup_note, self.note)

    def _now(self) -> str:
        return format_time(self._storage.clock.now_ms())


def _heard(task: asyncio.Task[object]) -> None:
    """Its error is told by `state`: nobody else awaits it."""
    if not task.cancelled():
        task.exception()
