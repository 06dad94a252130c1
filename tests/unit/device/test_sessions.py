"""Enrolment, logging in, and a session that goes on by itself, through crashes and cut lines."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from medxz.device.device import Device
from medxz.device.reach import context_of
from medxz.device.renewal import RENEW_BEFORE_MS, TRY_AGAIN_MS, Renewal
from medxz.device.store import DeviceStore, logs
from medxz.device.store.identity import change_identity
from medxz.errors import (
    ConfigurationError,
    LoginNeeded,
    OpInvalid,
    PeerRefused,
    PeerUnreachable,
    PeerUntrusted,
    StoreError,
)
from medxz.ids import SeededIds
from medxz.replicate import LogId
from medxz.trust import certificates
from medxz.trust.certificates import ca_fingerprint
from medxz.trust.proofs import verify_proof
from medxz.work import InlineWorker
from tests.making import CLINIC, DEVICE, NOON_MS, USER, fixed_id
from tests.unit.device.door import OTHER_USER, Door, enrolled, machine
from tests.unit.device.scripted import KEY, URL

HUB_LOG = LogId(fixed_id(0xB1), fixed_id(0xB2))
CLOUD_LOG = LogId(fixed_id(0xB3), fixed_id(0xB4))


@pytest.fixture
def door() -> Door:
    return Door()


def renewal_of(store: DeviceStore, door: Door) -> Renewal:
    async def ask(work):
        return await work(door)

    return Renewal(store, InlineWorker(), door.clock, SeededIds(door.clock, 6), ask)


async def logged_in(folder: Path, door: Door) -> DeviceStore:
    device = await enrolled(folder, door)
    await device.login("nora@clinic.example", "right")
    device.close()
    return DeviceStore(folder, KEY, door.clock)


# ------------------------------------------------------------------------------------------- enrolment


async def test_from_a_code_to_a_sync(tmp_path: Path, door: Door) -> None:
    """A device enrols, nobody is logged in; after a login it records as that user and comes into step."""
    async with await enrolled(tmp_path / "d", door) as device:
        status = await device.status()
        assert (status.device_id, status.clinic_id, status.user_id) == (DEVICE, CLINIC, None)
        with pytest.raises(OpInvalid, match="nobody has logged in"):
            await device.record("Patient", {"active": True})
        with pytest.raises(LoginNeeded):
            await device.sync()
        who = await device.login("nora@clinic.example", "right")
        assert (who.user_id, who.clinic_name, who.roles) == (USER, "Riverside", ("clinician",))
        await device.record("Patient", {"active": True})
        assert (await device.sync()).done.accepted == 1
    assert door.log[0].user_id == USER


async def test_an_enrolment_whose_answer_is_lost(tmp_path: Path, door: Door) -> None:
    """The key is durable before it is sent: asked again, after a crash too, the code gives the same device."""
    door.lose_answers = 1
    with pytest.raises(PeerUnreachable):
        await enrolled(tmp_path / "d", door)
    with pytest.raises(StoreError, match="not finished"):
        Device.open(tmp_path / "d", key=KEY, machine=machine(door))
    async with await enrolled(tmp_path / "d", door) as device:
        assert (await device.status()).device_id == DEVICE
        key = device._store.identity().key.public_key().public_bytes_raw()
    assert door.codes["CODE"] == base64.urlsafe_b64encode(key).rstrip(b"=").decode()


async def test_a_store_enrols_once(tmp_path: Path, door: Door) -> None:
    """A store that is a device already is not made another one."""
    (await enrolled(tmp_path / "d", door)).close()
    door.codes["CODE"] = ""
    with pytest.raises(ConfigurationError, match="already"):
        await enrolled(tmp_path / "d", door)
    assert door.codes["CODE"] == ""


async def test_a_server_of_another_clinic_than_the_qr_says(tmp_path: Path, door: Door) -> None:
    """An answer without the CA of the fingerprint that the QR names makes no device."""
    roots = [certificates.make_root(fixed_id(number), NOON_MS) for number in (1, 2)]
    mine, others = (ca_fingerprint(root.certificate) for root in roots)
    door.ca = roots[0].certificate_pem.decode()
    qr = f"{URL}/#c=CODE&fp={others}"
    with pytest.raises(PeerUntrusted):
        await Device.enrol(tmp_path / "d", key=KEY, code=qr, machine=machine(door))
    qr = f"{URL}/#c=CODE&fp={mine}"
    async with await Device.enrol(tmp_path / "d", key=KEY, code=qr, machine=machine(door)) as device:
        assert (await device.status()).target == URL


@pytest.mark.parametrize(
    ("code", "server", "fingerprint"),
    [
        ("CODE", None, None),
        ("https://hub/#fp=" + "a" * 64, None, None),
        ("CODE", "hub", None),
        ("CODE", URL, "a" * 63),
        ("https://hub/#c=C&fp=" + "a" * 64, None, "b" * 64),
        ("https://hub/#c=C&fp=" + "a" * 64, None, "b" * 16),
        ("http://hub/#c=C&fp=" + "a" * 64, None, None),
        ("CODE", "http://192.0.2.1:8443", None),
    ],
    ids=[
        "no-server",
        "no-code",
        "no-address",
        "short-fp",
        "two-fps",
        "other-characters",
        "plain-qr",
        "plain-server",
    ],
)
async def test_an_invitation_that_is_none(
    tmp_path: Path, code: str, server: str | None, fingerprint: str | None
) -> None:
    """What can't be an invitation is refused before anything is made or asked."""
    with pytest.raises(ConfigurationError):
        await Device.enrol(tmp_path / "d", key=KEY, code=code, server=server, fingerprint=fingerprint)
    assert not (tmp_path / "d").exists()


# -------------------------------------------------------------------------------------------- sessions


async def test_who_logged_in_last_is_the_author(tmp_path: Path, door: Door) -> None:
    """Two people use a device in turn: each is the author of what was recorded in that turn, and all of it travels."""
    async with await enrolled(tmp_path / "d", door) as device:
        await device.login("nora@clinic.example", "right")
        await device.record("Patient", {"active": True})
        await device.login("dan@clinic.example", "right")
        await device.record("Patient", {"active": False})
        with pytest.raises(PeerRefused, match="credentials_invalid"):
            await device.login("nora@clinic.example", "wrong")
        await device.record("Patient", {"active": True})
        await device.sync()
        assert [op.user_id for op in door.log] == [USER, OTHER_USER, OTHER_USER]
        assert await device.logout()
        assert (await device.status()).email is None
        assert await device.verify_audit() >= 7
    assert door.asked[-1] == "logout refresh 0"


async def test_logging_out_where_nobody_hears_it(tmp_path: Path, door: Door) -> None:
    """A logout ends the session here even where the server can't be told."""
    async with await enrolled(tmp_path / "d", door) as device:
        await device.login("nora@clinic.example", "right")
        door.reachable = False
        assert not await device.logout()
        with pytest.raises(LoginNeeded):
            await device.sync()


async def test_a_session_goes_on_by_itself(tmp_path: Path, door: Door) -> None:
    """A token is renewed before it ends, once for however many ask at a time, and the successor is durable."""
    store = await logged_in(tmp_path / "d", door)
    renewal = renewal_of(store, door)
    first = await renewal.token()
    door.clock.time_ms = door.ends_ms - RENEW_BEFORE_MS - 1
    assert await renewal.token() == first
    door.clock.time_ms += 1
    tokens = await asyncio.gather(*(renewal.token() for _ in range(5)))
    assert set(tokens) == {door.access} != {first}
    assert door.asked == ["refresh 0"]
    assert store.session().refresh_token == "refresh 1"
    store.close()


async def test_a_server_says_that_it_has_ended(tmp_path: Path, door: Door) -> None:
    """Where two clocks disagree the server's word counts, and those who asked with the old token get the new one."""
    store = await logged_in(tmp_path / "d", door)
    renewal = renewal_of(store, door)
    old = await renewal.token()
    assert old is not None
    assert await asyncio.gather(*(renewal.ended(old) for _ in range(3))) == [True] * 3
    assert (door.asked, await renewal.token()) == (["refresh 0"], door.access)
    store.close()


async def test_a_crash_between_the_answer_and_the_disk(tmp_path: Path, door: Door) -> None:
    """The predecessor works until its successor is used, so an answer that never got to the disk costs nothing."""
    store = await logged_in(tmp_path / "d", door)
    door.lose_answers = 2
    for _ in range(2):
        renewal = renewal_of(store, door)
        with pytest.raises(PeerUnreachable):
            await renewal.ended(store.session().access_token)
        store.close()
        store = DeviceStore(tmp_path / "d", KEY, door.clock)
    renewal = renewal_of(store, door)
    assert await renewal.ended(store.session().access_token)
    assert door.asked == ["refresh 0"] * 3
    assert await renewal.ended(store.session().access_token)
    assert not door.revoked
    store.close()


async def test_a_session_that_was_ended(tmp_path: Path, door: Door) -> None:
    """A revoked session is told once and forgotten; its user goes on recording, and a login carries all of it on."""
    async with await enrolled(tmp_path / "d", door) as device:
        await device.login("nora@clinic.example", "right")
        door.revoked = True
        door.clock.time_ms = door.ends_ms
        with pytest.raises(PeerRefused, match="session_revoked"):
            await device._renewal.token()
        with pytest.raises(LoginNeeded):
            await device.sync()
        await device.record("Patient", {"active": True})
        await device.login("nora@clinic.example", "right")
        assert (await device.sync()).done.accepted == 1
    assert door.asked == ["refresh 0"]


async def test_early_renewals_that_fail(tmp_path: Path, door: Door) -> None:
    """While its token is good a device works on without its server's login, asks again now and then, and no oftener."""
    store = await logged_in(tmp_path / "d", door)
    renewal = renewal_of(store, door)
    door.reachable = False
    door.clock.time_ms = door.ends_ms - RENEW_BEFORE_MS
    held = [await renewal.token() for _ in range(3)]
    assert (set(held), len(door.asked)) == ({door.access}, 1)
    door.clock.time_ms += TRY_AGAIN_MS
    await renewal.token()
    assert len(door.asked) == 2
    door.clock.time_ms = door.ends_ms
    with pytest.raises(PeerUnreachable):
        await renewal.token()
    store.close()


async def test_a_hub_without_its_cloud_renews_by_a_proof(tmp_path: Path, door: Door) -> None:
    """503 cloud_required is answered with the last token and a proof of the key; the refresh token stays as it was."""
    store = await logged_in(tmp_path / "d", door)
    renewal = renewal_of(store, door)
    door.has_cloud = False
    before = store.session()
    assert await renewal.ended(before.access_token)
    [proof] = door.proofs
    key = Ed25519PublicKey.from_public_bytes(store.identity().key.public_key().public_bytes_raw())
    assert verify_proof(proof, [key], door.server_id, door.clock).issuer == DEVICE
    after = store.session()
    assert (after.access_token, after.refresh_token) == (door.access, before.refresh_token)
    door.has_cloud = True
    assert await renewal.ended(after.access_token)
    assert door.asked == ["refresh 0", "proof", "refresh 0"]
    store.close()


async def test_a_cloud_is_not_asked_by_proof(tmp_path: Path, door: Door) -> None:
    """A proof is for hubs: elsewhere cloud_required stands."""
    door.kind = "cloud"
    store = await logged_in(tmp_path / "d", door)
    door.has_cloud = False
    with pytest.raises(PeerRefused, match="cloud_required"):
        await renewal_of(store, door).ended(store.session().access_token)
    store.close()


async def test_a_login_during_a_renewal_wins(tmp_path: Path, door: Door) -> None:
    """What a renewal brings after somebody else has logged in is not put in that one's place."""
    store = await logged_in(tmp_path / "d", door)
    before = store.session()
    after_login: Callable[[], None] = lambda: store.log_in(  # noqa: E731
        type(before)(OTHER_USER, "dan@clinic.example", "dans", "dans refresh", None), "a hash"
    )
    door._lose = after_login  # type: ignore[method-assign]
    renewal = renewal_of(store, door)
    assert await renewal.ended(before.access_token)
    assert await renewal.token() == "dans"
    assert store.session().refresh_token == "dans refresh"
    store.close()


async def test_the_clinics_cas_of_now(tmp_path: Path, door: Door) -> None:
    """A CA that the clinic's configuration tells of is trusted before it is needed; none told takes nothing away."""
    old, new = ("-----BEGIN CERTIFICATE-----\nb2xk\n", "-----BEGIN CERTIFICATE-----\nbmV3\n")
    store = await logged_in(tmp_path / "d", door)
    with store._file.transaction() as connection:
        change_identity(connection, tls="hub", ca_pem=old)
    config = await door.config()
    for told, held in (([old], old), ([], old), ([old, new], old + new)):
        store.configure(config.model_copy(update={"ca_certificates": told}), HUB_LOG)
        assert store.identity().ca_pem == held
    store.close()


@pytest.mark.parametrize(("is_given", "tls"), [(False, "hub"), (True, "hub"), (False, "address")])
async def test_the_roots_that_prove_the_cloud(
    tmp_path: Path, door: Door, *, is_given: bool, tls: str
) -> None:
    """Those that a hub of the clinic tells of, and the system's where it tells of none; the cloud itself changes nothing,
    what was given by hand stays, and no hub tells by which roots the cloud is proven that the device was enrolled at.
    """
    root = "-----BEGIN CERTIFICATE-----\nb2xk\n"
    store = await logged_in(tmp_path / "d", door)
    with store._file.transaction() as connection:
        change_identity(
            connection, cloud_cas="given" if is_given else None, cloud_cas_given=int(is_given), tls=tls
        )
        hub, cloud = (logs.get_log(connection, log, URL) for log in (HUB_LOG, CLOUD_LOG))
        logs.put_log(connection, replace(hub, kind="hub"), 1)
        logs.put_log(connection, replace(cloud, kind="cloud"), 1)
    config = await door.config()
    for told, by, held in (([root], HUB_LOG, root), ([], CLOUD_LOG, root), ([], HUB_LOG, None)):
        store.configure(config.model_copy(update={"cloud_ca_certificates": told}), by)
        kept = "given" if is_given else None if tls == "address" else held
        assert store.targets.trust().cloud_cas == kept
    store.close()


async def test_logging_in_at_a_hub_that_was_adopted(tmp_path: Path, door: Door) -> None:
    """A device that had a hub's own token logs in, and goes on taking that hub, though tokens are a cloud's now."""
    hub_id = fixed_id(0xA1)
    root = certificates.make_root(hub_id, NOON_MS)
    token = jwt.encode(
        {"cid": CLINIC, "did": DEVICE, "sub": USER, "iss": hub_id}, "k" * 32, algorithm="HS256"
    )
    device = Device.create(
        tmp_path / "d",
        key=KEY,
        server=URL,
        token=token,
        ca_pem=root.certificate_pem.decode(),
        machine=machine(door),
    )
    async with device:
        assert device._store.identity().tls == "token"
        await device.login("nora@clinic.example", "right")
        assert device._store.identity().tls == "hub"
        await device.logout()
        assert context_of(device._store.identity()) is not None
