"""Where a run takes place: logs of a known length on the real disk, and a hub that serves one of them.

A log is filled by devices that do nothing else. Those that measure are others, the same on every copy of a log, so
that their tokens are made once; what they write begins a week after the filling.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import orjson
import uvloop

from bench import load
from bench.measured_ops import MeasuredFamily
from bench.ops import HOUR_MS, MONDAY_MS, Fleet, push_body
from bench.programs import HubProcess, copy_hub, make_hub, make_tokens, remove_hub

FILLERS: Final = 4
MEASURERS: Final = 32
FILL_BATCH_OPS: Final = 1_000
FILL_SEED, MEASURE_SEED = 11, 12
STORED: Final = (b'"accepted"', b'"conflict"')  # the other's op that one follows may be under way still

T = TypeVar("T")
Progress = Callable[[int], None]


class Loop:
    """The event loop of the load client: one for the whole run."""

    def __init__(self) -> None:
        self._runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(work)

    def close(self) -> None:
        self._runner.close()


@dataclass(slots=True)
class Fill:
    """A script that makes its bodies as it goes: the hub works on one while the next is being written."""

    fleet: Fleet
    device: int
    token: str
    batches: int
    progress: Progress
    sent: int = 0
    json_bytes: int = 0

    def first(self) -> bytes:
        self.sent += 1
        body = push_body(self.fleet.take(self.device, FILL_BATCH_OPS))
        self.json_bytes += len(body) - len(push_body([])) - (FILL_BATCH_OPS - 1)
        return load.post("/v1/sync/push", self.token, body)

    def then(self, body: bytes) -> bytes | None:
        if sum(map(body.count, STORED)) != FILL_BATCH_OPS:
            raise load.Unexpected(f"not all of a push was stored: {body[:600]!r}")
        self.progress(FILL_BATCH_OPS)
        return self.first() if self.sent < self.batches else None


@dataclass(slots=True)
class Subject:
    """A hub that runs, and the devices that measure it."""

    hub: HubProcess
    fleet: Fleet
    tokens: list[str]
    prepared: Prepared

    def pushes(self, devices: int, requests: int, ops_each: int) -> list[list[bytes]]:
        """Requests with new ops for each of so many devices, which write at the same time, in turns."""
        ready: list[list[bytes]] = [[] for _ in range(devices)]
        for _ in range(requests):
            for device, own in enumerate(ready):
                body = push_body(self.fleet.take(device, ops_each))
                own.append(load.post("/v1/sync/push", self.tokens[device], body))
        return ready

    async def cursor_behind(self, share: float) -> bytes | None:
        """The cursor behind this share of what the log was filled with; with 1, behind all that is there now."""
        if share == 0:
            return None
        have = {device: int(count * share) for device, count in self.prepared.filled.items()}
        if share == 1:
            have |= dict(zip(self.fleet.device_ids, self.fleet.numbers, strict=True))
        asked = load.Sends(
            [load.post("/v1/sync/resume", self.tokens[0], orjson.dumps({"have": have}))],
        )
        await load.run(self.hub.port, [asked])
        return bytes(orjson.loads(asked.answers[0])["cursor"], "ascii")


@dataclass(slots=True)
class Prepared:
    """A hub's directory with so many ops in its log, and the tokens of the devices that measure."""

    data: Path
    clinic_id: str
    tokens: list[str]
    filled: dict[str, int]
    json_bytes: int
    _fleet: Fleet | None = None

    @property
    def ops(self) -> int:
        return sum(self.filled.values())

    @contextmanager
    def copied(self, *, wrapper: Sequence[str] = ()) -> Iterator[Subject]:
        """A hub on a copy of it, which is thrown away."""
        data = self.data.with_name(f"{self.data.name}-copy")
        copy_hub(self.data, data)
        fleet = deepcopy(self._fleet) or _measuring_fleet(self.clinic_id)
        try:
            with HubProcess(data, wrapper=wrapper) as hub:
                yield Subject(hub, fleet, self.tokens, self)
        finally:
            remove_hub(data)

    @contextmanager
    def itself(self, *, wrapper: Sequence[str] = ()) -> Iterator[Subject]:
        """A hub on the directory: its log grows from use to use."""
        if self._fleet is None:
            self._fleet = _measuring_fleet(self.clinic_id)
        with HubProcess(self.data, wrapper=wrapper) as hub:
            yield Subject(hub, self._fleet, self.tokens, self)


def prepare(loop: Loop, data: Path, ops: int, progress: Progress) -> Prepared:
    """Make a hub, fill its log by pushes of 1,000, and stop it well."""
    remove_hub(data)
    fleet = Fleet(MeasuredFamily, seed=FILL_SEED, devices=FILLERS)
    measurers = _measuring_fleet(fleet.clinic_id)
    make_hub(data, fleet.clinic_id)
    batches = ops // FILLERS // FILL_BATCH_OPS
    with HubProcess(data) as hub:
        tokens = make_tokens(
            hub, [*fleet.device_ids, *measurers.device_ids], [*fleet.user_ids, *measurers.user_ids]
        )
        fills = [Fill(fleet, device, tokens[device], batches, progress) for device in range(FILLERS)]
        loop.run(load.run(hub.port, fills))
    return Prepared(
        data,
        fleet.clinic_id,
        tokens[FILLERS:],
        dict(zip(fleet.device_ids, fleet.numbers, strict=True)),
        sum(fill.json_bytes for fill in fills),
    )


def _measuring_fleet(clinic_id: str) -> Fleet:
    return Fleet(
        MeasuredFamily,
        seed=MEASURE_SEED,
        devices=MEASURERS,
        clinic_id=clinic_id,
        start_ms=MONDAY_MS + 7 * 24 * HOUR_MS,
    )
