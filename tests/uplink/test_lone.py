"""A hub without a cloud lets people and devices in as a cloud does; once claimed, nobody has to come in again."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from argon2 import PasswordHasher
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from hub.alone import office
from hub.alone.accounts import LoneAccounts
from hub.alone.by_token import ByToken
from hub.alone.office import FOUNDED, Accounts, Office
from hub.making import make_hub
from hub.pairing import PairRequest
from medxz import limits
from medxz.accounts import passwords
from medxz.clock import SystemClock
from medxz.errors import CodeInvalid, RateLimited
from medxz.ids import RandomIds
from medxz.program.errors import CommandFailed
from medxz.service.accounts import Origin
from medxz.store.authority.base import Tx
from medxz.store.directory import DeviceEntry, Directory
from medxz.wire import EnrolRequest
from tests.uplink.conftest import IDS, PASSWORD, Box, Relay, Tablet, until

NORA = "nora@clinic.example"
ADA = "ada@clinic.example"


@pytest.fixture(autouse=True)
def quick_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lawful hashes that cost less."""
    quick = PasswordHasher(time_cost=1, memory_cost=8 * 1024, parallelism=1)
    monkeypatch.setattr(passwords.Passwords.__init__, "__defaults__", (quick, passwords.WAITING_MAX))


@pytest.fixture
async def alone(make_box: Callable[[str], Box]) -> Box:
    box = make_box("alone")
    await make_hub(box.settings.places, IDS.uuid7(), SystemClock(), RandomIds(), None)
    return await box.start()


def office_of(box: Box) -> Office:
    found = box.running.doors.office
    assert found is not None
    return found


async def add_user(box: Box, email: str, *roles: str) -> str:
    accounts = await office_of(box).accounts()
    return await accounts.users.add(box.running.identity.clinic_id, email, email, roles, PASSWORD)


async def paired(box: Box, email: str | None = None, **wanted: Any) -> Tablet:
    """A tablet by a code of the hub's, with somebody logged in."""
    made = await box.running.doors.pairing.pair(PairRequest(**wanted))
    key = Ed25519PrivateKey.generate()
    answer = await enrol(box, made.code, key)
    assert answer.status_code == 200, answer.text
    tablet = Tablet(box, answer.json()["clinic_id"], answer.json()["device_id"], key=key)
    if email is not None:
        await tablet.login(email)
    return tablet


async def enrol(box: Box, code: str, key: Ed25519PrivateKey) -> httpx.Response:
    public = base64.urlsafe_b64encode(key.public_key().public_bytes_raw()).rstrip(b"=").decode()
    return await box.http.post("/v1/enroll", json={"code": code, "name": "tablet", "public_key": public})


async def events(box: Box, *wanted: str) -> list[dict[str, Any]]:
    """What an administrator reads in the hub's audit, the oldest first."""
    boss = await paired(box, ADA)
    answer = await boss.ask("GET", "/v1/audit?limit=500", token=boss.token)
    assert answer.status_code == 200, answer.text
    whole = await boss.ask("GET", "/v1/audit/verify", token=boss.token)
    assert whole.json()["ok"]
    return [entry for entry in reversed(answer.json()["entries"]) if entry["event"] in wanted]


async def test_a_tablet_comes_in_by_the_hub_itself(alone: Box) -> None:
    """Code, enrolment, login, ops, refresh, logout: all at the hub, by tokens that it signs, noted in its audit."""
    user_id = await add_user(alone, NORA, "clinician")
    await add_user(alone, ADA, "admin")
    nora = await paired(alone, NORA, name="Room 2", scope="front_desk")
    identity = alone.running.identity
    assert (nora.user_id, nora.clinic_id) == (user_id, identity.clinic_id)
    device = alone.running.storage.registry.directory.devices[nora.device_id]
    assert (device.name, device.scope, device.site_id) == ("Room 2", "front_desk", identity.site_id)
    await nora.record(2)
    first = nora.refresh_token
    assert (await nora.refresh()).status_code == 200
    await nora.record(1)
    assert (await nora.ask("POST", "/v1/auth/logout", token=nora.token)).status_code == 204
    assert (await nora.ask("GET", "/v1/sync/status", token=nora.token)).json()["code"] == "session_revoked"
    again = await nora.ask("POST", "/v1/auth/refresh", {"refresh_token": first})
    assert again.json()["code"] == "session_revoked"
    told = await events(alone, "user_added", "code_made", "enrolled", "login", "refresh", "logout")
    assert [entry["event"] for entry in told][:7] == [
        "user_added", "user_added", "code_made", "enrolled", "login", "refresh", "logout",
    ]  # fmt: skip


async def test_a_code_is_good_once_and_guessing_is_locked_out(alone: Box) -> None:
    """The same key gets the same answer again, another none; after ten wrong codes their address has to wait.

    A hundred from anywhere, and the whole clinic waits, until somebody makes a code.
    """
    made = await alone.running.doors.pairing.pair(PairRequest())
    key = Ed25519PrivateKey.generate()
    first = await enrol(alone, made.code, key)
    assert (await enrol(alone, made.code, key)).json() == first.json()
    assert (await enrol(alone, made.code, Ed25519PrivateKey.generate())).json()["code"] == "code_invalid"
    wrong = [await enrol(alone, "AAAA2222", Ed25519PrivateKey.generate()) for _ in range(12)]
    assert [answer.status_code for answer in wrong][-2:] == [429, 429]
    assert wrong[-1].headers["Retry-After"]
    accounts = LoneAccounts(office_of(alone), alone.running.storage.registry, cast(ByToken, None), lambda: "")
    request = EnrolRequest(code="AAAA2222", name="x", public_key="A" * 43)
    codes = []
    for number in range(95):
        with pytest.raises((CodeInvalid, RateLimited)) as refused:
            await accounts.enrol(request, Origin.of(f"192.0.2.{number}"))
        codes.append(refused.value.code)
    assert codes[0] == "code_invalid"
    assert codes[-1] == "rate_limited"
    await add_user(alone, ADA, "admin")
    await clear_addresses(alone)
    noted = [entry["event"] for entry in await events(alone, "enrol_refused", "locked_out")]
    assert noted.count("enrol_refused") >= 100
    assert noted.count("locked_out") == 2


async def clear_addresses(box: Box) -> None:
    """As if the tests' own address had waited."""
    accounts = await office_of(box).accounts()
    await accounts.authority.decide(lambda tx: tx.rows("DELETE FROM attempt WHERE subject LIKE 'codes:%'"))


async def test_administrators_make_codes_and_no_others(alone: Box) -> None:
    """`POST /v1/codes` is for an administrator, and for devices: a hub alone claims no hubs."""
    await add_user(alone, NORA, "clinician")
    await add_user(alone, ADA, "admin")
    nora, ada = await paired(alone, NORA), await paired(alone, ADA)
    site = alone.running.identity.site_id
    refused = await nora.ask("POST", "/v1/codes", {"for": "device", "site": site}, token=nora.token)
    for_hub = await ada.ask("POST", "/v1/codes", {"for": "hub", "site": site}, token=ada.token)
    assert [refused.status_code, for_hub.status_code] == [403, 403]
    made = await ada.ask("POST", "/v1/codes", {"for": "device", "site": site}, token=ada.token)
    assert (await enrol(alone, made.json()["code"], Ed25519PrivateKey.generate())).status_code == 200


async def test_wrong_passwords_wait(alone: Box) -> None:
    """Five wrong ones, and the right one waits too; an unknown address is answered alike."""
    await add_user(alone, NORA, "clinician")
    nora = await paired(alone)
    body = {"email": NORA, "password": "wrong" * 4, "device_id": nora.device_id}
    unknown = await nora.ask("POST", "/v1/auth/login", body | {"email": "nobody@clinic.example"})
    codes = [(await nora.ask("POST", "/v1/auth/login", body)).json()["code"] for _ in range(6)]
    assert {unknown.json()["code"], *codes[:4]} == {"credentials_invalid"}
    assert (await nora.ask("POST", "/v1/auth/login", body | {"password": PASSWORD})).status_code == 429


async def test_a_hub_of_tokens_alone_has_no_accounts(alone: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of them is opened where `medxz-hub token` is all that is asked for."""

    async def opened(self: Office) -> Accounts:
        raise AssertionError("accounts were opened")

    monkeypatch.setattr(office.Office, "_open", opened)
    await by_token(alone)
    await alone.stop()
    await alone.start()
    tablet = await by_token(alone)
    assert (await tablet.ask("POST", "/v1/auth/logout", token=tablet.token)).status_code == 204
    assert await alone.running.storage.registry.get_secret(FOUNDED) is None


async def by_token(box: Box, **wanted: Any) -> Tablet:
    from hub.desk import desk_of

    running = box.running
    tablet = Tablet(box, running.identity.clinic_id, IDS.uuid7(), IDS.uuid7())
    desk = desk_of(running.storage, running.identity, running.doors.office)
    asked = {"user": tablet.user_id, "device": tablet.device_id, "role": "clinician", **wanted}
    tablet.token = (await desk.token(asked))["access_token"]
    await tablet.status()
    return tablet


async def test_who_has_a_token_is_known_to_the_accounts(alone: Box) -> None:
    """Before and after there are accounts; its device takes another id, its user's roles follow the last token."""
    before = await by_token(alone)
    await add_user(alone, NORA, "clinician")
    after = await by_token(alone)
    accounts = await office_of(alone).accounts()
    clinic_id = alone.running.identity.clinic_id
    assert {row.device_id for row in await accounts.devices.list(clinic_id)} == {
        before.device_id,
        after.device_id,
    }
    for tablet in (before, after):
        request = {"name": "copy", "public_key": "B" * 43}
        copied = await tablet.ask("POST", "/v1/enroll", request, token=tablet.token)
        assert copied.status_code == 200, copied.text
        renewed = {"refresh_token": copied.json()["refresh_token"]}
        assert (await tablet.ask("POST", "/v1/auth/refresh", renewed)).status_code == 200
    directory = alone.running.storage.registry.directory
    await by_token(alone, user=after.user_id, role="front_desk")
    assert alone.running.storage.registry.directory.users[after.user_id].roles == {"front_desk"}
    nora = next(user for user in directory.users.values() if user.email == NORA)
    await by_token(alone, user=nora.user_id, role="front_desk")
    assert alone.running.storage.registry.directory.users[nora.user_id].roles == {"clinician"}


async def test_what_was_decided_counts_after_a_power_cut(alone: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """Decided in the accounts and cut off before the registry heard of it: at the next start it has."""
    await add_user(alone, NORA, "clinician")
    nora = await paired(alone, NORA)
    accounts = await office_of(alone).accounts()

    async def cut(self: object, _known: Directory) -> None:
        raise asyncio.CancelledError

    registry = type(alone.running.storage.registry)
    with monkeypatch.context() as power, pytest.raises(asyncio.CancelledError):
        power.setattr(registry, "learn", cut)
        await accounts.devices.revoke(nora.clinic_id, nora.device_id)
    await nora.status()
    await alone.stop()
    await alone.start()
    nora.box = alone
    refused = await nora.ask("GET", "/v1/sync/status", token=nora.token)
    assert refused.json()["code"] == "session_revoked"


async def claimed(alone: Box, relay: Relay) -> None:
    await alone.stop()
    relay.clinic_id = (await alone.claim(relay, "North"))["clinic_id"]
    await alone.start()
    await until(lambda: alone.is_online, "that it runs with its cloud")


async def test_a_wrong_year_that_is_mended_costs_nobody_their_session(
    alone: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who plays time server sets the box ahead: what is dropped meanwhile would be gone when it is set right."""
    await add_user(alone, NORA, "clinician")
    tablet = await paired(alone, NORA)
    clock = office_of(alone)._storage.clock
    await clock.keep()

    class Leapt(SystemClock):
        def now_ms(self) -> int:
            return super().now_ms() + 60 * 86_400_000

        async def sleep(self, seconds: float) -> None:
            raise TimeoutError

    with monkeypatch.context() as wrong:
        wrong.setattr(clock, "_machine", Leapt())
        assert clock.standing().is_trusted
        with pytest.raises(TimeoutError):
            await office_of(alone).keep()
    assert (await tablet.refresh()).status_code == 200


async def test_sessions_and_passwords_come_along(alone: Box, relay: Relay) -> None:
    """After the claim the tablet's session is renewed by the cloud, and its person logs in with the password of then."""
    await add_user(alone, NORA, "clinician")
    nora = await paired(alone, NORA)
    assert (await nora.refresh()).status_code == 200
    stale = nora.refresh_token
    ended = await paired(alone, NORA)
    await ended.ask("POST", "/v1/auth/logout", token=ended.token)
    await nora.record(3)
    await claimed(alone, relay)
    assert (await nora.refresh()).status_code == 200
    assert issuer(nora.token) == relay.running.store.server.server_id
    assert (await nora.refresh()).status_code == 200
    await nora.record(1)
    await nora.login(NORA)
    await until(lambda: alone.backlog == 0, "everything in the cloud")
    sessions = {row.session_id: row for row in await relay.admin.sessions.list(relay.clinic_id)}
    assert len(sessions) == 2, "the one that was ended is left behind"
    again = await nora.ask("POST", "/v1/auth/refresh", {"refresh_token": stale})
    assert again.json()["code"] == "session_revoked", (
        "who shows a token that was followed up ends the session"
    )


def issuer(token: str) -> str:
    import json

    body = token.split(".")[1]
    return str(json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))["iss"])


async def test_an_answer_that_was_lost_before_the_claim_costs_no_session(alone: Box, relay: Relay) -> None:
    """A tablet that never got its next refresh token shows the last one to the cloud, and is renewed."""
    await add_user(alone, NORA, "clinician")
    nora = await paired(alone, NORA)
    lost = await nora.ask("POST", "/v1/auth/refresh", {"refresh_token": nora.refresh_token})
    assert lost.status_code == 200
    await claimed(alone, relay)
    assert (await nora.refresh()).status_code == 200


async def test_a_session_goes_on_though_the_internet_ends_with_the_claim(alone: Box, relay: Relay) -> None:
    """The cloud stood for the session when the hub was claimed: cut off right after, the hub renews it."""
    await add_user(alone, NORA, "clinician")
    nora = await paired(alone, NORA)
    await claimed(alone, relay)
    await relay.stop()
    renewed = await nora.refresh()
    assert renewed.status_code == 200, renewed.text
    assert renewed.json()["refresh_token"] is None
    await nora.record(1)


async def test_a_person_whom_the_clinic_knew_keeps_its_password(alone: Box, relay: Relay) -> None:
    """Ada is the clinic's administrator and a clinician at the hub: her session there does not become one of hers here."""
    await add_user(alone, ADA, "clinician")
    ada = await paired(alone, ADA)
    await claimed(alone, relay)
    assert (await ada.refresh()).json()["code"] == "token_invalid"
    await ada.login(ADA)
    assert set(alone.running.storage.registry.directory.users[ada.user_id].roles) == {"admin", "clinician"}


async def test_a_claimed_hub_keeps_no_passwords(alone: Box, relay: Relay) -> None:
    """Once the cloud decides, nothing of the accounts is left on the hub but the audit, which holds."""
    await add_user(alone, NORA, "clinician")
    await paired(alone, NORA)
    await claimed(alone, relay)
    await alone.stop()
    from hub.storage import open_storage
    from medxz.program.keys import read_key

    places = alone.settings.places
    async with open_storage(places, lambda: read_key(places.key_file, {}), SystemClock()) as storage:
        transactions = await storage.open_audit()

        async def counted(tx: Tx) -> list[int]:
            tables = ("clinic_user", "session", "refresh_token", "code", "device", "clinic")
            return [(await tx.rows(f"SELECT count(*) FROM {table}"))[0][0] for table in tables]

        assert await transactions.read(counted) == [0] * 6
        assert (await transactions.read(lambda tx: tx.rows("SELECT count(*) FROM audit")))[0][0] > 0
        await transactions.close()


async def test_more_than_a_claim_takes_is_told_as_that(alone: Box, relay: Relay) -> None:
    """A hub with more devices than may be brought is refused in words, and goes on alone."""
    many = {device_id: DeviceEntry(device_id, "full") for device_id in _ids(limits.ADOPTED_MAX + 1)}
    await alone.running.storage.registry.learn(Directory(devices=many))
    await alone.stop()
    with pytest.raises(CommandFailed, match="2,001 devices and 0 people; a claim takes 2,000") as refused:
        await alone.claim(relay, "North")
    assert refused.value.code == "too_much"
    await alone.start()


def _ids(count: int) -> list[str]:
    return [IDS.uuid7() for _ in range(count)]


async def test_commands_of_a_stopped_hub_do_the_same(alone: Box, tmp_path: Path) -> None:
    """People and devices are decided about while the hub does not run, and it knows when it does."""
    from hub.desk import answer_stopped

    await add_user(alone, NORA, "clinician")
    nora = await paired(alone, NORA)
    await alone.stop()
    places = alone.settings.places
    listed = await asyncio.to_thread(answer_stopped, places, {}, "device_list", {})
    assert [row["device_id"] for row in listed["devices"]] == [nora.device_id]
    await asyncio.to_thread(answer_stopped, places, {}, "user_disable", {"user": NORA, "disabled": True})
    await alone.start()
    nora.box = alone
    assert (await nora.ask("GET", "/v1/sync/status", token=nora.token)).json()["code"] == "session_revoked"
