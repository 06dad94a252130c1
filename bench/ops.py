"""Operations to train and to measure with: the envelope, the devices that write, and the way of their numbers.

What stands in a payload is the business of a family: `bench/training_ops.py` is one, `bench/measured_ops.py` the
other. Two runs of one seed give the same bytes. Op ids are UUIDv7 of a clock that only this file moves, so that
ops of many devices come nearly in the order of their ids, as they do in a clinic.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import msgspec
import orjson

from medxz.clock import format_time
from medxz.ids import SeededIds
from medxz.op import Operation

MONDAY_MS: Final = 1_794_816_000_000  # 2026-11-16T08:00:00.000Z
HOUR_MS: Final = 3_600_000
RECENT_MAX: Final = 256

Payload = dict[str, Any]


@dataclass(slots=True)
class Known:
    """An entity that may be changed again, and its newest op."""

    entity_type: str
    entity_id: str
    head: str | None = None


@dataclass(frozen=True, slots=True)
class Draft:
    """What a family wants written: to which entity, and how."""

    entity: Known
    op_type: str
    payload: Payload


class SteppedClock:
    """A clock that stands still until it is moved."""

    def __init__(self, now_ms: int) -> None:
        self._now_ms = now_ms

    def now_ms(self) -> int:
        return self._now_ms

    def monotonic(self) -> float:
        return self._now_ms / 1_000

    async def sleep(self, seconds: float) -> None:
        self.move(round(seconds * 1_000))

    def move(self, milliseconds: int) -> None:
        self._now_ms += milliseconds


class PastIds:
    """UUIDv7s of what was made in the two years before: patients, devices and users are older than today's ops."""

    def __init__(self, now_ms: int, seed: int) -> None:
        self._rng = random.Random(seed)
        self._clock = SteppedClock(now_ms - 2 * 365 * 24 * HOUR_MS)
        self._ids = SeededIds(self._clock, seed)

    def uuid7(self) -> str:
        self._clock.move(self._rng.randrange(HOUR_MS // 20, 24 * HOUR_MS))
        return self._ids.uuid7()


@dataclass(slots=True)
class Scene:
    """What a family writes with: its randomness, new ids, the time, and the entities that it may change again."""

    rng: random.Random
    ids: SeededIds
    past: PastIds
    clock: SteppedClock
    _recent: dict[str, deque[Known]] = field(default_factory=dict)

    def now(self) -> str:
        return format_time(self.clock.now_ms())

    def day(self, days: int = 0) -> str:
        return format_time(self.clock.now_ms() + days * 24 * HOUR_MS)[:10]

    def moment(self, minutes: int) -> str:
        return format_time(self.clock.now_ms() + minutes * 60_000)

    def create(self, entity_type: str, payload: Payload, *, changeable: bool = False) -> Draft:
        entity = Known(entity_type, self.ids.uuid7())
        if changeable:
            self._recent.setdefault(entity_type, deque(maxlen=RECENT_MAX)).append(entity)
        return Draft(entity, "create", payload)

    def change(self, entity_type: str, op_type: str, payload: Payload) -> Draft | None:
        """A change of an entity that was written lately; None where there is none yet."""
        recent = self._recent.get(entity_type)
        return Draft(self.rng.choice(recent), op_type, payload) if recent else None


class Family(Protocol):
    """One author's way of writing: vocabularies, templates, order of keys."""

    def draft(self) -> Draft: ...


class Fleet:
    """The devices of one clinic, and all that they write, in one order of time."""

    def __init__(
        self,
        family: Callable[[Scene], Family],
        *,
        seed: int,
        devices: int = 1,
        clinic_id: str | None = None,
        start_ms: int = MONDAY_MS,
        first_number: int = 1,
    ) -> None:
        past = PastIds(start_ms, seed)
        self._rng = random.Random(seed)
        self._clock = SteppedClock(start_ms)
        self._ids = SeededIds(self._clock, seed)
        own_clinic_id = past.uuid7()
        self.clinic_id = clinic_id or own_clinic_id
        self.device_ids: Sequence[str] = [past.uuid7() for _ in range(devices)]
        self.user_ids: Sequence[str] = [past.uuid7() for _ in range(devices)]
        self.numbers = [first_number - 1] * devices
        self._scene = Scene(self._rng, self._ids, past, self._clock)
        self._family = family(self._scene)

    def turn(self, family: Callable[[Scene], Family]) -> None:
        """From here on the same devices write in another way."""
        self._family = family(self._scene)

    def take(self, device: int, count: int) -> list[Operation]:
        """The next ops of one device, its numbers without gaps."""
        return [self._next(device) for _ in range(count)]

    def _next(self, device: int) -> Operation:
        self._clock.move(self._rng.randrange(5, 60))
        draft = self._family.draft()
        self.numbers[device] += 1
        entity = draft.entity
        op = Operation(
            op_id=self._ids.uuid7(),
            clinic_id=self.clinic_id,
            device_id=self.device_ids[device],
            user_id=self.user_ids[device],
            entity_type=entity.entity_type,
            entity_id=entity.entity_id,
            op_type=draft.op_type,
            parents=() if entity.head is None else (entity.head,),
            device_time=format_time(self._clock.now_ms()),
            device_seq=self.numbers[device],
            schema_version=1,
            payload=msgspec.Raw(orjson.dumps(draft.payload)),
        )
        entity.head = op.op_id
        return op


def push_body(ops: Sequence[Operation]) -> bytes:
    """The body of a push of these ops."""
    return b'{"ops":[' + b",".join(op.json() for op in ops) + b"]}"
