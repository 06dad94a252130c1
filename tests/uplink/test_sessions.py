"""Coming in through a hub: passed on while the cloud can be reached, and gone on with while it can't."""

from __future__ import annotations

import base64
import time
from typing import Any

import jwt
import pytest

from medxz.clock import SystemClock
from medxz.trust.proofs import sign_proof
from tests.uplink.conftest import IDS, PASSWORD, Box, Relay, Tablet, until

EMAIL = "nora@clinic.example"


def body_of(token: str) -> dict[str, Any]:
    return dict(jwt.decode(token, options={"verify_signature": False}))


def proof_of(tablet: Tablet, box: Box) -> str:
    hub_id = box.running.storage.log.server_id
    return sign_proof(tablet.key, tablet.device_id, hub_id, SystemClock(), IDS)


async def test_what_the_cloud_refuses_is_refused_by_the_hub(relay: Relay, north: Box, nora: Tablet) -> None:
    """A wrong password, a wrong code and a wrong token are answered as the cloud answers them."""
    login = {"email": EMAIL, "password": "not that one at all", "device_id": nora.device_id}
    wrong = await nora.ask("POST", "/v1/auth/login", login)
    key = base64.urlsafe_b64encode(b"k" * 32).rstrip(b"=").decode()
    code = await nora.ask("POST", "/v1/enroll", {"code": "AAAA-AAAA", "name": "x", "public_key": key})
    token = await nora.ask("POST", "/v1/auth/refresh", {"refresh_token": "a.b.c"})
    assert [(answer.status_code, answer.json()["code"]) for answer in (wrong, code, token)] == [
        (401, "credentials_invalid"),
        (403, "code_invalid"),
        (401, "token_invalid"),
    ]


async def test_a_session_goes_on_without_the_cloud(relay: Relay, north: Box, nora: Tablet) -> None:
    """The refresh token that went through the hub renews the session there, as often as it likes, and stays good."""
    refreshed = await nora.refresh()
    assert refreshed.json()["refresh_token"]
    await relay.stop()
    for _ in range(2):
        renewed = await nora.refresh()
        assert (renewed.status_code, renewed.json()["refresh_token"]) == (200, None), renewed.text
        assert renewed.json()["user"]["email"] == EMAIL
        assert renewed.json()["roles"] == ["clinician"]
    assert body_of(nora.token)["iss"] == north.running.storage.log.server_id
    await nora.record(2)
    assert len(await nora.pulled()) == 2
    await relay.start()
    await until(lambda: north.is_online, "the cloud")
    renewed = await nora.refresh()
    assert renewed.json()["refresh_token"], "the cloud takes it as if nothing had been"
    assert body_of(nora.token)["iss"] == relay.running.store.server.server_id


async def test_the_hubs_of_a_site_take_each_other_s_sessions(
    relay: Relay, north: Box, south: Box, nora: Tablet, make_box
) -> None:
    """A token that a hub gave is good at the other hub of the site, renewed there by a proof, and nowhere else."""
    second = make_box("second")
    await second.claim(relay, "North")
    await second.start()
    await until(lambda: second.is_online, "the second hub's cloud")
    hubs = second.running.storage.registry
    await until(lambda: north.running.storage.log.server_id in hubs.directory.hubs, "its directory")
    await relay.stop()
    await nora.refresh()
    nora.box = second
    assert (await nora.status())["epoch"] == second.running.storage.log.epoch
    shown = {"access_token": nora.token, "proof": proof_of(nora, second)}
    renewed = await nora.ask("POST", "/v1/auth/refresh", shown)
    assert renewed.status_code == 200, renewed.text
    assert body_of(renewed.json()["access_token"])["cloud"] == body_of(nora.token)["cloud"]
    again = await nora.ask("POST", "/v1/auth/refresh", shown)
    assert (again.status_code, again.json()["code"]) == (401, "token_invalid")
    unknown = await nora.refresh()
    assert (unknown.status_code, unknown.json()["code"]) == (503, "cloud_required")
    nora.box = south
    other_site = await nora.ask("GET", "/v1/sync/status", token=nora.token)
    assert (other_site.status_code, other_site.json()["code"]) == (401, "token_invalid")


async def test_the_proof_must_be_the_device_s_own_and_for_this_hub(
    relay: Relay, north: Box, nora: Tablet
) -> None:
    """Another device's proof, one for another server, and one while the cloud can be asked, renew nothing."""
    await relay.add_user("rob@clinic.example")
    rob = await Tablet.enrolled(north, relay, "North", "rob@clinic.example")
    shown = {"access_token": nora.token, "proof": proof_of(nora, north)}
    early = await nora.ask("POST", "/v1/auth/refresh", shown)
    assert (early.status_code, early.json()["code"]) == (401, "token_expired")
    await relay.stop()
    for proof in (
        proof_of(rob, north),
        sign_proof(rob.key, nora.device_id, north.running.storage.log.server_id, SystemClock(), IDS),
        sign_proof(nora.key, nora.device_id, relay.clinic_id, SystemClock(), IDS),
    ):
        refused = await nora.ask("POST", "/v1/auth/refresh", {"access_token": nora.token, "proof": proof})
        assert (refused.status_code, refused.json()["code"]) == (401, "token_invalid"), refused.text
    taken = await nora.ask("POST", "/v1/auth/refresh", shown | {"proof": proof_of(nora, north)})
    assert taken.status_code == 200


async def test_without_the_cloud_nobody_begins(relay: Relay, north: Box, nora: Tablet) -> None:
    """Logging in, enrolment and codes need the cloud; the third to ask is told at once."""
    await relay.stop()
    login = {"email": EMAIL, "password": PASSWORD, "device_id": nora.device_id}
    key = base64.urlsafe_b64encode(b"k" * 32).rstrip(b"=").decode()
    asked = [
        ("/v1/auth/login", login),
        ("/v1/enroll", {"code": "AAAA-AAAA", "name": "x", "public_key": key}),
        ("/v1/auth/login", login),
        ("/v1/auth/login", login),
    ]
    begun = time.monotonic()
    for path, body in asked:
        begun = time.monotonic()
        refused = await nora.ask("POST", path, body)
        assert (refused.status_code, refused.json()["code"]) == (503, "cloud_required")
        assert refused.headers["Retry-After"]
    assert time.monotonic() - begun < 1.0


@pytest.mark.parametrize("who", ["user", "device"])
async def test_who_was_revoked_does_not_go_on(relay: Relay, north: Box, nora: Tablet, who: str) -> None:
    """A session of somebody disabled, or of a device revoked, before the cloud went away is not renewed."""
    registry = north.running.storage.registry
    if who == "user":
        await relay.admin.users.disable(relay.clinic_id, EMAIL)
        await until(lambda: registry.directory.users[nora.user_id].disabled, "that the hub hears of it")
    else:
        await relay.admin.devices.revoke(relay.clinic_id, nora.device_id)
        await until(lambda: registry.directory.devices[nora.device_id].revoked, "that the hub hears of it")
    await relay.stop()
    refused = await nora.refresh()
    assert (refused.status_code, refused.json()["code"]) == (401, "session_revoked")


async def test_the_hours_of_a_session_come_to_an_end(relay: Relay, north: Box, nora: Tablet) -> None:
    """They count from when the cloud last stood for it: a clinic that lets none go on has none go on."""
    await relay.admin.config.set(relay.clinic_id, "offline_session_hours", 0)
    registry = north.running.storage.registry
    await until(lambda: registry.config.offline_session_hours == 0, "that the hub hears of it")
    await relay.stop()
    refused = await nora.refresh()
    assert (refused.status_code, refused.json()["code"]) == (503, "cloud_required")


async def test_logging_out_holds_here_at_once(relay: Relay, north: Box, nora: Tablet) -> None:
    """A session that is ended through the hub is over at the hub and in the cloud; without the cloud, here."""
    away = await Tablet.enrolled(north, relay, "North", "ada@clinic.example")
    done = await nora.ask("POST", "/v1/auth/logout", {}, token=nora.token)
    assert done.status_code == 204, done.text
    status = await nora.ask("GET", "/v1/sync/status", token=nora.token)
    assert (status.status_code, status.json()["code"]) == (401, "session_revoked")
    assert (await nora.refresh()).status_code == 401
    await relay.stop()
    told = await away.ask("POST", "/v1/auth/logout", {"refresh_token": away.refresh_token})
    assert (told.status_code, told.json()["code"]) == (503, "cloud_required")
    assert (await away.refresh()).status_code == 503
    assert (await away.ask("GET", "/v1/sync/status", token=away.token)).status_code == 401


async def test_what_is_done_at_a_hub_is_noted_there(relay: Relay, north: Box, nora: Tablet) -> None:
    """Who came in, who was refused and who went on without the cloud stands in the hub's own audit, which holds."""
    ada = await Tablet.enrolled(north, relay, "North", "ada@clinic.example")
    wrong = {"email": EMAIL, "password": "not that one at all", "device_id": nora.device_id}
    await nora.ask("POST", "/v1/auth/login", wrong)
    await relay.stop()
    await nora.refresh()
    entries = (await ada.ask("GET", "/v1/audit?limit=100", token=ada.token)).json()["entries"]
    events = {(entry["event"], entry["device_id"]) for entry in entries}
    assert {
        ("enrolled", nora.device_id),
        ("login", nora.device_id),
        ("login_refused", nora.device_id),
        ("offline_session", nora.device_id),
    } <= events
    hub_id = north.running.storage.log.server_id
    assert {("hub_claimed", hub_id), ("directory_changed", hub_id)} <= {
        (entry["event"], entry["hub_id"]) for entry in entries
    }
    assert all(entry["address"] for entry in entries if entry["event"].startswith("login"))
    verified = (await ada.ask("GET", "/v1/audit/verify", token=ada.token)).json()
    assert verified["ok"]
    assert (await nora.ask("GET", "/v1/audit", token=nora.token)).status_code == 403


async def test_a_device_that_was_restored_gets_another_id(relay: Relay, north: Box, nora: Tablet) -> None:
    """It asks through the hub with its own token, and is known at the hub under its new id at once."""
    key = base64.urlsafe_b64encode(nora.key.public_key().public_bytes_raw()).rstrip(b"=").decode()
    answer = await nora.ask("POST", "/v1/enroll", {"name": "again", "public_key": key}, token=nora.token)
    assert answer.status_code == 200, answer.text
    nora.device_id, nora.token = answer.json()["device_id"], answer.json()["access_token"]
    assert len(await nora.record(1)) == 1


async def test_an_administrator_makes_codes_through_the_hub(relay: Relay, north: Box, nora: Tablet) -> None:
    """A code asked for at the hub is the cloud's, and lets a device in."""
    ada = await Tablet.enrolled(north, relay, "North", "ada@clinic.example")
    made = await ada.ask("POST", "/v1/codes", {"for": "device", "site": "North"}, token=ada.token)
    assert made.status_code in {200, 201}, made.text
    refused = await nora.ask("POST", "/v1/codes", {"for": "device", "site": "North"}, token=nora.token)
    assert refused.status_code == 403
    key = base64.urlsafe_b64encode(b"k" * 32).rstrip(b"=").decode()
    enrolled = await ada.ask(
        "POST", "/v1/enroll", {"code": made.json()["code"], "name": "x", "public_key": key}
    )
    assert enrolled.status_code == 200, enrolled.text
