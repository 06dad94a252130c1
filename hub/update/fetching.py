"""A bundle on its way from the cloud, by the running hub: it alone has the token, and it alone writes here.

One bundle at a time, in a folder of its own; broken off, it goes on where it was, also after a restart. What clinics
record goes first: while ops wait to go up, the download waits. Refused: what is longer than there is room for with
some to spare, and, at its end, what is not what the cloud said.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, Protocol

from medxz import limits
from medxz.clock import Clock
from medxz.errors import CloudRequired, MedxzError, PeerRefused, PeerUnreachable
from medxz.program.errors import CommandFailed
from medxz.store.durable import make_directory, sync
from medxz.wire import UpdateAnswer
from medxz.work import Worker

SPARE_BYTES: Final = 2 * limits.DISK_FREE_BYTES_MIN
BEGUN_AGAIN_MAX: Final = 5
PAUSE_S: Final = 2.0
BEHIND_S: Final = 1.0
BEHIND_TIMES_MAX: Final = 600
_PIECE_BYTES: Final = limits.MIB


class Cloud(Protocol):
    """Who has the releases."""

    async def wanted_release(self, compatible: str, version: str | None) -> UpdateAnswer | None: ...
    def release_from(self, sha256: str, start: int) -> AsyncGenerator[bytes, None]: ...


@dataclass(frozen=True, slots=True)
class Fetched:
    """How far it is. `why`: what it failed for."""

    state: Literal["fetching", "done", "failed"]
    done: int
    size: int
    file: Path
    why: str | None = None
    needs_cloud: bool = False


class Fetching:
    """One hub's. `backlog` is how many ops wait to go up."""

    def __init__(
        self, folder: Path, cloud: Cloud, clock: Clock, worker: Worker, backlog: Callable[[], int]
    ) -> None:
        self._folder: Final = folder
        self._cloud: Final = cloud
        self._clock: Final = clock
        self._worker: Final = worker
        self._backlog: Final = backlog
        self._running: asyncio.Task[None] | None = None
        self._release: UpdateAnswer | None = None
        self._failed: MedxzError | None = None

    async def wanted(self, compatible: str, version: str | None) -> UpdateAnswer | None:
        """What the cloud wants this hub to run; CloudRequired where it can't be asked."""
        try:
            return await self._cloud.wanted_release(compatible, version)
        except PeerUnreachable as error:
            raise CloudRequired(f"the cloud can't be asked for updates: {error}") from None
        except PeerRefused as refused:
            if refused.status >= 500 or refused.status == 429:
                raise CloudRequired(f"the cloud does not answer now: {refused.message}") from None
            raise CommandFailed(
                f"the cloud refuses to say: {refused.message}", "is the cloud of this version?"
            ) from None

    async def fetch(self, release: UpdateAnswer) -> Fetched:
        """Begin, or go on, or tell how far it is; that it has failed is told once, and then it is begun again.

        What was fetched before and is another one makes room; what was fetched and taken since is fetched once more.
        """
        if self._running is not None and self._release == release:
            told, is_over = self._told(), self._running.done()
            if told.state == "failed":
                self._running = None
            if told.state != "fetching" or not is_over:
                return told
        await self.close()
        self._release, self._failed = release, None
        if self._file(release).is_file():
            return self._told()
        self._make_room(release)
        self._running = asyncio.create_task(self._fetch(release), name="update")
        return self._told()

    async def close(self) -> None:
        """Let it be; what was fetched stays."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait([self._running])
            self._running = None

    def _told(self) -> Fetched:
        release = self._release
        assert release is not None
        file, part = self._file(release), self._part(release)
        if file.is_file():
            return Fetched("done", release.size, release.size, file)
        done = part.stat().st_size if part.is_file() else 0
        if self._failed is not None:
            needs_cloud = isinstance(self._failed, PeerUnreachable)
            return Fetched("failed", done, release.size, file, str(self._failed), needs_cloud)
        return Fetched("fetching", done, release.size, file)

    def _make_room(self, release: UpdateAnswer) -> None:
        part = self._part(release)
        if release.size > limits.RELEASE_BYTES_MAX:
            raise CommandFailed(
                f"the cloud offers {release.size} bytes, which is no bundle", "tell its operator"
            )
        make_directory(self._folder)
        for file in self._folder.iterdir():
            if file != part and file.is_file():
                file.unlink()
        missing = release.size - (part.stat().st_size if part.is_file() else 0)
        free = shutil.disk_usage(self._folder).free
        if free < missing + SPARE_BYTES:
            raise CommandFailed(
                f"the update needs {missing >> 20} MiB more and some to spare, and {free >> 20} MiB are free",
                "free some space on the hub; it goes on by itself then",
            )

    async def _fetch(self, release: UpdateAnswer) -> None:
        """The task: to its end, or to what it fails for."""
        try:
            await self._all_of(release)
            await self._worker.run(self._prove, release)
        except MedxzError as error:
            self._failed = error
        except OSError as error:
            self._failed = CommandFailed(
                f"{self._folder} can't be written: {error.strerror}", "see the hub's disk"
            )

    async def _all_of(self, release: UpdateAnswer) -> None:
        part, in_vain = self._part(release), 0
        while (have := part.stat().st_size if part.is_file() else 0) < release.size:
            try:
                await self._from(release, have)
            except (PeerUnreachable, PeerRefused) as error:
                is_final = isinstance(error, PeerRefused) and error.status in {403, 404}
                in_vain = 0 if part.is_file() and part.stat().st_size > have else in_vain + 1
                if is_final or in_vain >= BEGUN_AGAIN_MAX:
                    raise
                await self._clock.sleep(PAUSE_S * 2**in_vain)
        if have > release.size:
            part.unlink()
            raise PeerUnreachable("the cloud sent more than it said")

    async def _from(self, release: UpdateAnswer, start: int) -> None:
        with self._part(release).open("ab") as opened:
            try:
                async with aclosing(self._cloud.release_from(release.sha256, start)) as pieces:
                    async for piece in pieces:
                        start += len(piece)
                        if start > release.size:
                            raise PeerUnreachable("the cloud sends more than it said")
                        await self._worker.run(opened.write, piece)
                        await self._let_ops_go_first()
            finally:
                opened.flush()
                os.fsync(opened.fileno())

    async def _let_ops_go_first(self) -> None:
        for _ in range(BEHIND_TIMES_MAX):
            if not self._backlog():
                return
            await self._clock.sleep(BEHIND_S)

    def _prove(self, release: UpdateAnswer) -> None:
        part, digest = self._part(release), hashlib.sha256()
        with part.open("rb") as opened:
            while piece := opened.read(_PIECE_BYTES):
                digest.update(piece)
        if digest.hexdigest() != release.sha256:
            with suppress(OSError):
                part.unlink()
            raise CommandFailed("what came is not what the cloud said", "it is fetched anew the next time")
        part.rename(self._file(release))
        sync(self._folder)

    def _part(self, release: UpdateAnswer) -> Path:
        return self._folder / f"{release.sha256}.part"

    def _file(self, release: UpdateAnswer) -> Path:
        return self._folder / f"{release.sha256}.raucb"
