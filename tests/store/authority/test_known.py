"""What a process knows of its clinics, and how soon it knows what another one changed."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from medxz import limits
from medxz.clock import SystemClock
from medxz.errors import Forbidden, Overloaded
from medxz.store.authority import clinics, config, devices, hubs, sessions, users
from medxz.store.authority.base import Transactions, Tx
from medxz.store.authority.devices import DeviceRow
from medxz.store.authority.hubs import HubRow
from medxz.store.authority.known import Directories
from medxz.store.authority.sessions import SessionRow
from medxz.store.authority.users import UserRow
from medxz.store.directory import DeviceEntry, HubEntry, User
from medxz.trust.certificates import make_root
from medxz.wire import Target
from tests.making import CLINIC, DEVICE, NOON_MS, USER, HandClock, fixed_id
from tests.store.authority.conftest import Database

OTHER_CLINIC = fixed_id(0xC2)
SITE = fixed_id(0x51)
HUB = fixed_id(0xB1)
SESSION = fixed_id(0x5E)
ANNA = UserRow(USER, "a@b.example", "Anna", frozenset({"admin"}), NOON_MS)
ADOPTED = make_root(HUB, NOON_MS).certificate_pem.decode()
CLOUD = Target(kind="cloud", url="https://cloud.example", server_id=fixed_id(0xCD))

Opens = Callable[[], Awaitable[tuple[Transactions, Directories]]]


async def make_clinics(tx: Tx) -> None:
    for clinic_id in (CLINIC, OTHER_CLINIC):
        await clinics.add(tx, clinic_id, "Clinic", NOON_MS)


@pytest.fixture
async def process(database: Database) -> AsyncIterator[Opens]:
    """Opens what one process has, on a database of two clinics."""
    opened: list[Directories] = []

    async def open_one() -> tuple[Transactions, Directories]:
        transactions = await database.open()
        await transactions.run(make_clinics)
        directories = Directories(transactions, SystemClock(), CLOUD)
        directories.open()
        opened.append(directories)
        return transactions, directories

    yield open_one
    for directories in opened:
        await directories.close()


async def eventually(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not is_so():
            await asyncio.sleep(0.01)


async def fill(tx: Tx) -> None:
    await clinics.add_site(tx, CLINIC, SITE, "Valley", NOON_MS)
    await users.add(tx, CLINIC, ANNA)
    await devices.add(tx, CLINIC, DeviceRow(DEVICE, SITE, "Tablet", "front_desk", NOON_MS))
    await devices.add_key(tx, CLINIC, DEVICE, b"key", NOON_MS)
    await sessions.add(tx, CLINIC, SessionRow(SESSION, USER, DEVICE, NOON_MS, NOON_MS), b"token")
    await sessions.revoke(tx, CLINIC, SESSION)
    await hubs.add(tx, CLINIC, HubRow(HUB, SITE, "Box", "KEY", "CERTIFICATE", NOON_MS))
    await hubs.seen(tx, CLINIC, HUB, NOON_MS, "https://10.0.0.2:8443")
    await clinics.add_certificate(tx, CLINIC, "1", "root", "ROOT", NOON_MS)
    await clinics.add_certificate(tx, CLINIC, "2", "intermediate", "INTERMEDIATE", NOON_MS)
    await clinics.add_certificate(tx, CLINIC, "3", "adopted", ADOPTED, NOON_MS + 1)
    await config.put(tx, CLINIC, "keep_own_days", 20)


async def test_everything_is_known(process: Opens) -> None:
    """All that a clinic's tables say of its directory and configuration is known, and nothing of another clinic's."""
    transactions, directories = await process()
    await transactions.run(fill)
    known = await directories.of(CLINIC)
    directory = known.directory
    assert directory.users == {USER: User(USER, frozenset({"admin"}), name="Anna", email="a@b.example")}
    assert directory.devices == {
        DEVICE: DeviceEntry(
            DEVICE,
            "front_desk",
            public_keys=(b"key",),
            authors=frozenset({USER}),
            name="Tablet",
            site_id=SITE,
        )
    }
    assert directory.sites == {SITE: "Valley"}
    assert directory.revoked_sessions == {SESSION}
    assert directory.hubs == {HUB: HubEntry(HUB, SITE, "Box", b"KEY", url="https://10.0.0.2:8443")}
    assert (known.config.keep_own_days, known.config.name) == (20, "Clinic")
    assert known.config.offline_session_hours == limits.OFFLINE_SESSION_HOURS
    assert known.config.ca_certificates == ("ROOT", ADOPTED)
    assert [target.server_id for target in known.config.targets] == [HUB, CLOUD.server_id]
    assert (await directories.of(OTHER_CLINIC)).directory.devices == {}


async def test_a_clinic_that_is_not_here(process: Opens) -> None:
    """Asking for a clinic that this cloud does not have is forbidden, until it has it."""
    transactions, directories = await process()
    with pytest.raises(Forbidden):
        await directories.of(fixed_id(0xC3))
    await transactions.run(lambda tx: clinics.add(tx, fixed_id(0xC3), "New", NOON_MS))
    assert (await directories.of(fixed_id(0xC3))).config.name == "New"


async def test_a_change_made_here_is_known_at_once(process: Opens) -> None:
    """Whoever made a change finds it known when the transaction returns, as a new object, and others were told."""
    transactions, directories = await process()
    await transactions.run(fill)
    known = await directories.of(CLINIC)
    told: list[str] = []
    directories.on_change(told.append)
    before = known.directory
    await transactions.run(lambda tx: devices.revoke(tx, CLINIC, DEVICE))
    assert known.directory.devices[DEVICE].revoked
    assert not before.devices[DEVICE].revoked
    assert known.directory.revision == before.revision + 1
    assert told == [CLINIC]


async def test_a_change_made_elsewhere_is_known_soon(process: Opens) -> None:
    """What another process changes is known here without anybody asking, and its listeners are told."""
    transactions, _ = await process()
    _, directories = await process()
    known = await directories.of(CLINIC)
    told = asyncio.Event()
    directories.on_change(lambda _: told.set())
    await transactions.run(fill)
    await asyncio.wait_for(told.wait(), 10)
    assert DEVICE in known.directory.devices


async def test_what_nobody_tells_is_found(database: Database, process: Opens) -> None:
    """A change by a process that tells nobody is found by looking."""
    _, directories = await process()
    known = await directories.of(CLINIC)
    silent = await database.open()
    await silent.run(fill)
    await eventually(lambda: DEVICE in known.directory.devices)


async def test_a_hint_is_enough(own_database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On PostgreSQL a change is heard of, though nobody looks for an hour."""
    monkeypatch.setattr(limits, "DIRECTORIES_POLL_S", 3_600)
    database = Database(None, own_database_url)
    writing, reading = await database.open(), await database.open()
    await writing.run(make_clinics)
    told = [Directories(writing, SystemClock()), Directories(reading, SystemClock())]
    try:
        for directories in told:
            directories.open()
        known = await told[1].of(CLINIC)
        await writing.run(fill)
        await eventually(lambda: DEVICE in known.directory.devices)
    finally:
        for directories in told:
            await directories.close()
        await database.close()


async def test_a_database_that_went_back_and_came_as_far_again(database: Database, process: Opens) -> None:
    """A restored directory that is at the same revision again is read anew: who is revoked in it is revoked here."""
    transactions, directories = await process()
    await transactions.run(
        lambda tx: devices.add(tx, CLINIC, DeviceRow(DEVICE, SITE, "Tablet", "full", NOON_MS))
    )
    kept = await transactions.read(
        lambda tx: tx.rows("SELECT revision, nonce FROM clinic WHERE clinic_id = $1", CLINIC)
    )
    await transactions.run(lambda tx: users.add(tx, CLINIC, ANNA))
    known = await directories.of(CLINIC)
    at = known.directory.revision
    assert (set(known.directory.users), known.directory.devices[DEVICE].revoked) == ({USER}, False)

    async def restore_and_revoke(tx: Tx) -> None:
        await tx.rows("DELETE FROM clinic_user WHERE clinic_id = $1", CLINIC)
        await tx.rows("UPDATE clinic SET revision = $2, nonce = $3 WHERE clinic_id = $1", CLINIC, *kept[0])
        await devices.revoke(tx, CLINIC, DEVICE)

    silent = await database.open()
    await silent.run(restore_and_revoke)
    await eventually(lambda: known.directory.devices[DEVICE].revoked)
    assert (known.directory.revision, known.directory.users) == (at, {})


async def test_a_clinic_that_a_restored_database_lacks(database: Database, process: Opens) -> None:
    """Nobody of a clinic is let in that is no longer here, and whoever asks for it is refused."""
    transactions, directories = await process()
    await transactions.run(fill)
    known = await directories.of(CLINIC)
    told = asyncio.Event()
    directories.on_change(lambda _: told.set())
    silent = await database.open()
    await silent.run(lambda tx: tx.rows("DELETE FROM clinic WHERE clinic_id = $1", CLINIC))
    await asyncio.wait_for(told.wait(), 10)
    assert (known.directory.users, known.directory.devices) == ({}, {})
    with pytest.raises(Forbidden):
        await directories.of(CLINIC)


async def test_what_is_used_stays_true(database: Database) -> None:
    """What was let go of, because many clinics are asked for, is still kept up while somebody holds it."""
    transactions = await database.open()
    await transactions.run(make_clinics)
    directories = Directories(transactions, HandClock(), kept_max=1)
    known = await directories.of(CLINIC)
    await directories.of(OTHER_CLINIC)
    assert list(directories._kept) == [OTHER_CLINIC]
    await transactions.run(fill)
    assert DEVICE in known.directory.devices
    assert await directories.of(CLINIC) is known
    del known
    await directories.of(OTHER_CLINIC)
    gc.collect()
    assert list(directories._live) == [OTHER_CLINIC]


class Failing:
    """A database that can't be read for as long as a test says so."""

    def __init__(self, inner: Transactions) -> None:
        self._inner = inner
        self.is_down = False

    def __getattr__(self, name: str):
        return getattr(self._inner, name)

    async def read(self, fn):
        if self.is_down:
            raise Overloaded("down")
        return await self._inner.read(fn)


async def test_a_database_that_is_away(database: Database) -> None:
    """A change that can't be read back is committed all the same, and known once the database can be read."""
    failing = Failing(await database.open())
    await failing.run(make_clinics)
    directories = Directories(failing, SystemClock())
    known = await directories.of(CLINIC)
    directories.open()
    try:
        failing.is_down = True
        await failing.run(fill)
        assert known.directory.devices == {}
        failing.is_down = False
        await eventually(lambda: DEVICE in known.directory.devices)
    finally:
        await directories.close()
