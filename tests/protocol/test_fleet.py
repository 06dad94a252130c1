"""The fleet as its operator sees it: every clinic's hubs, and nothing of anybody's records."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from cloud.fleet.operators import Operators
from medxz.endpoints import ENDPOINTS
from medxz.trust.operators import PREFIX
from tests.protocol.conftest import Server
from tests.protocol.probes import PROBES
from tests.protocol.test_releases import KIND, offered
from tests.protocol.two_clinics import Clinic, Cloud, two_clinics
from tests.system.cloud_process import command_here

pytestmark = pytest.mark.slow
in_one_loop = pytest.mark.asyncio(loop_scope="module")

HUBS = "/v1/fleet/hubs"
ROLLOUTS = "/v1/fleet/rollouts"


@dataclass
class Fleet:
    """A cloud of two clinics, and its operator's token."""

    cloud: Cloud
    data: Path
    operators: Operators
    token: str

    async def ask(self, method: str, path: str, **request: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.token}"}
        return await self.cloud.http.request(method, path, headers=headers, **request)

    async def good(self, method: str, path: str, **request: Any) -> Any:
        answer = await self.ask(method, path, **request)
        assert answer.status_code == 200, (path, answer.text)
        return answer.json()

    async def hub(self, clinic: Clinic) -> dict[str, Any]:
        [hub] = (await self.good("GET", HUBS, params={"clinic": clinic.clinic_id}))["hubs"]
        return dict(hub)


@pytest.fixture
def database(request: pytest.FixtureRequest) -> str | None:
    """A file; or a PostgreSQL, where a test asks for one."""
    return str(request.getfixturevalue("own_database_url")) if hasattr(request, "param") else None


on_postgresql = pytest.mark.parametrize("database", ["postgresql"], indirect=True)


@pytest.fixture
async def fleet(database: str | None, tmp_path: Path) -> AsyncIterator[Fleet]:
    async with open_fleet(tmp_path / "cloud", database) as made:
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def standing(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Fleet]:
    """One for several tests, which leave each other what they need."""
    async with open_fleet(tmp_path_factory.mktemp("standing") / "cloud", None) as made:
        yield made


@asynccontextmanager
async def open_fleet(data: Path, database: str | None) -> AsyncIterator[Fleet]:
    async with two_clinics(data, database) as cloud:
        operators = Operators(cloud.office.store.authority)
        operator_id = await operators.add("Ada")
        token, _ = await operators.token(operator_id)
        yield Fleet(cloud, data, operators, token)


async def told(clinic: Clinic, version: str, **changes: Any) -> Any:
    """What the clinic's hub is answered when it reports."""
    report = {"version": version, "compatible": KIND, "health": {"ok": True}, "backlog": 0} | changes
    return await clinic.good("hub", "POST", "/v1/hubs/report", json=report)


@in_one_loop
async def test_an_operator_reads_the_fleet_and_nothing_else(standing: Fleet) -> None:
    """Every other endpoint that needs a token is forbidden to an operator's, whatever is asked for there."""
    ours = standing.cloud.ours
    for endpoint in ENDPOINTS:
        for request in PROBES[endpoint.name](ours, ours.names):
            if endpoint.access == "anyone":
                continue
            answer = await standing.ask(
                request.method, request.path, json=request.json, params=request.params
            )
            if endpoint.access == "operator":
                assert answer.status_code in {200, 404, 422}, (endpoint.name, answer.text)
            else:
                assert (answer.status_code, answer.json()["code"]) == (403, "forbidden"), endpoint.name
    live = await standing.ask("GET", "/v1/sync/live")
    assert live.status_code == 403


@in_one_loop
async def test_nobody_else_has_the_fleet(standing: Fleet) -> None:
    """A device's, an administrator's and a hub's token are forbidden in all of it."""
    ours = standing.cloud.ours
    for endpoint in ENDPOINTS:
        if endpoint.access == "operator":
            for request in PROBES[endpoint.name](ours, ours.names):
                answer = await ours.ask(request.role, request.method, request.path, json=request.json)
                assert (answer.status_code, answer.json()["code"]) == (403, "forbidden"), endpoint.name


async def test_a_hub_has_no_fleet(server: Server) -> None:
    """At a hub, an operator's token is good for nothing."""
    for path in (HUBS, "/v1/fleet/rings", "/v1/sync/status"):
        answer = await server.http.request("GET", path, headers={"Authorization": f"Bearer {PREFIX}x"})
        expected = (
            (401, "token_invalid") if server.kind == "cloud" and "fleet" in path else (403, "forbidden")
        )
        assert (answer.status_code, answer.json()["code"]) == expected


@in_one_loop
async def test_a_token_ends(standing: Fleet) -> None:
    """A token that was revoked, or whose operator was disabled, is refused with the next request; others are good still."""

    async def code_of(token: str) -> str | None:
        answer = await standing.cloud.http.get(HUBS, headers={"Authorization": f"Bearer {token}"})
        return answer.json().get("code")

    await standing.operators.add("Eve")
    first, _ = await standing.operators.token("Eve")
    second, row = await standing.operators.token("Eve")
    await standing.operators.revoke(row.token_id)
    assert [await code_of(token) for token in (first, second, second + "x")] == [
        None, "session_revoked", "token_invalid",
    ]  # fmt: skip
    await standing.operators.disable("Eve")
    assert await code_of(first) == "session_revoked"
    await standing.operators.disable("Eve", disabled=False)
    assert await code_of(first) == "session_revoked", "shut out is shut out: a new token is needed"
    looking, _ = await standing.operators.token("Eve", read_only=True)
    bearer = {"Authorization": f"Bearer {looking}"}
    assert await code_of(looking) is None
    for endpoint in ENDPOINTS:
        if endpoint.access == "operator" and endpoint.method == "POST":
            for request in PROBES[endpoint.name](standing.cloud.ours, standing.cloud.ours.names):
                answer = await standing.cloud.http.post(request.path, json=request.json, headers=bearer)
                assert answer.json()["code"] == "forbidden", endpoint.name
    over, _ = await standing.operators.token("Eve", days=0)
    assert await code_of(over) == "token_expired"
    await standing.good("GET", HUBS)


@in_one_loop
async def test_the_hubs_of_every_clinic(standing: Fleet) -> None:
    """The list has every clinic's hubs, page by page and by each filter, and no word of a patient, person or device."""
    ours, theirs = standing.cloud.ours, standing.cloud.theirs
    await told(ours, "0.1.0")
    await told(theirs, "0.2.0", health={"ok": False, "failing": ["disk"]}, backlog=7)
    whole = await standing.good("GET", HUBS)
    assert {hub["hub_id"]: hub["clinic_id"] for hub in whole["hubs"]} == {
        clinic.hub_id: clinic.clinic_id for clinic in (ours, theirs)
    }
    pages, cursor = [], None
    while True:
        page = await standing.good("GET", HUBS, params={"limit": 1} | ({"cursor": cursor} if cursor else {}))
        pages += page["hubs"]
        if (cursor := page["next_cursor"]) is None:
            break
    assert pages == whole["hubs"]
    hub = await standing.hub(theirs)
    assert (hub["version"], hub["health"], hub["failing"], hub["backlog"]) == ("0.2.0", "unwell", ["disk"], 7)
    assert (hub["ring"], hub["site"], hub["clinic"]) == ("all", "South", "Wanjiru Clinic")
    for name, value in {
        "site": ours.site_id,
        "version": "0.1.0",
        "health": "ok",
        "clinic": ours.clinic_id,
    }.items():
        found = await standing.good("GET", HUBS, params={name: value})
        assert [hub["hub_id"] for hub in found["hubs"]] == [ours.hub_id], name
    assert (await standing.good("GET", HUBS, params={"ring": "early"}))["hubs"] == []
    assert (await standing.good("GET", HUBS, params={"health": "away"}))["hubs"] == []
    said = str(whole)
    for names in (ours.names, theirs.names):
        for secret in (
            "patient_id",
            "observation_id",
            "op_id",
            "user_id",
            "email",
            "device_id",
            "device_key",
        ):
            assert getattr(names, secret) not in said, secret
    for wrong in ("x", "eA", ours.names.cursors["audit"]):
        assert (await standing.ask("GET", HUBS, params={"cursor": wrong})).json()["code"] == "bad_cursor"


@in_one_loop
async def test_rings_and_their_settings(standing: Fleet) -> None:
    """A hub is told what its ring is to run, and its settings, under a number that is another with every change."""
    ours, theirs = standing.cloud.ours, standing.cloud.theirs
    offered(standing.data, "0.2.0")
    assert (await told(ours, "0.1.0"))["version"] == "0.2.0", "the newest there is"
    hub = await standing.good("POST", f"{HUBS}/{ours.hub_id}", json={"ring": "canary"})
    assert (hub["hub_id"], hub["ring"]) == (ours.hub_id, "canary")
    changed = await standing.good("POST", "/v1/fleet/rings/canary", json={"settings": {"log_level": "debug"}})
    assert changed == {
        "ring": "canary", "version": None, "hubs": 1,
        "settings": {"log_level": "debug", "requests_per_s": None, "ops_per_s": None},
    }  # fmt: skip
    answer = await told(ours, "0.1.0")
    assert (answer["ring"], answer["settings"]["log_level"]) == ("canary", "debug")
    await standing.good("POST", "/v1/fleet/rings/all", json={"settings": {"ops_per_s": 5_000}})
    assert (await told(theirs, "0.1.0"))["settings_revision"] not in {0, answer["settings_revision"]}
    offered(standing.data, "0.3.0", b"newer")
    await standing.good("POST", "/v1/fleet/rings/canary", json={"version": "0.2.0"})
    assert (await told(ours, "0.1.0"))["version"] == "0.2.0"
    assert (await told(theirs, "0.1.0"))["version"] == "0.3.0"
    rings = {ring["ring"]: ring for ring in (await standing.good("GET", "/v1/fleet/rings"))["rings"]}
    assert [(name, ring["version"], ring["hubs"]) for name, ring in rings.items()] == [
        ("canary", "0.2.0", 1), ("early", None, 0), ("all", None, 1),
    ]  # fmt: skip
    assert rings["canary"]["settings"]["log_level"] == "debug", "what was not named stays"
    for path, body in (
        ("rings/canary", {"version": "9.9.9"}),
        ("rings/canary", {"settings": {"port": 1}}),
        ("rings/canary", {"settings": {"requests_per_s": 1}}),
        ("rings/UP", {"version": "0.2.0"}),
        ("hubs/" + ours.hub_id, {"ring": ""}),
    ):
        assert (await standing.ask("POST", f"/v1/fleet/{path}", json=body)).status_code == 422, (path, body)
    assert (await standing.ask("POST", f"{HUBS}/{ours.clinic_id}", json={"ring": "early"})).status_code == 404


@on_postgresql
async def test_a_rollout_comes_to_one_ring_after_the_other(fleet: Fleet) -> None:
    """The second ring is offered it once the first runs it, is well and has handed up what it had; then it is done."""
    ours, theirs = fleet.cloud.ours, fleet.cloud.theirs
    update = f"/v1/hubs/update?compatible={KIND}&version="
    await fleet.good("POST", f"{HUBS}/{ours.hub_id}", json={"ring": "canary"})
    for clinic in (ours, theirs):
        await told(clinic, "0.1.0")
    assert (await fleet.ask("POST", ROLLOUTS, json={"version": "0.2.0"})).json()["field"] == "version"
    offered(fleet.data, "0.2.0")
    begun = await fleet.good("POST", ROLLOUTS, json={"version": "0.2.0"})
    assert (begun["state"], begun["ring"], begun["hubs"]["offered"], begun["hubs"]["waiting"]) == (
        "running",
        "canary",
        1,
        1,
    )
    assert (await fleet.ask("POST", ROLLOUTS, json={"version": "0.2.0"})).json()["code"] == "rollout_state"
    assert (await ours.good("hub", "GET", update + "0.1.0"))["version"] == "0.2.0"
    assert await theirs.good("hub", "GET", update + "0.1.0") is None, "its ring has not come yet"
    path = f"{ROLLOUTS}/{begun['rollout_id']}"
    for unready in ({"backlog": 3}, {"health": {"ok": False, "failing": ["writer"]}}):
        await told(ours, "0.2.0", **unready)
        rollout = await settled(fleet, path, settling=1)
        assert rollout["ring"] == "canary"
    await told(ours, "0.2.0")
    rollout = await settled(fleet, path, done=1, offered=1)
    assert rollout["ring"] == "all"
    assert (await theirs.good("hub", "GET", update + "0.1.0"))["go_back"] is False
    await told(theirs, "0.2.0")
    rollout = await settled(fleet, path, done=2)
    assert (rollout["state"], rollout["ring"]) == ("done", None)
    assert (await fleet.good("GET", ROLLOUTS))["rollouts"][0]["hubs"]["done"] == 2
    assert (await fleet.ask("POST", f"{path}/abort")).json()["code"] == "rollout_state"
    assert (await fleet.hub(ours))["rollout"]["state"] == "done"


async def test_a_bad_version_stops_at_the_canary_and_is_taken_back(fleet: Fleet) -> None:
    """A hub that gave it back pauses the rollout; aborted, who runs it is told to go back, and nobody else gets it."""
    ours, theirs = fleet.cloud.ours, fleet.cloud.theirs
    update = f"/v1/hubs/update?compatible={KIND}&version="
    await fleet.good("POST", f"{HUBS}/{ours.hub_id}", json={"ring": "canary"})
    offered(fleet.data, "0.1.0", b"first")
    for clinic in (ours, theirs):
        await told(clinic, "0.1.0")
    offered(fleet.data, "0.2.0")
    begun = await fleet.good("POST", ROLLOUTS, json={"version": "0.2.0", "max_failures": 0})
    path = f"{ROLLOUTS}/{begun['rollout_id']}"
    failed = {
        "state": "failed",
        "version": "0.2.0",
        "before": "0.1.0",
        "why": "it does not serve",
        "began_at": "2026-11-22T00:00:00.000Z",
    }
    await told(ours, "0.1.0", update=failed)
    rollout = await settled(fleet, path, failed=1, waiting=1)
    assert rollout["state"] == "paused"
    assert "canary" in rollout["why"]
    [hub] = rollout["failed"]
    assert (hub["hub_id"], hub["why"]) == (ours.hub_id, "it does not serve")
    assert await ours.good("hub", "GET", update + "0.1.0") is None
    again = await fleet.good("POST", f"{path}/resume")
    assert (again["state"], again["hubs"]["failed"], again["ring"]) == ("running", 1, "all"), "forgiven"
    await told(theirs, "0.2.0", backlog=5)
    await settled(fleet, path, failed=1, settling=1)
    assert (await fleet.good("POST", f"{path}/pause"))["state"] == "paused"
    aborted = await fleet.good("POST", f"{path}/abort")
    assert aborted["state"] == "aborted"
    back = await theirs.good("hub", "GET", update + "0.2.0")
    assert (back["version"], back["go_back"]) == ("0.1.0", True)
    assert (await told(theirs, "0.2.0"))["version"] == "0.1.0"
    assert await ours.good("hub", "GET", update + "0.1.0") is None
    assert await ours.good("hub", "GET", update + "0.0.9") is not None
    rings = (await fleet.good("GET", "/v1/fleet/rings"))["rings"]
    assert {ring["version"] for ring in rings} == {None}, "each as before"


async def test_a_release_that_a_rollout_needs_stays(fleet: Fleet) -> None:
    """What a rollout brings, or would take hubs back to, is not removed before it is over; another release is."""
    ours = fleet.cloud.ours
    for version in ("0.0.1", "0.1.0", "0.2.0"):
        offered(fleet.data, version, version.encode())
    await told(ours, "0.1.0")
    begun = await fleet.good("POST", ROLLOUTS, json={"version": "0.2.0"})

    async def removed(version: str) -> str | None:
        words = (
            "release",
            "remove",
            "--version",
            version,
            "--compatible",
            KIND,
            "--data",
            fleet.data,
            "--json",
        )
        ended = await asyncio.to_thread(command_here, *words)
        return json.loads(ended.stderr)["code"] if ended.returncode else None

    assert [await removed(version) for version in ("0.2.0", "0.1.0", "0.0.1")] == [
        "rollout_state", "rollout_state", None,
    ]  # fmt: skip
    await fleet.good("POST", f"{ROLLOUTS}/{begun['rollout_id']}/abort")
    assert await removed("0.2.0") is None


@pytest.fixture
def counted_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cloud.fleet.fleet.COUNT_EVERY_S", 0.0)


async def test_figures_of_the_fleet(counted_at_once: None, fleet: Fleet) -> None:
    """/metrics counts hubs by ring, health and version, and how far a rollout is; it names no clinic and no hub."""
    ours, theirs = fleet.cloud.ours, fleet.cloud.theirs
    offered(fleet.data, "0.2.0")
    await fleet.good("POST", f"{HUBS}/{ours.hub_id}", json={"ring": "canary"})
    await told(ours, "0.1.0")
    await told(theirs, "0.1.0", health={"ok": False, "failing": ["disk"]})
    await fleet.good("POST", ROLLOUTS, json={"version": "0.2.0"})
    expected = {
        'medxz_fleet_hubs{health="ok",ring="canary"} 1.0',
        'medxz_fleet_hubs{health="unwell",ring="all"} 1.0',
        'medxz_fleet_version_hubs{version="0.1.0"} 2.0',
        'medxz_fleet_rollouts{state="running"} 1.0',
        'medxz_fleet_rollout_hubs{state="offered"} 1.0',
        'medxz_fleet_rollout_hubs{state="waiting"} 1.0',
    }
    async with asyncio.timeout(15):
        while expected - set((text := (await fleet.cloud.http.get("/metrics")).text).splitlines()):
            await asyncio.sleep(0.1)
    for name in (ours.hub_id, ours.clinic_id, "Wanjiru"):
        assert name not in text


async def settled(fleet: Fleet, path: str, **expected: int) -> Any:
    """The rollout, once so many of its hubs are so far, and those that are not named wait."""
    async with asyncio.timeout(15):
        while True:
            rollout = await fleet.good("GET", path)
            counts = {
                name: count
                for name, count in rollout["hubs"].items()
                if count and (name in expected or name not in {"total", "waiting"})
            }
            if counts == expected:
                return rollout
            await asyncio.sleep(0.05)


@in_one_loop
async def test_reports_are_bounded(standing: Fleet) -> None:
    """What is no report is refused, and who reports all the time waits."""
    ours = standing.cloud.ours
    good = {"version": "0.1.0", "health": {"ok": True}}
    for wrong in (
        {"version": "newest"}, {"compatible": "../x"}, {"health": {"ok": True, "failing": ["no such thing!"]}}, {"backlog": -1},
        {"patient": "x"}, {"health": {"ok": True, "failing": ["x"] * 33}},
        {"update": {"state": "failed", "version": "1", "before": "0", "why": "x" * 301, "began_at": "2026-11-22T00:00:00.000Z"}},
    ):  # fmt: skip
        assert (await ours.ask("hub", "POST", "/v1/hubs/report", json=good | wrong)).status_code == 422, wrong
    codes = {(await ours.ask("hub", "POST", "/v1/hubs/report", json=good)).status_code for _ in range(30)}
    assert codes == {200, 429}
