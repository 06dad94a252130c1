"""What `medxz-hub export` and `import` ask of a hub: files made in its own directory, or taken in from there.

The command carries them between that directory and the medium: a hub need not see what is plugged in, nor own it. One
thing is done at a time, in the background; who asked looks how far it is.
"""

from __future__ import annotations

import asyncio
import hashlib
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hub.arguments import Arguments
from hub.ask import Json
from hub.claimed import Claimed
from hub.courier.packing import Packing, pack
from hub.courier.round import Noting, Taken, Taking, take
from hub.courier.standing import Trip, note_trip, read_note
from hub.storage import Storage
from medxz import limits
from medxz.clock import format_time
from medxz.errors import CourierRefused, MedxzError
from medxz.ids import Ids
from medxz.program.errors import CommandFailed
from medxz.service.audit import Audit
from medxz.store.durable import make_directory
from medxz.work import ThreadWorker

COMMANDS: Final = ("courier_export", "courier_import", "courier_state")
_MADE: Final = "made.json"
_MIB: Final = limits.MIB


class ExportRequest(Arguments):
    """`slice_mb`: how large a file becomes."""

    slice_mb: Annotated[int, Field(ge=1, le=4_000)] | None = None


class ImportRequest(Arguments):
    """`name`: of a file that lies in the hub's own directory by now."""

    name: Annotated[str, Field(pattern=r"^[\w.-]+$", max_length=200)]


class _Made(BaseModel):
    """What lies ready, and of which state of the hub it was made."""

    model_config = ConfigDict(frozen=True)

    state: str
    told: dict[str, Any]


@asynccontextmanager
async def _nothing_runs() -> AsyncIterator[None]:
    yield


async def _nobody_shows_it() -> None:
    return


@dataclass(frozen=True, slots=True)
class Hub:
    """The hub as its courier needs it, running or not.

    `claim` is the one of now and `bring` takes another; `aside` holds the uplink meanwhile; `show` has a new certificate
    shown; `caught_up` is called when the cloud was read.
    """

    storage: Storage
    claim: Callable[[], Claimed]
    notes: Audit
    noting: Noting
    ids: Ids
    named: Callable[[], tuple[list[str], list[str]]]
    url: str | None = None
    aside: Callable[[], Any] = _nothing_runs
    bring: Callable[[Claimed], None] = lambda _: None
    show: Callable[[], Awaitable[object]] = _nobody_shows_it
    caught_up: Callable[[], None] = lambda: None


@dataclass(slots=True)
class _Work:
    """What is done now, or was done last."""

    task: asyncio.Task[Json] | None = None
    done: int = 0
    total: int = 0


@dataclass(slots=True)
class CourierDesk:
    """One hub's."""

    hub: Hub
    _work: _Work = field(default_factory=_Work)

    def table(self) -> dict[str, Callable[[Json], Awaitable[Json]]]:
        return dict(zip(COMMANDS, (self.export, self.take, self.state), strict=True))

    async def state(self, _arguments: Json) -> Json:
        """How far it is, and what came of it; where it failed, why."""
        work, claim = self._work, self.hub.claim()
        await asyncio.to_thread(make_directory, self.incoming)  # for who is about to put something there
        told: Json = {"hub_id": claim.hub_id, "busy": False, "done": work.done, "total": work.total}
        if work.task is None or not work.task.done():
            return told | {"busy": work.task is not None, "answer": None}
        return told | {"answer": await work.task}

    async def export(self, arguments: Json) -> Json:
        """Begin to make files for the cloud."""
        asked = ExportRequest.read(arguments)
        size = limits.COURIER_SLICE_BYTES if asked.slice_mb is None else asked.slice_mb * _MIB
        return self._begin(self._export(size))

    async def take(self, arguments: Json) -> Json:
        """Begin to take in a file of the cloud."""
        asked = ImportRequest.read(arguments)
        return self._begin(self._take(self.incoming / asked.name))

    async def close(self) -> None:
        if self._work.task is not None:
            self._work.task.cancel()
            await asyncio.wait([self._work.task])

    @property
    def outgoing(self) -> Path:
        return self._folder / "out"

    @property
    def incoming(self) -> Path:
        return self._folder / "in"

    @property
    def _folder(self) -> Path:
        return self.hub.storage.places.courier

    async def _done(self, doing: Coroutine[Any, Any, Json]) -> Json:
        try:
            return await doing
        except OSError as error:
            raise CommandFailed(
                f"{self.hub.storage.places.courier}: {error.strerror}", "make room on the hub's disk"
            ) from None

    def _begin(self, doing: Coroutine[Any, Any, Json]) -> Json:
        if self._work.task is not None and not self._work.task.done():
            doing.close()
            raise CommandFailed("a courier is being served already", "wait until that is done", "busy")
        self._work = _Work(asyncio.create_task(self._done(doing), name="courier"))
        return {"begun": True, "in": str(self.incoming), "out": str(self.outgoing)}

    def _progress(self, done: int, total: int) -> None:
        self._work.done, self._work.total = done, total

    # ------------------------------------------------------------------------------------- up

    async def _export(self, slice_bytes: int) -> Json:
        worker = ThreadWorker("courier")
        try:
            async with self.hub.aside():  # what the uplink knows by then is written down
                pass
            state = await self._fingerprint(slice_bytes)
            made = await worker.run(self._ready)
            if made is not None and made.state == state:
                return made.told  # what was carried away in part goes on
            await worker.run(self._clear)
            claim, hub = self.hub.claim(), self.hub
            packing = Packing(hub.storage, claim, hub.ids, worker, hub.named(), hub.url)
            packed = await pack(packing, self.outgoing, slice_bytes, self._progress)
            size = sum(path.stat().st_size for path in packed.files)
            told = {
                "files": [path.name for path in packed.files],
                "bytes": size,
                "ops": packed.ops,
                "dead_letters": packed.letters,
            }
            await worker.run(self._keep, _Made(state=state, told=told))
            detail = {**told, "files": len(packed.files)}
            await hub.notes.note(claim.clinic_id, "courier_exported", hub_id=claim.hub_id, detail=detail)
            trip = Trip(at=self._now(), ops=packed.ops, bytes=size)
            await worker.run(partial(note_trip, self._folder, exported=trip))
            return told
        finally:
            worker.close()

    async def _fingerprint(self, slice_bytes: int) -> str:
        """Of all that files are made of: where it is the same, they would say the same."""
        log, registry = self.hub.storage.log, self.hub.storage.registry
        letters = await log.dead_letters(0, limits.PUSH_OPS_MAX)
        parts = (
            log.epoch, log.last_seq, await registry.exchange(), sorted(registry.directory.cloud_marks.items()),
            len(letters), self.hub.claim().certificate, slice_bytes,
        )  # fmt: skip
        return hashlib.sha256(repr(parts).encode()).hexdigest()

    def _ready(self) -> _Made | None:
        try:
            made = _Made.model_validate_json((self.outgoing / _MADE).read_bytes())
        except (OSError, ValidationError):
            return None
        return made if all((self.outgoing / name).is_file() for name in made.told["files"]) else None

    def _clear(self) -> None:
        shutil.rmtree(self.outgoing, ignore_errors=True)
        make_directory(self.outgoing)

    def _keep(self, made: _Made) -> None:
        (self.outgoing / _MADE).write_text(made.model_dump_json(), "utf-8")

    # ------------------------------------------------------------------------------------- down

    async def _take(self, path: Path) -> Json:
        worker, hub = ThreadWorker("courier"), self.hub
        before = hub.claim()
        try:
            async with hub.aside():
                taken = await take(Taking(hub.storage, before, worker, hub.noting), path)
        except CourierRefused as refused:
            return {"refused": str(refused), "hint": refused.hint}
        finally:
            worker.close()
            _remove(path)
        if taken.claim is not before:
            hub.bring(taken.claim)
            with suppress(MedxzError):  # it is kept; the next look shows it
                await hub.show()
        if taken.is_read:
            hub.caught_up()
        report = taken.report
        told = {
            "made_at": taken.made_at,
            "ops": report.pulled,
            "answered": report.settled,
            "rejected": report.rejected,
            "renewed": taken.claim is not before,
        }
        await hub.notes.note(before.clinic_id, "courier_imported", hub_id=before.hub_id, detail=told)
        await asyncio.to_thread(self._note_taken, taken)
        return {"refused": None, **told}

    def _note_taken(self, taken: Taken) -> None:
        """Files of one set count together."""
        held = read_note(self._folder).imported
        same = held if held is not None and held.made_at == taken.made_at else None
        ops, answered = taken.report.pulled, taken.report.settled
        trip = Trip(
            at=self._now(),
            made_at=taken.made_at,
            ops=ops + (same.ops if same is not None else 0),
            answered=answered + (same.answered if same is not None else 0),
        )
        note_trip(self._folder, imported=trip)

    def _now(self) -> str:
        return format_time(self.hub.storage.clock.now_ms())


def _remove(path: Path) -> None:
    with suppress(OSError):
        path.unlink()
