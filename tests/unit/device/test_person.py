"""What a person sees and writes on a device that holds everything: by the roles that came with the session."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from medxz.device.device import Device
from medxz.device.renewal import RENEW_BEFORE_MS
from medxz.device.token import TokenClaims
from medxz.errors import LoginNeeded, PeerRefused, RoleForbids
from medxz.roles import ROLES
from medxz.scope import FRONT_DESK_TYPES
from tests.making import CLINIC, DEVICE, OTHER_DEVICE, USER, fixed_id, make_op
from tests.unit.device.door import Door, enrolled
from tests.unit.device.scripted import Tablet

NORA, DAN = "nora@clinic.example", "dan@clinic.example"
PATIENT, PULSE, ALLERGY = fixed_id(1), fixed_id(2), fixed_id(3)
OTT = {"resourceType": "Patient", "name": [{"family": "Ott"}]}


@pytest.fixture
def door() -> Door:
    return Door()


@pytest.fixture
async def device(tmp_path: Path, door: Door) -> AsyncIterator[Device]:
    """A full device that has pulled a patient, a pulse, and an allergy and a patient that are in conflict."""
    created = [
        ("Patient", PATIENT, OTT),
        ("Patient", PATIENT, {**OTT, "name": [{"family": "Otto"}]}),
        ("Observation", PULSE, {"subject": {"reference": f"Patient/{PATIENT}"}, "value": 72}),
        (
            "AllergyIntolerance",
            ALLERGY,
            {"patient": {"reference": f"Patient/{PATIENT}"}, "code": {"text": "nuts"}},
        ),
        (
            "AllergyIntolerance",
            ALLERGY,
            {"patient": {"reference": f"Patient/{PATIENT}"}, "code": {"text": "figs"}},
        ),
    ]
    for number, (entity_type, entity_id, payload) in enumerate(created, start=1):
        op = make_op(
            number,
            device_id=OTHER_DEVICE,
            entity_type=entity_type,
            entity_id=entity_id,
            payload=json.dumps(payload),
        )
        await door.arrive(op)
    async with await enrolled(tmp_path / "d", door) as made:
        await made.login(NORA, "right")
        await made.sync()
        yield made


async def logged_in(device: Device, door: Door, *roles: str) -> None:
    door.roles = roles
    await device.login(DAN, "right")


async def test_who_may_see_all(device: Device, door: Door) -> None:
    """Clinicians and administrators see everything that the device holds; the more of two roles counts."""
    for roles in (("clinician",), ("admin",), ("clinician", "front_desk")):
        await logged_in(device, door, *roles)
        assert len([held async for held in device.ops()]) == 5
        assert {told.entity_type for told in (await device.conflicts()).rows} == {
            "Patient",
            "AllergyIntolerance",
        }
        assert {view.entity.entity_type for view in (await device.of_patient(PATIENT)).rows} > {"Observation"}
        assert (await device.status()).open_conflicts == 2


async def test_a_front_desk_sees_its_own_types(device: Device, door: Door) -> None:
    """In lists, histories, conflicts, the log and the counts the rest is left out, however it is asked for."""
    allergic = next(
        told for told in (await device.conflicts()).rows if told.entity_type == "AllergyIntolerance"
    )
    await logged_in(device, door, "front_desk")
    assert {held.op.entity_type async for held in device.ops()} == {"Patient"}
    assert len([held async for held in device.ops(limit=1)]) == 1
    assert [told.entity_type for told in (await device.conflicts()).rows] == ["Patient"]
    status = await device.status()
    assert (status.open_conflicts, status.roles) == (1, ("front_desk",))
    assert (await device.of_patient(PATIENT)).rows == []
    assert len((await device.search("Ott")).rows) == 1
    assert await device.get("Patient", PATIENT) is not None
    refused: list[Callable[[], Awaitable[object]]] = [
        lambda: device.get("Observation", PULSE),
        lambda: device.get("Observation", fixed_id(99)),
        lambda: device.history("Observation", PULSE),
        lambda: device.heads("Observation", PULSE),
        lambda: device.list("Observation"),
        lambda: device.of_patient(PATIENT, types=["Coverage", "Observation"]),
        lambda: device.conflict(allergic.conflict_id),
    ]
    for call in refused:
        with pytest.raises(RoleForbids):
            await call()


async def test_what_a_front_desk_records(device: Device, door: Door) -> None:
    """What the servers would reject is refused before anything is queued, whoever is named as its author."""
    allergic = next(
        told for told in (await device.conflicts()).rows if told.entity_type == "AllergyIntolerance"
    )
    await logged_in(device, door, "front_desk")
    await device.record("Patient", OTT)
    for author in (None, USER):
        with pytest.raises(RoleForbids, match="does not write Observation"):
            await device.record("Observation", {"value": 1}, user_id=author)
    for about in (allergic.conflict_id, ("AllergyIntolerance", ALLERGY)):
        with pytest.raises(RoleForbids):
            await device.resolve(about, reason="r", take=allergic.sides[0].op_id)
    assert (await device.status()).last_seq == 1


async def test_what_arrives_at_a_front_desk(device: Device, door: Door) -> None:
    """`watch` gives what the person may see, and nothing else."""
    await logged_in(device, door, "front_desk")
    watching = device.watch()
    for number, entity_type in ((6, "Observation"), (7, "Coverage")):
        await door.arrive(make_op(number, device_id=OTHER_DEVICE, entity_type=entity_type, payload='{"a":1}'))
    assert (await anext(watching)).op.entity_type == "Coverage"
    await watching.aclose()


async def test_roles_that_change(device: Device, door: Door) -> None:
    """What a session's next token brings counts from then on, both ways, and after the session has ended."""
    await device.list("Observation")
    door.roles = ("front_desk",)
    door.clock.time_ms = door.ends_ms - RENEW_BEFORE_MS
    await device._renewal.token()
    with pytest.raises(RoleForbids):
        await device.list("Observation")
    door.revoked = True
    door.clock.time_ms = door.ends_ms
    with pytest.raises(PeerRefused, match="session_revoked"):
        await device._renewal.token()
    with pytest.raises(RoleForbids):
        await device.list("Observation")
    door.roles = ("clinician",)
    await device.login(NORA, "right")
    await device.list("Observation")
    actions = [row[0] for row in device._store._file.connection.execute("SELECT action FROM audit")]
    assert actions.count("roles") == 1


async def test_what_is_told_while_nobody_is_there(device: Device) -> None:
    """After a logout the conflicts are not even counted, and no op is shown as it arrives."""
    [held, *_] = [held async for held in device.ops()]
    assert (await device.status()).open_conflicts == 2
    await device.logout()
    assert (await device.status()).open_conflicts == 0
    assert (await device._onlooker()).shown(held) is None


async def test_what_is_recorded_while_nobody_is_there(device: Device, door: Door) -> None:
    """A logout is no way round the role: nothing is written in the name of somebody who used the device before."""
    allergic = next(
        told for told in (await device.conflicts()).rows if told.entity_type == "AllergyIntolerance"
    )
    await logged_in(device, door, "front_desk")
    await device.logout()
    with pytest.raises(LoginNeeded):
        await device.record("Observation", {"value": 1}, user_id=USER)
    with pytest.raises(LoginNeeded):
        await device.resolve(allergic.conflict_id, reason="r", take=allergic.sides[0].op_id, user_id=USER)
    assert (await device.status()).last_seq == 0


def test_roles_of_a_token(tmp_path: Path) -> None:
    """A device that is made by a token follows its roles; one that says none shows what it holds; none of them shows nothing."""
    seen = {}
    for name, roles in {"said": ("front_desk",), "unsaid": None, "none": ()}.items():
        tablet = Tablet(tmp_path / name)
        tablet.store.begin(
            TokenClaims(CLINIC, DEVICE, USER, roles=roles),
            name="",
            server_url="",
            access_token="t",
            ca_pem=None,
        )
        person = tablet.store.locks.user()
        seen[name] = [kind for kind in ("Patient", "Observation") if kind in person.reads]
        tablet.store.close()
    assert seen == {"said": ["Patient"], "unsaid": ["Patient", "Observation"], "none": []}


def test_one_table_for_servers_and_devices() -> None:
    """What a front desk reads is what a device of that scope holds."""
    assert ROLES["front_desk"].reads.named == ROLES["front_desk"].writes.named == FRONT_DESK_TYPES
