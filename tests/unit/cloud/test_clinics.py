"""The clinics that a cloud keeps open: which, how many, and what becomes of those that make room."""

import asyncio

import pytest

from medxz import limits
from medxz.errors import Overloaded, StoreError
from medxz.store.authority import server
from medxz.store.base import BEGINNING
from tests.making import batch, fixed_id, make_op

A, B, C, D, E = (fixed_id(0xA00 + number) for number in range(5))
NEW_EPOCH, OTHER_EPOCH = fixed_id(0xE1), fixed_id(0xE2)


async def push(world, clinic_id: str, number: int) -> None:
    clinic = await world.clinics.get(clinic_id)
    await clinic.log.append(batch(make_op(number, clinic_id=clinic_id)))


async def op_count(world, clinic_id: str) -> int:
    page = await (await world.clinics.get(clinic_id)).log.page(BEGINNING, 100, "full")
    return page.count


async def test_clinics_share_no_op(world) -> None:
    """What is written for one clinic is in its own file, and in no other clinic's log."""
    await push(world, A, 1)
    await push(world, B, 1)
    await push(world, B, 2)
    assert (await op_count(world, A), await op_count(world, B)) == (1, 2)
    assert world.places.clinic(A).joinpath("log.db").is_file()
    assert (await world.clinics.get(A)).log.clinic_id == A


async def test_a_clinic_is_opened_once(world) -> None:
    """However many ask for a clinic at the same time, its log is opened once."""
    found = await asyncio.gather(*(world.clinics.get(A) for _ in range(10)))
    assert world.opened == [A]
    assert all(clinic is found[0] for clinic in found)


async def test_who_gives_up_takes_it_from_nobody(world) -> None:
    """A request that goes away while its clinic is being opened does not keep the others from it."""
    first, second = asyncio.ensure_future(world.clinics.get(A)), asyncio.ensure_future(world.clinics.get(A))
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).clinic_id == A


async def test_who_was_asked_for_least_lately_makes_room(world) -> None:
    """With all places taken, a further clinic takes that of the one nobody has asked for longest; its ops stay."""
    for clinic_id in (A, B, C, D):
        await push(world, clinic_id, 1)
    world.clock.time_ms += 1_000 * limits.CLINIC_IDLE_S
    await world.clinics.get(A)
    world.clock.time_ms += 1_000 * limits.CLINIC_IDLE_S
    await push(world, E, 1)
    assert {clinic.clinic_id for clinic in world.clinics} == {A, C, D, E}
    world.clock.time_ms += 1_000 * limits.CLINIC_IDLE_S
    assert await op_count(world, B) == 1


async def test_nobody_is_closed_under_a_request(world) -> None:
    """Clinics that were asked for just now keep their places: a further one is told to come back."""
    for clinic_id in (A, B, C, D):
        await world.clinics.get(clinic_id)
    with pytest.raises(Overloaded) as caught:
        await world.clinics.get(E)
    assert caught.value.retry_after_s
    assert len(world.clinics) == 4


async def test_a_stream_keeps_its_clinic_open(world) -> None:
    """A clinic whose log somebody streams is in use, however long ago it was asked for."""
    for clinic_id in (A, B, C, D):
        (await world.clinics.get(clinic_id)).services.pull.streams_open = 1
    world.clock.time_ms += 10_000 * limits.CLINIC_IDLE_S
    with pytest.raises(Overloaded):
        await world.clinics.get(E)
    (await world.clinics.get(C)).services.pull.streams_open = 0
    world.clock.time_ms += 10_000 * limits.CLINIC_IDLE_S
    await world.clinics.get(E)
    assert {clinic.clinic_id for clinic in world.clinics} == {A, B, D, E}


async def test_a_clinic_is_closed_before_it_is_opened_again(world) -> None:
    """Who asks for a clinic that is being closed waits for its end: nobody opens its files beside it."""
    clinic = await world.clinics.get(A)
    closing, may_close = clinic.follower.close, asyncio.Event()

    async def close_slowly() -> None:
        await may_close.wait()
        await closing()

    clinic.follower.close = close_slowly
    world.clinics._begin_to_close(A)
    asking = asyncio.ensure_future(world.clinics.get(A))
    for _ in range(10):
        await asyncio.sleep(0)
    assert world.opened == [A]
    may_close.set()
    assert (await asking) is not clinic
    assert world.opened == [A, A]


async def test_one_epoch_for_all(world) -> None:
    """A new epoch of one clinic is every clinic's: of those that are open at once, of the others as they open."""
    await push(world, A, 1)
    open_before = await world.clinics.get(B)
    await world.clinics.begin_epoch((await world.clinics.get(A)).log, NEW_EPOCH)
    later = await world.clinics.get(C)
    assert {clinic.log.epoch for clinic in world.clinics} == {NEW_EPOCH}
    assert open_before.log.epoch == later.log.epoch == world.epoch.epoch == NEW_EPOCH
    assert (await world.transactions.read(server.get)).epoch == NEW_EPOCH


async def test_a_file_of_another_epoch_takes_that_of_now(make_world) -> None:
    """A clinic that was closed when the epoch changed has the new one once it is open again."""
    first = await make_world()
    await push(first, A, 1)
    await first.clinics.close()
    await first.clinics.begin_epoch((await first.clinics.get(B)).log, NEW_EPOCH)
    assert (await first.clinics.get(A)).log.epoch == NEW_EPOCH
    assert await op_count(first, A) == 1


async def test_two_that_find_it_begin_one_epoch(world) -> None:
    """The second to find that the log went back begins no second epoch: it takes the one that replaced its own."""
    log = (await world.clinics.get(A)).log
    old = log.epoch
    await world.epoch.begin(NEW_EPOCH, instead_of=old)
    await world.epoch.begin(OTHER_EPOCH, instead_of=old)
    assert world.epoch.epoch == (await world.transactions.read(server.get)).epoch == NEW_EPOCH


async def test_another_process_begins_an_epoch(world) -> None:
    """An epoch that another process has written is found by looking, and taken."""
    clinic = await world.clinics.get(A)
    assert not await world.epoch.look()
    await world.transactions.run(lambda tx: server.begin_epoch(tx, OTHER_EPOCH))
    assert await world.epoch.look()
    await world.clinics.take_epoch()
    assert clinic.log.epoch == OTHER_EPOCH


async def test_what_fails_to_open_is_tried_again(world) -> None:
    """A clinic whose file can't be opened fails for who asks, and is opened once the file is well again."""
    await push(world, A, 1)
    await world.clinics.close()
    path = world.places.clinic(A) / "log.db"
    sound = path.read_bytes()
    path.write_bytes(b"x" * len(sound))
    with pytest.raises(StoreError):
        await world.clinics.get(A)
    path.write_bytes(sound)
    assert await op_count(world, A) == 1


async def test_followers_begin_when_they_are_asked(world) -> None:
    """A clinic whose lists nobody asks for has no views file; a question makes it, and is answered in full."""
    await push(world, A, 1)
    clinic = await world.clinics.get(A)
    assert not world.places.clinic(A).joinpath("views.db").exists()
    assert world.following.count == 0
    assert await clinic.follower.ask(lambda views: views.through) == 1
    assert world.following.count == 1


async def test_followers_make_room(world) -> None:
    """Only so many clinics' lists are kept; one that rests begins again with the next question."""
    for clinic_id in (A, B, C):
        await push(world, clinic_id, 1)
        assert await (await world.clinics.get(clinic_id)).follower.ask(lambda views: views.through) == 1
    assert world.following.count == 2
    await push(world, A, 2)
    assert await (await world.clinics.get(A)).follower.ask(lambda views: views.through) == 2
    assert world.following.count == 2


async def test_figures_outlive_a_clinic(world) -> None:
    """Transactions of clinics that were closed go on being counted: a counter never falls."""
    await push(world, A, 1)
    before = world.clinics.transactions
    assert before >= 1
    await world.clinics.close()
    assert world.clinics.transactions == before
