"""Patients to search among: as many different names as a town has, many of them shared, all with dates and numbers."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import count, islice
from typing import Final

import orjson

from bench.measured_ops import FIRST_NAMES, LAST_NAMES
from bench.ops import MONDAY_MS, Draft, Known, Payload, Scene
from medxz.ids import uuid_text
from medxz.merge.entity import Entity
from medxz.merge.view import View

_SYLLABLES: Final = (
    "ba", "mar", "li", "ko", "sen", "ra", "to", "mi", "el", "an", "gu", "ber", "ta", "no", "wa", "shi", "lu", "pe",
    "dor", "ka", "çe", "jo", "än",
)  # fmt: skip
_CLINIC: Final = uuid_text(bytes(16))
_REGISTERED_EVERY_MS: Final = 600_000

# What a clerk types: a letter, a beginning, a whole name, two of them, a birth date, numbers; and what fits nobody.
QUESTIONS: Final = (
    "a", "ma", "mar", "bautista", "baut", "maria b", "k b", "a a a", "peñaflor", "penaf", "1984-05-17", "17.05.1984",
    "maria 1984", "MRN-001234", "mrn", "mrn-0", "mrn-0012", "0917 123 4567", "1234567", "zzz", "bautista zzz",
)  # fmt: skip


class PeopleFamily:
    """Patients who are registered one after the other, each by one op."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._states = _states(scene.rng)

    def draft(self) -> Draft:
        return Draft(Known("Patient", self._scene.past.uuid7()), "create", next(self._states))


def people(number_of: int, seed: int) -> Iterator[View]:
    """Patients as they are after one op each, in the order in which they were registered."""
    rng = random.Random(seed)
    for number, state in enumerate(islice(_states(rng), number_of)):
        registered_ms = MONDAY_MS - (number_of - number) * _REGISTERED_EVERY_MS
        yield View(
            entity=Entity(
                _CLINIC, "Patient", uuid_text(registered_ms.to_bytes(6, "big") + rng.randbytes(10))
            ),
            state={name: orjson.dumps(value) for name, value in state.items()},
            retracted=None,
            heads=(),
            missing_parents=(),
            conflicts=(),
            version=1,
        )


def _states(rng: random.Random) -> Iterator[Payload]:
    families = [*_made_up(rng, 4_000, (2, 4)), *LAST_NAMES * 40]
    given = [*_made_up(rng, 800, (2, 3)), *FIRST_NAMES * 10]
    for number in count():
        yield {
            "birthDate": f"{rng.randrange(1935, 2026)}-{rng.randrange(1, 13):02d}-{rng.randrange(1, 29):02d}",
            "identifier": [{"system": "urn:example:mrn", "value": f"MRN-{number:06d}"}],
            "name": [{"family": rng.choice(families), "given": [rng.choice(given)]}],
            "telecom": [{"system": "phone", "value": f"+63 917 {rng.randrange(10**7):07d}"}],
        }


def _made_up(rng: random.Random, count: int, lengths: tuple[int, int]) -> list[str]:
    return ["".join(rng.choices(_SYLLABLES, k=rng.randint(*lengths))).title() for _ in range(count)]
