"""A new device: from a snapshot until it can be asked, against pulling the whole log, over real HTTP and onto the disk."""

from __future__ import annotations

import shutil
import ssl
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.context import Context
from bench.figure import Bound, Figure, Series, ratio
from bench.stage import Subject
from medxz.device.device import Device, Machine
from medxz.errors import PeerRefused
from medxz.peer import Ear, Peer, TokenSource
from medxz.replicate import SnapshotPart

KEY: Final = bytes(32)
SAMPLES_MAX: Final = 5


class WithoutSnapshots(Peer):
    """The hub as one sees it that has none: the whole log is read."""

    async def snapshot(self) -> AsyncGenerator[SnapshotPart, None]:
        yield self._refused()

    def _refused(self) -> SnapshotPart:
        raise PeerRefused(404, "not_found", "not here")


def _whole_log(
    url: str, *, token: TokenSource, ssl_context: ssl.SSLContext | None, ear: Ear | None = None
) -> WithoutSnapshots:
    return WithoutSnapshots(url, token=token, ssl_context=ssl_context, ear=ear)


@dataclass(frozen=True, slots=True)
class Started:
    """A device's first sync: how long it took, what of that this process worked, how much came."""

    seconds: float
    cpu_s: float
    entities: int
    ops: int


def starts(context: Context) -> list[Figure]:
    """In turns: a device that begins with the snapshot, and one that reads every op."""
    short: list[Started] = []
    whole: list[Started] = []
    with context.state.copied() as subject:
        _start(context, subject, Machine())  # the hub has read its file once
        for _ in context.samples("a new device", min(SAMPLES_MAX, context.sizes.pairs)):
            short.append(_start(context, subject, Machine()))
            whole.append(_start(context, subject, Machine(connect=_whole_log)))
    ops = f"{context.state.ops // 1_000} k ops"
    seconds = Series("from the snapshot", "s", [one.seconds for one in short])
    parts = (
        Series("of which the device's own work", "s", [one.cpu_s for one in short]),
        Series("entities", "", [one.entities for one in short]),
    )
    return [
        Figure("snapshot", f"a new device from a snapshot of {ops}", "absolute", Bound("at most", 5), "s",
               seconds.values, parts),
        ratio(
            "snapshot.whole", f"a new device from a snapshot of {ops}", "the same from the whole log",
            Bound("at most", 0.5), seconds, Series("from the whole log", "s", [one.seconds for one in whole]),
        ),
    ]  # fmt: skip


def _start(context: Context, subject: Subject, machine: Machine) -> Started:
    folder = context.file("new-device")
    try:
        return context.loop.run(_first_sync(subject, folder, machine))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def _first_sync(subject: Subject, folder: Path, machine: Machine) -> Started:
    url = f"http://127.0.0.1:{subject.hub.port}"
    async with Device.create(folder, key=KEY, server=url, token=subject.tokens[0], machine=machine) as device:
        begun, worked = time.perf_counter(), time.process_time()
        done = (await device.sync()).done
        return Started(time.perf_counter() - begun, time.process_time() - worked, done.entities, done.pulled)
