"""Lawful things for tests: ids, ops, batches, a clock that a test moves."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import msgspec

from medxz.ids import SeededIds, uuid_text
from medxz.op import Operation
from medxz.store.base import Append

NOON_MS = 1_790_000_000_000


class HandClock:
    """A clock that stands still until a test moves it."""

    def __init__(self, now_ms: int = NOON_MS) -> None:
        self.time_ms = now_ms

    def now_ms(self) -> int:
        return self.time_ms

    def monotonic(self) -> float:
        return self.time_ms / 1_000

    async def sleep(self, seconds: float) -> None:
        self.time_ms += int(seconds * 1_000)
        await asyncio.sleep(0)


def fixed_id(number: int) -> str:
    """The same UUID for the same number."""
    return uuid_text(number.to_bytes(16, "big"))


CLINIC = fixed_id(0xC1)
DEVICE = fixed_id(0xD1)
OTHER_DEVICE = fixed_id(0xD2)
USER = fixed_id(0xE1)
_IDS = SeededIds(HandClock(), seed=7)


def make_op(
    device_seq: int, *, device_id: str = DEVICE, payload: str | None = None, **changes: Any
) -> Operation:
    """An observation of a device; `changes` are fields of the envelope."""
    fields: dict[str, Any] = {
        "op_id": _IDS.uuid7(),
        "clinic_id": CLINIC,
        "device_id": device_id,
        "user_id": USER,
        "entity_type": "Observation",
        "entity_id": _IDS.uuid7(),
        "op_type": "create",
        "parents": (),
        "device_time": "2026-11-21T10:00:00.000Z",
        "device_seq": device_seq,
        "schema_version": 1,
        "payload": msgspec.Raw((payload or f'{{"status":"final","value":{device_seq}}}').encode()),
    } | changes
    return Operation(**fields)


def as_json(op: Operation) -> dict[str, Any]:
    """An op as a client would build it."""
    return dict(json.loads(op.json()))


def batch(*ops: Operation, **changes: Any) -> Append:
    return Append(ops, [op.json()[1:] for op in ops], **changes)


def run_of(first: int, last: int, device_id: str = DEVICE, **changes: Any) -> list[Operation]:
    return [make_op(number, device_id=device_id, **changes) for number in range(first, last + 1)]
