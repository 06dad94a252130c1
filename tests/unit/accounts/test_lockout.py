"""Who has failed too often waits, and nobody can keep a whole clinic waiting."""

import asyncio
from collections import Counter
from functools import partial

import pyotp
import pytest

from medxz.accounts.lockout import (
    ACCOUNT,
    ACCOUNT_AT_ADDRESS,
    ACCOUNT_ON_DEVICE,
    ADDRESS,
    CODES_AT_ADDRESS,
    CODES_OF_CLINIC,
    FACTOR,
)
from medxz.accounts.passwords import Passwords
from medxz.accounts.sessions import Sessions
from medxz.errors import CodeInvalid, CredentialsInvalid, Overloaded, RateLimited, TotpRequired
from medxz.service.accounts import Origin
from medxz.store.authority import devices
from medxz.store.authority.devices import DeviceRow
from medxz.wire import LoginRequest, SessionAnswer
from tests.unit.accounts.house import EMAIL, IDS, PASSWORD, House, Relay, Tablet

WRONG = "another long password"
THERE = Origin("203.0.113.1")


async def wrong(relay: Relay, tablet: Tablet, email: str = EMAIL, origin: Origin = THERE) -> None:
    with pytest.raises(CredentialsInvalid):
        await relay.login(tablet, email, WRONG, origin=origin)


async def wait_of(relay: Relay, tablet: Tablet, email: str = EMAIL, origin: Origin = THERE) -> int:
    """The wait that a login is told of; it has the right password."""
    with pytest.raises(RateLimited) as refusal:
        await relay.login(tablet, email, origin=origin)
    assert refusal.value.retry_after_s is not None
    return refusal.value.retry_after_s


async def test_wrong_passwords_lock_an_account_for_longer_each_time(house: House, relay: Relay) -> None:
    """After some wrong passwords not even the right one is taken until the wait is over; then each failure doubles it."""
    tablet = await relay.tablet(house.clinic_id)
    for _ in range(ACCOUNT_AT_ADDRESS.free):
        await wrong(relay, tablet)
    assert await wait_of(relay, tablet) == 5
    house.clock.time_ms += 4_000
    assert await wait_of(relay, tablet) == 1
    waits = []
    for _ in range(9):
        house.clock.time_ms += 3_600_000
        await wrong(relay, tablet)
        waits.append(await wait_of(relay, tablet))
    assert waits == [10, 20, 40, 80, 160, 320, 640, 900, 900]
    house.clock.time_ms += 900_000
    assert (await relay.login(tablet, origin=Origin("203.0.113.1"))).access_token
    for _ in range(ACCOUNT_AT_ADDRESS.free - 1):
        await wrong(relay, tablet)
    assert (await relay.login(tablet, origin=Origin("203.0.113.1"))).access_token
    assert len(await relay.events(house.clinic_id, "locked_out")) == 10


async def test_a_lock_counts_in_every_process(house: House, relay: Relay) -> None:
    """Failures at one process of the cloud lock at the others."""
    other = await house.relay()
    tablet = await relay.tablet(house.clinic_id)
    for number in range(ACCOUNT_AT_ADDRESS.free):
        await wrong((relay, other)[number % 2], tablet)
    assert await wait_of(relay, tablet) == await wait_of(other, tablet) == 5


async def test_guesses_at_once_are_no_way_around(house: House, relay: Relay) -> None:
    """Of many guesses at one moment, the right one among the last is refused like the rest."""
    tablet = await relay.tablet(house.clinic_id)
    guesses = [relay.login(tablet, EMAIL, WRONG, origin=Origin("203.0.113.1")) for _ in range(12)]
    answers = await asyncio.gather(
        *guesses, relay.login(tablet, origin=Origin("203.0.113.1")), return_exceptions=True
    )
    assert isinstance(answers[-1], RateLimited)
    counted = Counter(type(answer) for answer in answers)
    assert counted == {CredentialsInvalid: ACCOUNT_AT_ADDRESS.free, RateLimited: 8}
    assert len(await relay.events(house.clinic_id, "locked_out")) == 1


async def test_a_guess_that_was_let_in_is_answered_as_what_it_is(house: House, relay: Relay) -> None:
    """The last attempt that is free gets in with the right password, though others failed while it was judged."""
    tablet = await relay.tablet(house.clinic_id)
    guesses = [relay.login(tablet, EMAIL, WRONG, origin=THERE) for _ in range(ACCOUNT_AT_ADDRESS.free - 1)]
    answers = await asyncio.gather(*guesses, relay.login(tablet, origin=THERE), return_exceptions=True)
    assert isinstance(answers[-1], SessionAnswer)


async def test_a_busy_cloud_locks_nobody_out(house: House, relay: Relay) -> None:
    """An attempt that was never judged, because too many waited, is not counted, nor is one that was right."""
    tablet = await relay.tablet(house.clinic_id)
    for _ in range(3):
        await relay.login(await relay.tablet(house.clinic_id), origin=THERE)
    busy = Sessions(relay.authority, Passwords([], waiting_max=0), relay.ring)
    request = LoginRequest(email=EMAIL, password=PASSWORD, device_id=tablet.device_id)
    for _ in range(ADDRESS.free):
        with pytest.raises(Overloaded):
            await busy.login(request, THERE)
    [(failures,)] = await relay.transactions.read(
        lambda tx: tx.rows(
            "SELECT max(failures) FROM attempt WHERE clinic_id IN ($1, $2)", house.clinic_id, ""
        )
    )
    assert failures == 0


async def test_a_clinic_that_has_the_same_device_holds_nobody_up(house: House, relay: Relay) -> None:
    """Clinics that have a tablet's id, but nobody of that address, hear of no failure there and make nobody wait."""
    tablet, hostile = await relay.tablet(house.clinic_id), []
    await relay.login(tablet)
    for number in range(4):
        name = f"eve{number}@example.org"
        made = await relay.admin.clinics.add(f"E{number}", ["S"], name, "Eve", "a lamp in the hall")
        row = DeviceRow(tablet.device_id, made.sites[0].site_id, "T", "full", 0)
        await relay.transactions.run(partial(devices.add, clinic_id=made.clinic_id, device=row))
        hostile.append(made.clinic_id)
    await relay.admin.users.add(hostile[3], EMAIL, "Not Ada", ["admin"], "a lamp in the hall")
    for number in range(ACCOUNT.free):
        with pytest.raises((CredentialsInvalid, RateLimited)):
            await relay.login(tablet, EMAIL, WRONG, origin=Origin(f"203.0.{number}.1"))
        house.clock.time_ms += 60_000
    house.clock.time_ms += 600_000
    assert (await relay.login(tablet, origin=THERE)).clinic.clinic_id == house.clinic_id
    for clinic_id in hostile[:3]:
        assert await relay.events(clinic_id, "login_refused", "locked_out") == []


async def test_a_second_factor_is_guessed_at_by_nobody(house: House, relay: Relay) -> None:
    """A right password without the second factor is noted, and comes to an end like a wrong one beside it."""
    tablet = await relay.tablet(house.clinic_id)
    app = pyotp.parse_uri(await relay.admin.totp.begin(house.clinic_id, EMAIL))
    assert isinstance(app, pyotp.TOTP)
    await relay.admin.totp.confirm(house.clinic_id, EMAIL, app.at(house.clock.time_ms // 1_000))
    for number in range(FACTOR.free):
        with pytest.raises(TotpRequired):
            await relay.login(tablet, origin=Origin(f"203.0.113.{number}"))
    noted = await relay.events(house.clinic_id, "login_refused", "locked_out")
    assert [entry.event for entry in noted].count("login_refused") == FACTOR.free
    assert noted[0].user_id == house.admin_id
    house.clock.time_ms += 4_000
    assert await wait_of(relay, tablet) == 1
    house.clock.time_ms += 60_000
    code = app.at(house.clock.time_ms // 1_000)
    assert (await relay.login(tablet, totp=code, origin=THERE)).access_token


async def test_an_address_is_locked_whoever_is_asked_for(house: House, relay: Relay) -> None:
    """Somebody who tries many accounts from one address waits; others go on from elsewhere."""
    tablet = await relay.tablet(house.clinic_id)
    for number in range(ADDRESS.free):
        await wrong(relay, tablet, f"nobody{number}@example.org")
    assert await wait_of(relay, tablet) == 10
    assert (await relay.login(tablet, origin=Origin("203.0.113.2"))).access_token
    stranger = Tablet(device_id=IDS.uuid7())
    assert await wait_of(relay, stranger, "who@example.org") == 10


async def test_addresses_behind_hubs_are_their_own(house: House, relay: Relay) -> None:
    """The same private address behind two hubs is two addresses."""
    tablet = await relay.tablet(house.clinic_id)
    one, other = (Origin("192.168.1.5", IDS.uuid7(), house.clinic_id) for _ in range(2))
    for number in range(ADDRESS.free):
        await wrong(relay, tablet, f"nobody{number}@example.org", one)
    assert await wait_of(relay, tablet, origin=one) == 10
    assert (await relay.login(tablet, origin=other)).access_token


async def test_an_account_is_locked_from_everywhere(house: House, relay: Relay) -> None:
    """Guesses from many addresses lock the account for those who were never in it."""
    tablet = await relay.tablet(house.clinic_id)
    for number in range(ACCOUNT.free):
        await wrong(relay, tablet, origin=Origin(f"203.0.113.{number}"))
    assert await wait_of(relay, tablet, origin=Origin("192.0.2.77")) == 30


async def test_nobody_locks_a_clinic_out(house: House, relay: Relay) -> None:
    """Who was in on a device gets in there again, whatever others do in their name, from their address."""
    tablet, attackers = await relay.tablet(house.clinic_id), await relay.tablet(house.clinic_id)
    clinic_address = Origin("203.0.113.9")
    await relay.login(tablet, origin=clinic_address)
    for number in range(ADDRESS.free + ACCOUNT.free):
        for email, origin in (
            (EMAIL, Origin(f"192.0.2.{number}")),
            (EMAIL, clinic_address),
            (f"x{number}@example.org", clinic_address),
        ):
            with pytest.raises((CredentialsInvalid, RateLimited)):
                await relay.login(attackers, email, WRONG, origin=origin)
    assert await wait_of(relay, attackers, origin=clinic_address) > 0
    assert (await relay.login(tablet, origin=clinic_address)).access_token


async def test_a_locked_attempt_counts_nothing(house: House, relay: Relay) -> None:
    """Trying while one has to wait does not make the wait longer."""
    tablet = await relay.tablet(house.clinic_id)
    for _ in range(ACCOUNT_AT_ADDRESS.free):
        await wrong(relay, tablet)
    for _ in range(20):
        assert await wait_of(relay, tablet) == 5
    house.clock.time_ms += 5_000
    assert (await relay.login(tablet, origin=Origin("203.0.113.1"))).access_token


async def guess(relay: Relay, origin: Origin) -> None:
    with pytest.raises(CodeInvalid):
        await relay.enrol("ABCDEFGH", Tablet(), origin)


async def test_wrong_codes_lock_an_address(house: House, relay: Relay) -> None:
    """After some wrong codes an address waits, with a right code too; from elsewhere that code works."""
    [code] = await relay.admin.codes.make(house.clinic_id, "device", "North")
    here = Origin("203.0.113.1")
    for _ in range(CODES_AT_ADDRESS.free):
        await guess(relay, here)
    with pytest.raises(RateLimited) as refusal:
        await relay.enrol(code.code, Tablet(), here)
    assert refusal.value.retry_after_s == 10
    assert (await relay.enrol(code.code, Tablet(), Origin("203.0.113.2"))).device_id
    assert await relay.events("", "locked_out")


async def test_a_clinic_has_a_budget_of_wrong_codes(house: House, relay: Relay) -> None:
    """Wrong codes through a clinic's hub, from however many addresses, come to an end; a code that is made ends that."""
    box = await relay.box(house.clinic_id)
    for number in range(CODES_OF_CLINIC.free):
        await guess(relay, Origin(f"192.168.1.{number}", box.hub_id, house.clinic_id))
    fresh = Origin("192.168.1.250", box.hub_id, house.clinic_id)
    with pytest.raises(RateLimited) as refusal:
        await relay.enrol("ABCDEFGH", Tablet(), fresh)
    assert refusal.value.retry_after_s == 60
    [code] = await relay.admin.codes.make(house.clinic_id, "device", "North")
    assert (await relay.enrol(code.code, Tablet(), fresh)).device_id


async def test_a_pair_that_is_known_is_locked_too(house: House, relay: Relay) -> None:
    """On the person's own device guesses come to an end as well, from however many addresses."""
    tablet = await relay.tablet(house.clinic_id)
    await relay.login(tablet)
    for number in range(ACCOUNT_ON_DEVICE.free):
        await wrong(relay, tablet, origin=Origin(f"203.0.113.{number}"))
    assert await wait_of(relay, tablet, origin=Origin("192.0.2.77")) == 5


async def test_a_hub_of_the_same_id_elsewhere_holds_nobody_up(house: House, relay: Relay) -> None:
    """What another clinic's hub passes on, though it has the id of one here, is counted and noted over there alone."""
    other = await relay.admin.clinics.add("South", ["S"], "s@example.org", "S", "a lamp in the hall")
    box, lan = await relay.box(house.clinic_id), "192.168.1.9"
    for number in range(CODES_OF_CLINIC.free):
        await guess(relay, Origin(f"192.168.1.{number}", box.hub_id, other.clinic_id))
    for number in range(ADDRESS.free):
        stranger, origin = Tablet(device_id=IDS.uuid7()), Origin(lan, box.hub_id, other.clinic_id)
        await wrong(relay, stranger, f"nobody{number}@example.org", origin)
    assert await relay.events(house.clinic_id, "enrol_refused", "locked_out") == []
    await guess(relay, Origin(lan, box.hub_id, house.clinic_id))
    tablet = await relay.tablet(house.clinic_id)
    assert (await relay.login(tablet, origin=Origin(lan, box.hub_id, house.clinic_id))).access_token
    assert len(await relay.events(other.clinic_id, "locked_out")) == 1
