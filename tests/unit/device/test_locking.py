"""A device that is locked: what is refused and what goes on; and whose password opens it, when."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from medxz.device.device import Device
from medxz.device.store import DeviceStore
from medxz.device.store.locks import (
    AUTO_LOCK_MS,
    FREE_TRIES,
    USED_EVERY_MS,
    WAIT_FIRST_MS,
    WAIT_MAX_MS,
    wait_left_ms,
)
from medxz.device.token import TokenClaims
from medxz.errors import (
    ConfigurationError,
    DeviceLocked,
    LoginNeeded,
    PeerRefused,
    PeerUnreachable,
    StoreError,
    UnlockRefused,
)
from tests.making import CLINIC, DEVICE, NOON_MS, OTHER_DEVICE, USER, make_op
from tests.unit.device.door import OTHER_USER, Door, enrolled, machine
from tests.unit.device.scripted import KEY, URL, Tablet

NORA = "nora@clinic.example"
PATIENT = {"resourceType": "Patient", "name": [{"family": "Ott"}]}


@pytest.fixture
def door() -> Door:
    return Door()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "d"


async def in_use(folder: Path, door: Door) -> Device:
    device = await enrolled(folder, door)
    await device.login(NORA, "right")
    return device


def opened(folder: Path, door: Door, *, read_only: bool = False) -> Device:
    return Device.open(folder, key=KEY, machine=machine(door), read_only=read_only, lock_wait_s=0)


def actions(device: Device) -> list[str]:
    with device._store._file.reading() as connection:
        return [row[0] for row in connection.execute("SELECT action FROM audit ORDER BY number")]


async def refusals(device: Device, entity_id: str) -> list[str]:
    """What of reading and recording the lock does not refuse."""
    calls: dict[str, Callable[[], Awaitable[object]]] = {
        "get": lambda: device.get("Patient", entity_id),
        "history": lambda: device.history("Patient", entity_id),
        "heads": lambda: device.heads("Patient", entity_id),
        "list": lambda: device.list("Patient"),
        "of_patient": lambda: device.of_patient(entity_id),
        "search": lambda: device.search("Ott"),
        "conflicts": device.conflicts,
        "conflict": lambda: device.conflict(entity_id),
        "ops": lambda: anext(device.ops()),
        "record": lambda: device.record("Patient", PATIENT),
        "record as another": lambda: device.record("Patient", PATIENT, user_id=OTHER_USER),
        "resolve": lambda: device.resolve(("Patient", entity_id), reason="r", fields={"active": True}),
        "logout": device.logout,
    }
    went_on = []
    for name, call in calls.items():
        try:
            await call()
        except DeviceLocked:
            continue
        went_on.append(name)
    return went_on


async def test_what_is_refused_and_what_goes_on(folder: Path, door: Door) -> None:
    """A locked device shows and records nothing; it syncs and says how it stands, and its password opens it again."""
    async with await in_use(folder, door) as device:
        made = await device.record("Patient", PATIENT)
        assert (await device.status()).locked is False
        await device.lock()
        assert await refusals(device, made.entity_id) == []
        assert (await device.sync()).done.accepted == 1
        status = await device.status()
        assert (status.locked, status.hub, status.open_conflicts) == (True, 1, 0)
        await device.unlock("right")
        assert (await device.search("Ott")).rows
        await device.record("Patient", PATIENT)
        lock = [action for action in actions(device) if "lock" in action]
        assert lock == ["locked", "unlock_tried", "unlocked"]
        assert await device.verify_audit() > 0


async def test_what_arrives_while_it_is_locked(folder: Path, door: Door) -> None:
    """`watch` goes on and tells of each op, without its payload, until it is unlocked."""
    async with await in_use(folder, door) as device:
        await device.lock()
        watching = device.watch()
        await door.arrive(
            make_op(1, device_id=OTHER_DEVICE, entity_type="Patient", payload=json.dumps(PATIENT))
        )
        assert bytes((await anext(watching)).op.payload) == b"null"
        await device.unlock("right")
        await door.arrive(
            make_op(2, device_id=OTHER_DEVICE, entity_type="Patient", payload=json.dumps(PATIENT))
        )
        assert json.loads(bytes((await anext(watching)).op.payload)) == PATIENT
        await watching.aclose()


async def test_an_hour_without_use(folder: Path, door: Door) -> None:
    """What a person does keeps a device open, syncing does not; an hour later it is locked, and stays so whatever the clock does."""
    async with await in_use(folder, door) as device:
        door.clock.time_ms += AUTO_LOCK_MS - USED_EVERY_MS
        await device.list("Patient")
        door.clock.time_ms += AUTO_LOCK_MS - 1
        await device.sync()
        assert not (await device.status()).locked
        door.clock.time_ms += 1
        assert (await device.status()).locked
        door.clock.time_ms -= AUTO_LOCK_MS // 2
        with pytest.raises(DeviceLocked):
            await device.list("Patient")
        await device.unlock("right")
        await device.list("Patient")
        assert actions(device).count("locked") == 1


async def test_a_clock_that_was_set_back(folder: Path, door: Door) -> None:
    """Where nobody knows how long ago the last use was, the device is locked; a few seconds don't count."""
    async with await in_use(folder, door) as device:
        door.clock.time_ms -= USED_EVERY_MS - 1
        await device.list("Patient")
        door.clock.time_ms -= USED_EVERY_MS + 1
        with pytest.raises(DeviceLocked):
            await device.list("Patient")


async def test_each_wrong_password_waits_longer(folder: Path, door: Door) -> None:
    """After a few tries each has to wait twice as long as the one before, the right one too, in every process alike."""
    async with await in_use(folder, door) as device:
        await device.lock()
        for _ in range(FREE_TRIES):
            with pytest.raises(UnlockRefused) as refused:
                await device.unlock("wrong")
            assert (refused.value.code, refused.value.retry_after_s) == ("password_wrong", 0)
        waits = []
        for _ in range(3):
            with pytest.raises(UnlockRefused) as refused:
                await device.unlock("wrong")
            waits.append(refused.value.retry_after_s)
            with pytest.raises(UnlockRefused) as refused:
                await device.unlock("right")
            assert refused.value.code == "try_later"
            door.clock.time_ms += waits[-1] * 1_000
    assert waits == [WAIT_FIRST_MS // 1_000 * 2**doubled for doubled in range(3)]
    door.clock.time_ms -= 1
    async with opened(folder, door) as device:
        with pytest.raises(UnlockRefused) as refused:
            await device.unlock("right")
        assert refused.value.retry_after_s == 1
        door.clock.time_ms += 1
        await device.unlock("right")
        await device.lock()
        with pytest.raises(UnlockRefused) as refused:
            await device.unlock("wrong")
        assert refused.value.retry_after_s == 0


async def test_a_password_is_counted_before_it_is_checked(folder: Path, door: Door) -> None:
    """Who is killed while a password is checked has had that try."""
    async with await in_use(folder, door) as device:
        await device.lock()
        for _ in range(FREE_TRIES + 1):
            device._store.locks.password_tried()
        with pytest.raises(UnlockRefused, match="too many"):
            await device.unlock("right")


@pytest.mark.parametrize(
    ("failures", "since_ms", "left_ms"),
    [
        (0, 0, 0),
        (FREE_TRIES, 0, 0),
        (FREE_TRIES + 1, 0, WAIT_FIRST_MS),
        (FREE_TRIES + 1, WAIT_FIRST_MS, 0),
        (FREE_TRIES + 3, 1, WAIT_FIRST_MS * 4 - 1),
        (1_000, 0, WAIT_MAX_MS),
        (1_000, WAIT_MAX_MS, 0),
        (FREE_TRIES + 1, -86_400_000, WAIT_FIRST_MS),
    ],
)
def test_how_long_a_wait_is(failures: int, since_ms: int, left_ms: int) -> None:
    """A wait has an end, and a clock that went back makes none longer."""
    assert wait_left_ms(failures, NOON_MS, NOON_MS + since_ms) == left_ms


async def test_a_wait_ends_after_the_clock_was_set_back(folder: Path, door: Door) -> None:
    """A wait that began in what is the future now begins again, and ends."""
    async with await in_use(folder, door) as device:
        for _ in range(FREE_TRIES + 1):
            with pytest.raises(UnlockRefused):
                await device.unlock("wrong")
        door.clock.time_ms -= 86_400_000
        with pytest.raises(UnlockRefused, match="too many"):
            await device.unlock("right")
        door.clock.time_ms += WAIT_FIRST_MS
        await device.unlock("right")


async def test_nobody_else_comes_in_offline(folder: Path, door: Door) -> None:
    """Another person's password opens nothing and a login says that it needs a server; with one, it opens the device."""
    async with await in_use(folder, door) as device:
        await device.lock()
        door.reachable, door.has_cloud = False, False
        with pytest.raises(UnlockRefused):
            await device.unlock("dan's own")
        for raised in (PeerUnreachable, PeerRefused):
            with pytest.raises(raised) as refused:
                await device.login("dan@clinic.example", "right")
            assert "needs a server" in refused.value.hint
            door.reachable = True
        assert (await device.status()).locked
        door.has_cloud = True
        await device.login("dan@clinic.example", "right")
        status = await device.status()
        assert (status.locked, status.user_id) == (False, OTHER_USER)


async def test_beside_a_process_that_holds_the_store(folder: Path, door: Door) -> None:
    """A device is locked, used and unlocked by those who opened the store to read it, and its holder knows at once."""
    async with await in_use(folder, door) as holder, opened(folder, door, read_only=True) as beside:
        await beside.lock()
        with pytest.raises(DeviceLocked):
            await holder.record("Patient", PATIENT)
        await holder.sync()
        await beside.unlock("right")
        await holder.record("Patient", PATIENT)
        door.clock.time_ms += AUTO_LOCK_MS - 1
        await beside.list("Patient")
        door.clock.time_ms += AUTO_LOCK_MS - 1
        await holder.record("Patient", PATIENT)
        with pytest.raises(StoreError):
            await beside.record("Patient", PATIENT)
        assert await holder.verify_audit() > 0


async def test_nobody_is_logged_in(folder: Path, door: Door) -> None:
    """Before the first login and after a logout nothing is shown, and there is nothing to lock."""
    async with await enrolled(folder, door) as device:
        with pytest.raises(LoginNeeded):
            await device.list("Patient")
        with pytest.raises(StoreError, match="nobody"):
            await device.lock()
        await device.login(NORA, "right")
        await device.record("Patient", PATIENT)
        await device.logout()
        with pytest.raises(LoginNeeded):
            await anext(device.ops())
        with pytest.raises(StoreError, match="nobody"):
            await device.unlock("right")
        assert (await device.status()).here == 1


async def test_a_device_without_a_password(folder: Path) -> None:
    """One that was made by a token has no lock, however long nobody uses it; and a token does not open one that is locked."""
    tablet = Tablet(folder)
    tablet.clock.time_ms += 10 * AUTO_LOCK_MS
    assert tablet.store.locks.user().user_id == USER
    with pytest.raises(StoreError, match="nobody"):
        tablet.store.locks.lock()
    claims = TokenClaims(CLINIC, DEVICE, OTHER_USER)
    tablet.store.begin(claims, name="", server_url=URL, access_token="u", ca_pem=None)
    tablet.store.log_in(tablet.store.session(), "a hash")
    tablet.store.locks.lock()
    with pytest.raises(DeviceLocked):
        tablet.store.begin(claims, name="", server_url=URL, access_token="v", ca_pem=None)
    tablet.store.close()


async def test_a_token_is_no_login(folder: Path, door: Door) -> None:
    """Where people log in, nobody becomes another, or gets other roles, by a token that he wrote himself."""
    door.roles = ("front_desk",)
    async with await in_use(folder, door) as device:
        for who_is_there in (("front_desk",), None):
            with pytest.raises(ConfigurationError, match="medxz login"):
                device._store.begin(
                    TokenClaims(CLINIC, DEVICE, USER, roles=("admin",)),
                    name="", server_url=URL, access_token="t", ca_pem=None,
                )  # fmt: skip
            assert (await device.status()).roles == who_is_there
            await device.logout()


async def test_a_login_while_a_password_is_checked(folder: Path, door: Door) -> None:
    """Whose password was right opens nothing once somebody else has logged in."""
    async with await in_use(folder, door) as device:
        await device.lock()
        kept = device._store.locks.password_tried()
        await device.login("dan@clinic.example", "right")
        await device.lock()
        with pytest.raises(DeviceLocked, match="somebody else"):
            device._store.locks.opened(kept)
        assert (await device.status()).locked


async def test_what_is_kept_of_a_password(folder: Path, door: Door) -> None:
    """The store has an Argon2id hash of it, and nothing after a logout."""
    async with await in_use(folder, door) as device:
        store: DeviceStore = device._store
        kept = store.locks.password_tried()
        assert kept.startswith("$argon2id$v=19$m=65536,t=3,p=1$")
        assert "right" not in kept
        await device.unlock("right")
        await device.logout()
        with pytest.raises(StoreError):
            store.locks.password_tried()
