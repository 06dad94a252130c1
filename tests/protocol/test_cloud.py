"""What a cloud adds for hubs and administrators: the directory as it changes, and the audit of what was read."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import Any

import pytest

from medxz import limits
from tests.protocol.conftest import Server
from tests.protocol.two_clinics import PASSWORD, Clinic, assertion_of, two_clinics

pytestmark = pytest.mark.slow

AGAIN = {"name": "tablet", "public_key": "A" * 43}


@pytest.fixture
async def clinic(tmp_path: Path) -> AsyncIterator[Clinic]:
    async with two_clinics(tmp_path / "cloud") as cloud:
        yield cloud.ours


async def next_revision(lines: AsyncIterator[str]) -> int:
    """What the next `event: directory` says; whatever else comes before it is passed over."""
    async with asyncio.timeout(20):
        async for line in lines:
            if line == "event: directory":
                return int(json.loads((await anext(lines)).removeprefix("data: "))["revision"])
    raise AssertionError("the stream ended")


async def test_a_hub_hears_of_each_change(clinic: Clinic) -> None:
    """Its stream tells the revision when it begins and after a change, while ops flow too; what it mirrors is that one."""
    headers = {"Authorization": f"Bearer {clinic.tokens['hub']}"}
    async with clinic.cloud.http.stream("GET", "/v1/sync/stream", headers=headers) as stream:
        lines = stream.aiter_lines()
        first = await next_revision(lines)
        held = await clinic.good("hub", "GET", "/v1/hubs/directory")
        assert held["revision"] == first
        assert await clinic.good("hub", "GET", f"/v1/hubs/directory?after={first}") is None
        enrolled, _ = await asyncio.gather(
            clinic.good("clinician", "POST", "/v1/enroll", json=AGAIN),
            clinic.push(*(clinic.op({"status": "final"}) for _ in range(50))),
        )
        device_id, second = enrolled["device_id"], await next_revision(lines)
    assert second > first
    now = await clinic.good("hub", "GET", f"/v1/hubs/directory?after={first}")
    assert now["revision"] >= second
    devices = {device["device_id"]: device for device in now["devices"]}
    assert devices.keys() == {clinic.device_id, device_id}
    assert devices[device_id]["public_keys"] == [AGAIN["public_key"]]
    assert clinic.users["clinician"] in devices[device_id]["authors"]


async def test_a_device_hears_nothing_of_it(clinic: Clinic) -> None:
    """A device's stream has ops and pings alone."""
    headers = {"Authorization": f"Bearer {clinic.tokens['clinician']}"}
    heard: list[str] = []
    async with clinic.cloud.http.stream("GET", "/v1/sync/stream", headers=headers) as stream:
        lines = stream.aiter_lines()
        await clinic.good("clinician", "POST", "/v1/enroll", json=AGAIN)
        last = clinic.op({"status": "final", "valueString": "last"})
        await clinic.push(last)
        async with asyncio.timeout(20):
            async for line in lines:
                heard.append(line)
                if last["op_id"] in line:
                    break
    assert {line for line in heard if line.startswith("event: ")} == {"event: ops", "event: ping"}


async def entries(clinic: Clinic, count: int, **query: str) -> list[dict[str, Any]]:
    """The audit's entries of reading, once there are so many: they are written a moment later."""
    async with asyncio.timeout(15):
        while True:
            page = await clinic.good("admin", "GET", "/v1/audit", params={"limit": 500} | query)
            found = [entry for entry in page["entries"] if entry["event"] in {"read", "searched", "exported"}]
            if len(found) >= count:
                return found
            await asyncio.sleep(0.05)


async def test_what_is_read_is_noted(clinic: Clinic) -> None:
    """Each entity with its patient, each search with what it found but not with its words, each snapshot; nothing of what was refused."""
    names = clinic.names
    patient = f"/v1/entities/Patient/{names.patient_id}"
    for path in (patient, f"{patient}/history", f"{patient}/ops"):
        await clinic.good("clinician", "GET", path)
    await clinic.good("clinician", "GET", f"/v1/entities/Observation/{names.observation_id}")
    await clinic.good("clinician", "GET", f"/v1/conflicts/{names.conflict_id}")
    await clinic.good("clinician", "GET", f"/v1/entities/Patient?q={names.word}")
    await clinic.good("clinician", "GET", f"/v1/entities/Observation?patient={names.patient_id}")
    assert (await clinic.ask("clinician", "GET", "/v1/sync/snapshot")).status_code == 200
    assert (await clinic.ask("clinician", "GET", patient.replace("Patient/", "Coverage/"))).status_code == 404
    noted = [
        entry for entry in await entries(clinic, 8, user=names.user_id)
        if entry["device_id"] == clinic.device_id
    ]  # fmt: skip
    events = [entry["event"] for entry in noted]
    assert sorted(events) == ["exported"] + ["read"] * 6 + ["searched"]
    parts = [entry["detail"]["part"] for entry in noted if "part" in entry["detail"]]
    assert sorted(parts) == ["history", "ops", "state", "state"]
    of_patient = await entries(clinic, 5, patient=names.patient_id, user=names.user_id)
    assert len(of_patient) == 5, "the patient's own three, an observation, and a list of observations"
    assert {entry["entity_type"] for entry in of_patient} == {"Patient", "Observation"}
    [search] = [entry for entry in noted if entry["event"] == "searched"]
    assert names.patient_id in search["detail"]["ids"]
    assert names.word not in json.dumps(noted)
    assert (await clinic.good("admin", "GET", "/v1/audit/verify"))["ok"]


async def assert_ends_at_once(clinic: Clinic, role: str, taken_away: Awaitable[object]) -> None:
    """Once that was done the role's open stream ends, and its token is refused."""
    headers = {"Authorization": f"Bearer {clinic.tokens[role]}"}
    async with clinic.cloud.http.stream("GET", "/v1/sync/stream", headers=headers) as stream:
        assert stream.status_code == 200
        await taken_away
        async with asyncio.timeout(10):
            async for _ in stream.aiter_bytes():
                pass
    answer = await clinic.ask(role, "GET", "/v1/config")
    assert (answer.status_code, answer.json()["code"]) == (401, "session_revoked")


async def test_what_is_taken_away_is_gone_at_once(clinic: Clinic) -> None:
    """A hub that was revoked, a user who was disabled, a session that was logged out, a device that was revoked."""
    admin, clinic_id = clinic.cloud.office.admin, clinic.clinic_id
    await assert_ends_at_once(clinic, "hub", admin.hubs.revoke(clinic_id, clinic.hub_id))
    proof = {"assertion": assertion_of(clinic, clinic.hub_id)}
    assert (await clinic.ask(None, "POST", "/v1/auth/hub", json=proof)).json()["code"] == "session_revoked"
    await assert_ends_at_once(clinic, "clinician", admin.users.disable(clinic_id, clinic.names.user_id))
    await assert_ends_at_once(clinic, "admin", clinic.good("admin", "POST", "/v1/auth/logout"))
    login = {"email": clinic.email, "password": PASSWORD, "device_id": clinic.device_id}
    session = await clinic.good(None, "POST", "/v1/auth/login", json=login)
    clinic.tokens["admin"] = session["access_token"]
    await assert_ends_at_once(clinic, "admin", admin.devices.revoke(clinic_id, clinic.device_id))
    assert (await clinic.ask(None, "POST", "/v1/auth/login", json=login)).status_code == 401
    refresh = {"refresh_token": session["refresh_token"]}
    assert (await clinic.ask(None, "POST", "/v1/auth/refresh", json=refresh)).status_code == 401


@pytest.mark.parametrize("kind", ["cloud"])
async def test_a_token_of_years(server: Server) -> None:
    """With a cloud's own key, too, nobody makes a token that lasts longer than those that it gives."""
    given = await server.caller(ttl_s=limits.ACCESS_TOKEN_S)
    made = await server.caller(ttl_s=10 * 365 * 86_400)
    assert (await given.ask("GET", "/v1/sync/status")).status == 200
    refused = await made.ask("GET", "/v1/sync/status")
    assert (refused.status, refused.code) == (401, "token_invalid")
