"""What a person does at a tablet, one thing at a time: writes, changes, takes back, settles, looks something up, locks it.

Each act is done by the calls of the library alone, and answers with the ops that it recorded.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import Any, Final

from medxz import Device
from medxz.device.device import Recorded
from medxz.errors import OpInvalid, StoreError

Act = Callable[["Person"], Awaitable[list[str]]]

_FAMILIES: Final = (
    "Okafor",
    "Wanjiru",
    "Lindqvist",
    "Haddad",
    "Nakamura",
    "Silva",
    "Novák",
    "Ramos",
    "Ott",
    "Achieng",
)
_GIVEN: Final = ("Ada", "Jun", "Marta", "Elias", "Noor", "Tomás", "Ines", "Kofi", "Lena", "Omar")
_SIGNS: Final = (("8867-4", "/min", 48, 140), ("59408-5", "%", 84, 100), ("8310-5", "Cel", 35, 41))
_PAGE: Final = 20


class Person:
    """Somebody at a device. `password` opens it again after a lock."""

    def __init__(self, device: Device, email: str, password: str, chance: random.Random) -> None:
        self.device = device
        self.chance = chance
        self._email = email
        self._password = password

    async def act(self) -> tuple[str, list[str]]:
        """One thing, by chance: what it was, and the ops that it recorded."""
        act: Act = self.chance.choices(_ACTS, _WEIGHTS)[0]
        return act.__name__, await act(self)

    async def register(self) -> list[str]:
        name = {"family": self.chance.choice(_FAMILIES), "given": [self.chance.choice(_GIVEN)]}
        payload = {
            "resourceType": "Patient", "name": [name], "gender": self.chance.choice(("female", "male")),
            "birthDate": f"{self.chance.randrange(1935, 2026)}-{self.chance.randrange(1, 13):02d}-11",
        }  # fmt: skip
        return _ids(await self.device.record("Patient", payload))

    async def measure(self) -> list[str]:
        code, unit, low, high = self.chance.choice(_SIGNS)
        patient = await self._somebody()
        payload: dict[str, Any] = {
            "resourceType": "Observation", "status": "final",
            "code": {"coding": [{"system": "http://loinc.org", "code": code}]},
            "valueQuantity": {"value": self.chance.randrange(low, high), "unit": unit},
            "note": [{"text": "seen at the desk, comes back in a week " * self.chance.randrange(1, 8)}],
        }  # fmt: skip
        if patient is not None:
            payload["subject"] = {"reference": f"Patient/{patient}"}
        return _ids(await self.device.record("Observation", payload))

    async def move(self) -> list[str]:
        """A patient's new address: two tablets that do this at once make a conflict now and then."""
        patient = await self._somebody()
        if patient is None:
            return await self.register()
        address = {"address": [{"line": [f"{self.chance.randrange(1, 400)} Mill Lane"]}]}
        return await self._changed("Patient", patient, "update", address)

    async def amend(self) -> list[str]:
        found = await self._one_of("Observation")
        if found is None:
            return await self.measure()
        payload = {
            "resourceType": "Observation", "status": "amended", "code": {"text": "weighed again"},
            "valueQuantity": {"value": self.chance.randrange(40, 110), "unit": "kg"},
        }  # fmt: skip
        return await self._changed("Observation", found, "amend", payload)

    async def retract(self) -> list[str]:
        found = await self._one_of("Observation")
        if found is None:
            return []
        return await self._changed("Observation", found, "retract", {"reason": "entered for somebody else"})

    async def resolve(self) -> list[str]:
        found = (await self.device.conflicts(limit=_PAGE)).rows
        # two patients who may be one person are for people to look at: no resolve joins them
        rows = [conflict for conflict in found if conflict.kind != "duplicate"]
        if not rows:
            return []
        conflict = self.chance.choice(rows)
        side = self.chance.choice(conflict.sides)
        try:
            done = await self.device.resolve(
                conflict.conflict_id, take=side.op_id, reason="asked the patient"
            )
        except StoreError:
            if conflict.conflict_id in {
                one.conflict_id for one in (await self.device.conflicts(limit=_PAGE)).rows
            }:
                raise
            return []  # somebody else has resolved it since the list was read
        return [op.op_id for op in done]

    async def look(self) -> list[str]:
        """Search, open a patient, read what became of it."""
        rows = (await self.device.search(self.chance.choice(_FAMILIES), limit=_PAGE)).rows
        if rows:
            patient = self.chance.choice(rows).entity.entity_id
            await self.device.get("Patient", patient)
            await self.device.of_patient(patient, limit=_PAGE)
            await self.device.history("Patient", patient)
        await self.device.status()
        return []

    async def lock(self) -> list[str]:
        await self.device.lock()
        await self.device.unlock(self._password)
        return []

    async def sign_in(self) -> list[str]:
        """Somebody else's turn at the tablet."""
        await self.device.login(self._email, self._password)
        return []

    async def verify(self) -> list[str]:
        await self.device.verify_audit()
        await self.device.forget()
        return []

    async def _somebody(self) -> str | None:
        return await self._one_of("Patient")

    async def _one_of(self, entity_type: str) -> str | None:
        """One of the first pages, so that people meet at the same entities now and then."""
        after = await self._middle(entity_type) if self.chance.random() < 0.5 else None
        rows = (await self.device.list(entity_type, after=after, limit=_PAGE)).rows
        there = [row.entity.entity_id for row in rows if row.retracted is None]
        return self.chance.choice(there) if there else None

    async def _middle(self, entity_type: str) -> str | None:
        """A little further on in the list."""
        after: str | None = None
        for _ in range(self.chance.randrange(4)):
            portion = await self.device.list(entity_type, after=after, limit=_PAGE)
            if portion.after is None:
                return after
            after = portion.after
        return after

    async def _changed(self, entity_type: str, entity_id: str, op: str, payload: dict[str, Any]) -> list[str]:
        try:
            return _ids(await self.device.record(entity_type, payload, entity_id=entity_id, op=op))
        except OpInvalid:
            return []  # somebody else has taken it back, or it waits for a resolve: the library says so, and no more


def _ids(recorded: Recorded) -> list[str]:
    return [recorded.op_id]


_ACTS, _WEIGHTS = zip(
    (Person.look, 34.0), (Person.measure, 28.0), (Person.register, 8.0), (Person.move, 10.0), (Person.amend, 8.0),
    (Person.resolve, 6.0), (Person.retract, 2.0), (Person.lock, 1.5), (Person.verify, 2.0), (Person.sign_in, 0.5),
    strict=True,
)  # fmt: skip
