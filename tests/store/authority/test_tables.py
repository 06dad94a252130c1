"""Clinics, people, devices, sessions, codes, hubs, keys and configuration, on each database."""

from __future__ import annotations

import pytest

from medxz.errors import StoreKeyWrong
from medxz.store.authority import (
    attempts,
    clinics,
    codes,
    config,
    devices,
    forgetting,
    hubs,
    secrets,
    server,
    sessions,
    users,
)
from medxz.store.authority.base import Transactions, Tx
from medxz.store.authority.clinics import Site
from medxz.store.authority.codes import CodeRow
from medxz.store.authority.devices import DeviceRow
from medxz.store.authority.hubs import HubRow
from medxz.store.authority.secrets import Seal, ServerKey
from medxz.store.authority.sessions import SessionRow
from medxz.store.authority.users import UserRow
from tests.making import CLINIC, DEVICE, NOON_MS, OTHER_DEVICE, USER, fixed_id

OTHER_CLINIC = fixed_id(0xC2)
SITE = fixed_id(0x51)
HUB = fixed_id(0xB1)
SESSION = fixed_id(0x5E)
SEAL = Seal(b"s" * 32)
ANNA = UserRow(USER, "Anna@Clinic.example", "Anna", frozenset({"clinician", "admin"}), NOON_MS)
TABLET = DeviceRow(DEVICE, SITE, "Tablet 1", "full", NOON_MS)
BOX = HubRow(HUB, SITE, "Box", "PUBLIC KEY", "CERTIFICATE", NOON_MS)


async def two_clinics(tx: Tx) -> None:
    for clinic_id in (CLINIC, OTHER_CLINIC):
        assert await clinics.add(tx, clinic_id, "Clinic", NOON_MS)


@pytest.fixture
async def made(transactions: Transactions) -> Transactions:
    await transactions.run(two_clinics)
    return transactions


async def revisions(transactions: Transactions) -> tuple[int, int]:
    found = {clinic.clinic_id: clinic.revision for clinic in await transactions.read(clinics.everyone)}
    return found[CLINIC], found[OTHER_CLINIC]


async def test_a_clinic_is_made_once(made: Transactions) -> None:
    """A second clinic of the same id is refused, and leaves the first one's name."""
    assert await made.run(lambda tx: clinics.add(tx, CLINIC, "Other", NOON_MS)) is False
    found = await made.read(lambda tx: clinics.get(tx, CLINIC))
    assert found is not None
    assert (found.name, found.revision, found.made_at_ms) == ("Clinic", 1, NOON_MS)


async def test_sites(made: Transactions) -> None:
    """A site is found by id or name, and only in its own clinic; a name stands for one site of a clinic."""

    async def use(tx: Tx) -> None:
        assert await clinics.add_site(tx, CLINIC, SITE, "Valley", NOON_MS)
        assert not await clinics.add_site(tx, CLINIC, fixed_id(0x52), "Valley", NOON_MS)
        assert await clinics.add_site(tx, OTHER_CLINIC, fixed_id(0x53), "Valley", NOON_MS)
        assert await clinics.find_site(tx, CLINIC, SITE) == Site(SITE, "Valley")
        assert await clinics.find_site(tx, CLINIC, "Valley") == Site(SITE, "Valley")
        assert await clinics.find_site(tx, OTHER_CLINIC, SITE) is None

    await made.run(use)
    assert await revisions(made) == (2, 2)


async def test_users(made: Transactions) -> None:
    """An address is found whatever its case, stands for one person of a clinic, and says nothing of other clinics."""

    async def use(tx: Tx) -> None:
        assert await users.add(tx, CLINIC, ANNA)
        assert not await users.add(
            tx, CLINIC, UserRow(fixed_id(9), "ANNA@clinic.example ", "B", frozenset(), 1)
        )
        found = await users.find(tx, CLINIC, "anna@CLINIC.example")
        assert found is not None
        assert (found.user_id, found.email, found.roles) == (USER, "anna@clinic.example", ANNA.roles)
        assert await users.find(tx, OTHER_CLINIC, ANNA.email) is None
        await users.set_disabled(tx, CLINIC, USER, disabled=True)
        await users.set_roles(tx, CLINIC, USER, [])
        await users.set_password_hash(tx, CLINIC, USER, "hash")
        found = await users.get(tx, CLINIC, USER)
        assert found is not None
        assert (found.disabled, found.roles, found.password_hash) == (True, frozenset(), "hash")

    await made.run(use)
    assert await revisions(made) == (4, 1)


async def test_a_one_time_password_is_good_once(made: Transactions) -> None:
    """A counter that was used, or passed over, is not taken again; a new secret begins anew."""

    async def use(tx: Tx) -> None:
        await users.add(tx, CLINIC, ANNA)
        await users.set_totp(tx, CLINIC, USER, b"sealed")
        assert await users.take_totp_counter(tx, CLINIC, USER, 7)
        assert not await users.take_totp_counter(tx, CLINIC, USER, 7)
        assert not await users.take_totp_counter(tx, CLINIC, USER, 6)
        assert await users.take_totp_counter(tx, CLINIC, USER, 8)
        found = await users.get(tx, CLINIC, USER)
        assert found is not None
        assert found.has_totp
        assert await users.get_totp(tx, CLINIC, USER) == b"sealed"
        await users.set_totp(tx, CLINIC, USER, b"another")
        assert await users.take_totp_counter(tx, CLINIC, USER, 7)

    await made.run(use)


async def test_devices(made: Transactions) -> None:
    """A device keeps all its keys in their order, and its clinics are found by its id."""

    async def use(tx: Tx) -> None:
        assert await devices.add(tx, CLINIC, TABLET)
        assert not await devices.add(tx, CLINIC, TABLET)
        assert await devices.add(tx, OTHER_CLINIC, TABLET)
        for at_ms, key in enumerate((b"z", b"a", b"z")):
            await devices.add_key(tx, CLINIC, DEVICE, key, NOON_MS + at_ms)
        assert await devices.keys(tx, CLINIC, DEVICE) == [b"z", b"a"]
        assert await devices.keys(tx, OTHER_CLINIC, DEVICE) == []
        assert await devices.clinics_of(tx, DEVICE) == [CLINIC, OTHER_CLINIC]
        assert await devices.clinics_of(tx, OTHER_DEVICE) == []
        assert await devices.revoke(tx, CLINIC, DEVICE)
        assert not await devices.revoke(tx, CLINIC, OTHER_DEVICE)
        assert [device.revoked for device in await devices.everyone(tx, CLINIC)] == [True]
        assert [device.revoked for device in await devices.everyone(tx, OTHER_CLINIC)] == [False]

    await made.run(use)


async def begin_session(tx: Tx) -> None:
    await users.add(tx, CLINIC, ANNA)
    await devices.add(tx, CLINIC, TABLET)
    await sessions.add(tx, CLINIC, SessionRow(SESSION, USER, DEVICE, NOON_MS, NOON_MS), b"1")


async def rotated(made: Transactions, *pairs: str) -> list[str]:
    """What became of uses, each `token>successor`."""

    async def use(tx: Tx) -> list[str]:
        told: list[str] = []
        for pair in pairs:
            token, _, successor = pair.partition(">")
            told.append(
                await sessions.rotate(
                    tx, CLINIC, SESSION, token.encode(), successor.encode(), NOON_MS + len(told)
                )
            )
        return told

    return list(await made.run(use))


async def test_a_token_is_good_until_its_successor_was_used(made: Transactions) -> None:
    """Whoever lost an answer asks again with the old token; once a successor was used, that is a theft."""
    await made.run(begin_session)
    assert await rotated(made, "1>2", "1>3", "1>4", "3>5") == ["rotated", "again", "again", "rotated"]
    assert await rotated(made, "1>x") == ["reused"]
    assert await rotated(made, "2>x", "4>x") == ["reused", "reused"]
    assert await rotated(made, "5>6", "6>7", "3>x", "5>x") == ["rotated", "rotated", "reused", "reused"]
    assert await rotated(made, "nobody's>x") == ["unknown"]


async def test_a_session_makes_an_author(made: Transactions) -> None:
    """Who has had a session on a device stays an author of its ops, whatever becomes of the session."""
    await made.run(begin_session)
    await made.run(lambda tx: sessions.forget(tx, CLINIC, NOON_MS + 1))
    assert await made.read(lambda tx: sessions.everyone(tx, CLINIC)) == []
    assert await made.read(lambda tx: devices.authors_of_all(tx, CLINIC)) == [(DEVICE, USER)]
    assert await rotated(made, "1>2") == ["unknown"]


async def test_sessions_are_revoked(made: Transactions) -> None:
    """Sessions end by themselves, by user and by device, each once, and only in their clinic."""
    await made.run(begin_session)
    before, _ = await revisions(made)
    assert await made.run(lambda tx: sessions.revoke_of_user(tx, OTHER_CLINIC, USER)) == []
    assert await made.run(lambda tx: sessions.revoke_of_user(tx, CLINIC, USER)) == [SESSION]
    assert await made.run(lambda tx: sessions.revoke_of_device(tx, CLINIC, DEVICE)) == []
    assert await made.run(lambda tx: sessions.revoke(tx, CLINIC, SESSION)) is False
    assert await made.read(lambda tx: sessions.revoked(tx, CLINIC)) == [SESSION]
    assert await revisions(made) == (before + 1, 1)


async def test_a_code_is_used_once(made: Transactions) -> None:
    """A code is one clinic's, is taken by one key, and remembers which and for what."""
    code = CodeRow("device", SITE, "full", None, USER, NOON_MS, NOON_MS + 600_000)

    async def use(tx: Tx) -> CodeRow | None:
        assert await codes.add(tx, CLINIC, b"hash", code)
        assert not await codes.add(tx, OTHER_CLINIC, b"hash", code)
        assert await codes.clinic_of(tx, b"hash") == CLINIC
        assert await codes.get(tx, CLINIC, b"hash") == code
        assert await codes.get(tx, OTHER_CLINIC, b"hash") is None
        assert not await codes.take(tx, OTHER_CLINIC, b"hash", b"key", DEVICE, NOON_MS)
        assert await codes.take(tx, CLINIC, b"hash", b"key", DEVICE, NOON_MS + 5)
        assert not await codes.take(tx, CLINIC, b"hash", b"other", OTHER_DEVICE, NOON_MS + 6)
        found = await codes.get(tx, CLINIC, b"hash")
        await codes.forget(tx, CLINIC, NOON_MS + 600_001)
        assert await codes.get(tx, CLINIC, b"hash") is None
        assert await codes.clinic_of(tx, b"hash") is None
        return found

    found = await made.run(use)
    assert found is not None
    assert (found.used_by_key, found.used_as, found.used_at_ms) == (b"key", DEVICE, NOON_MS + 5)


async def test_hubs(made: Transactions) -> None:
    """A hub that is heard of changes the directory only where its address is another."""

    async def use(tx: Tx) -> None:
        assert await hubs.add(tx, CLINIC, BOX)
        assert not await hubs.add(tx, CLINIC, BOX)
        assert await hubs.clinics_of(tx, HUB) == [CLINIC]
        for at_ms in (1, 2):
            await hubs.seen(tx, CLINIC, HUB, at_ms, "https://10.0.0.2:8443")
        await hubs.seen(tx, CLINIC, HUB, 3)
        await hubs.set_certificate(tx, CLINIC, HUB, public_key="NEW KEY", certificate="NEW")

    await made.run(use)
    found = await made.read(lambda tx: hubs.get(tx, CLINIC, HUB))
    assert found == HubRow(
        HUB, SITE, "Box", "NEW KEY", "NEW", NOON_MS, url="https://10.0.0.2:8443", last_seen_ms=3
    )
    assert await revisions(made) == (4, 1)
    assert await made.run(lambda tx: hubs.revoke(tx, CLINIC, HUB))
    assert not await made.run(lambda tx: hubs.revoke(tx, OTHER_CLINIC, HUB))


async def test_secrets_are_sealed(made: Transactions) -> None:
    """The database holds no secret in clear, and one opens only under its key, for its clinic and by its name."""
    await made.run(lambda tx: secrets.put(tx, SEAL, CLINIC, "ca", b"-----PRIVATE-----"))
    assert await made.read(lambda tx: secrets.get(tx, SEAL, CLINIC, "ca")) == b"-----PRIVATE-----"
    assert await made.read(lambda tx: secrets.get(tx, SEAL, OTHER_CLINIC, "ca")) is None
    [(sealed,)] = await made.read(lambda tx: tx.rows("SELECT sealed FROM secret"))
    assert b"PRIVATE" not in sealed
    for wrong in (
        lambda: Seal(b"t" * 32).open(CLINIC, "ca", sealed),
        lambda: SEAL.open(OTHER_CLINIC, "ca", sealed),
        lambda: SEAL.open(CLINIC, "root", sealed),
        lambda: SEAL.open(CLINIC, "ca", sealed[:-1] + bytes([sealed[-1] ^ 1])),
        lambda: SEAL.open(CLINIC, "ca", b""),
    ):
        with pytest.raises(StoreKeyWrong):
            wrong()


async def test_a_secret_that_is_deleted_is_gone(made: Transactions) -> None:
    """That one, of that clinic."""
    for name in ("ca", "root"):
        await made.run(lambda tx, name=name: secrets.put(tx, SEAL, CLINIC, name, b"s"))  # type: ignore[misc]
    for clinic_id, left in ((OTHER_CLINIC, b"s"), (CLINIC, None)):
        await made.run(lambda tx, clinic_id=clinic_id: secrets.delete(tx, clinic_id, "root"))  # type: ignore[misc]
        assert await made.read(lambda tx: secrets.get(tx, SEAL, CLINIC, "root")) == left
    assert await made.read(lambda tx: secrets.get(tx, SEAL, CLINIC, "ca")) == b"s"


async def test_server_keys(made: Transactions) -> None:
    """Keys that sign come back in the order in which they were made, with their states."""

    async def use(tx: Tx) -> list[ServerKey]:
        await secrets.add_key(tx, SEAL, ServerKey("b", "current", b"p1", b"s1", 1, 1))
        await secrets.add_key(tx, SEAL, ServerKey("a", "next", b"p2", b"s2", 2, 2))
        await secrets.set_key_state(tx, "b", "old", 3)
        return await secrets.keys(tx, SEAL)

    assert await made.run(use) == [
        ServerKey("b", "old", b"p1", b"s1", 1, 3),
        ServerKey("a", "next", b"p2", b"s2", 2, 2),
    ]


async def test_configuration(made: Transactions) -> None:
    """What was decided comes back as it was given, and None takes it back."""

    async def use(tx: Tx) -> dict[str, object]:
        await config.put(tx, CLINIC, "routing", {"admin": ["cloud"]})
        await config.put(tx, CLINIC, "keep_own_days", 20)
        await config.put(tx, CLINIC, "keep_own_days", 30)
        await config.put(tx, CLINIC, "require_signed_ops", value=True)
        await config.put(tx, CLINIC, "require_signed_ops", None)
        return await config.everything(tx, CLINIC)

    assert await made.run(use) == {"routing": {"admin": ["cloud"]}, "keep_own_days": 30}
    assert await made.read(lambda tx: config.everything(tx, OTHER_CLINIC)) == {}


async def test_failures_are_counted_in_a_window(made: Transactions) -> None:
    """Failures count within their window; a lock lasts as long as it was said, through others' windows."""

    async def use(tx: Tx) -> None:
        for count in (1, 2, 3):
            found = await attempts.fail(tx, CLINIC, "anna", NOON_MS + count, 100)
            assert (found.failures, found.window_ends_ms) == (count, NOON_MS + 101)
        assert (await attempts.get(tx, OTHER_CLINIC, "anna", NOON_MS)).failures == 0
        assert (await attempts.get(tx, CLINIC, "anna", NOON_MS + 101)).failures == 0
        await attempts.lock(tx, CLINIC, "anna", NOON_MS + 1_000)
        found = await attempts.fail(tx, CLINIC, "anna", NOON_MS + 150, 100)
        assert (found.failures, found.locked_until_ms) == (1, NOON_MS + 1_000)
        await attempts.forget(tx, CLINIC, NOON_MS + 999)
        assert (await attempts.get(tx, CLINIC, "anna", NOON_MS + 999)).locked_until_ms == NOON_MS + 1_000
        await attempts.clear(tx, CLINIC, "anna")
        assert await attempts.get(tx, CLINIC, "anna", NOON_MS) == attempts.Attempts()

    await made.run(use)


async def test_a_proof_is_shown_once(made: Transactions) -> None:
    """The same proof is taken once by each clinic, for as long as it would be good."""

    async def use(tx: Tx) -> None:
        assert await attempts.show_once(tx, CLINIC, HUB, "jti", NOON_MS)
        assert not await attempts.show_once(tx, CLINIC, HUB, "jti", NOON_MS)
        assert await attempts.show_once(tx, OTHER_CLINIC, HUB, "jti", NOON_MS)
        await attempts.forget(tx, CLINIC, NOON_MS + 1)
        assert await attempts.show_once(tx, CLINIC, HUB, "jti", NOON_MS)

    await made.run(use)


async def test_the_server_is_made_once(made: Transactions) -> None:
    """The cloud's id stays what it was first; its epoch is begun anew."""
    assert await made.read(server.get) is None
    assert await made.run(lambda tx: server.make(tx, "id", "epoch")) == server.Server("id", "epoch")
    assert await made.run(lambda tx: server.make(tx, "other", "other")) == server.Server("id", "epoch")
    await made.run(lambda tx: server.begin_epoch(tx, "second"))
    assert await made.read(server.get) == server.Server("id", "second")


async def test_an_empty_clinic(made: Transactions) -> None:
    """A clinic is empty until a device or a hub was let in; people and sites leave it so."""

    async def use(tx: Tx) -> None:
        await users.add(tx, CLINIC, ANNA)
        assert await clinics.is_empty(tx, CLINIC)
        await hubs.add(tx, CLINIC, BOX)
        assert not await clinics.is_empty(tx, CLINIC)
        await devices.add(tx, OTHER_CLINIC, TABLET)
        assert not await clinics.is_empty(tx, OTHER_CLINIC)

    await made.run(use)


async def test_what_is_over_is_dropped(made: Transactions) -> None:
    """Sessions, codes, failures and proofs that are over are dropped in every clinic, and nothing that counts is."""
    code = CodeRow("device", SITE, "full", None, USER, NOON_MS, NOON_MS + 600_000)
    day_ms = 24 * 3_600_000

    async def fill(tx: Tx) -> None:
        await begin_session(tx)
        await codes.add(tx, OTHER_CLINIC, b"hash", code)
        await attempts.fail(tx, attempts.NO_CLINIC, "address", NOON_MS, 1_000)
        await attempts.show_once(tx, CLINIC, HUB, "jti", NOON_MS + 60_000)

    async def rows(tx: Tx) -> list[int]:
        names = ("session", "refresh_token", "code", "code_clinic", "attempt", "proof", "device_author")
        counts = [await tx.rows(f"SELECT count(*) FROM {name}") for name in names]
        return [int(found[0][0]) for found in counts]

    await made.run(fill)
    await forgetting.forget(made, NOON_MS + 999, 30 * day_ms)
    assert await made.read(rows) == [1, 1, 1, 1, 1, 1, 1]
    await forgetting.forget(made, NOON_MS + 60_001, 30 * day_ms)
    assert await made.read(rows) == [1, 1, 1, 1, 0, 0, 1]
    await forgetting.forget(made, NOON_MS + 8 * day_ms, 30 * day_ms)
    assert await made.read(rows) == [1, 1, 0, 0, 0, 0, 1]
    await forgetting.forget(made, NOON_MS + 30 * day_ms + 1, 30 * day_ms)
    assert await made.read(rows) == [0, 0, 0, 0, 0, 0, 1]
