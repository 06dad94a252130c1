"""The promises of `LogStore`, held by every backend."""

from __future__ import annotations

import asyncio
import json
import random

import msgspec
import pytest

from medxz import limits
from medxz.errors import OpInvalid
from medxz.have import Numbers
from medxz.ids import uuid_bytes
from medxz.rules import check
from medxz.scope import FRONT_DESK_TYPES
from medxz.store.base import BEGINNING, DeadLetter, LogStore, Position, PositionLost
from tests.making import DEVICE, OTHER_DEVICE, batch, fixed_id, make_op, run_of
from tests.store.conftest import AnyBackend
from tests.store.seen import read_all


async def test_an_op_is_numbered_in_the_order_of_commit(log: LogStore) -> None:
    """server_seq counts 1, 2, 3 … without gaps, over batches and devices."""
    first = await log.append(batch(*run_of(1, 3)))
    second = await log.append(batch(make_op(1, device_id=OTHER_DEVICE)))
    assert [outcome.seq for outcome in first + second] == [1, 2, 3, 4]
    assert log.last_seq == 4


async def test_a_payload_comes_back_byte_for_byte(log: LogStore) -> None:
    """A zero, 23 digits, an unknown field and its place, and escapes survive storing and reading."""
    text = '{"b": 120.50,"a":12345678901234567890123, "zz":"\\u00e9\\/","é":[1e5,-0.0]}'
    await log.append(batch(make_op(1, payload=text)))
    page = await log.page(BEGINNING, 1, "full")
    assert text.encode() in page.ops_json


@pytest.mark.parametrize("reopened", [False, True])
async def test_the_same_op_again_is_a_duplicate_with_its_first_seq(
    backend: AnyBackend, reopened: bool
) -> None:
    """Pushing again, before or after a restart, stores nothing and tells where the op is."""
    log = await backend.open()
    ops = run_of(1, 5)
    await log.append(batch(*ops))
    if reopened:
        log = await backend.reopen()
    outcomes = await log.append(batch(*reversed(ops)))
    assert [(outcome.kind, outcome.seq) for outcome in outcomes] == [
        ("duplicate", n) for n in (5, 4, 3, 2, 1)
    ]
    assert log.last_seq == 5


async def test_the_same_op_twice_in_one_batch_is_stored_once(log: LogStore) -> None:
    """A batch that repeats an op gets `stored` and `duplicate` with one seq."""
    op = make_op(1)
    outcomes = await log.append(batch(op, op))
    assert [(outcome.kind, outcome.seq) for outcome in outcomes] == [("stored", 1), ("duplicate", 1)]


async def test_an_op_with_its_hash_is_the_same_as_without(log: LogStore) -> None:
    """Two ops with one op_id are the same when their digests are, whatever travelled with them."""
    import msgspec

    op = make_op(1)
    await log.append(batch(op))
    [outcome] = await log.append(batch(msgspec.structs.replace(op, hash=op.digest().hex())))
    assert outcome.kind == "duplicate"


async def test_another_op_with_a_known_id_is_refused(log: LogStore) -> None:
    """op_id_reused: whichever number it carries, and also within one batch."""
    op = make_op(1)
    await log.append(batch(op))
    other, twin = make_op(2, op_id=op.op_id), make_op(3)
    outcomes = await log.append(batch(other, twin, make_op(4, op_id=twin.op_id)))
    assert [outcome.dead.code if outcome.dead else outcome.kind for outcome in outcomes] == [
        "op_id_reused",
        "stored",
        "op_id_reused",
    ]
    assert log.settled_through(DEVICE) == 4


async def test_a_number_is_taken_once(log: LogStore) -> None:
    """device_seq_reused, in another batch and in the same one; the first op stands."""
    await log.append(batch(make_op(1)))
    outcomes = await log.append(batch(make_op(1), make_op(2), make_op(2)))
    assert [outcome.dead.code if outcome.dead else outcome.kind for outcome in outcomes] == [
        "device_seq_reused",
        "stored",
        "device_seq_reused",
    ]


async def test_a_number_that_an_op_has_is_settled_by_no_letter(log: LogStore) -> None:
    """The dead letter of a second op of a number is kept, answers it again, and is none of those that are told further up."""
    await log.append(batch(make_op(1)))
    second = make_op(1)
    invalid = DeadLetter(DEVICE, 1, fixed_id(99), "invalid", "no", settles=True)
    for _ in range(2):
        [outcome] = await log.append(batch(second, dead_letters=[invalid]))
        assert outcome.dead is not None
        assert outcome.dead.code == "device_seq_reused"
    assert await log.dead_letters(0, 10) == []
    assert log.settled_through(DEVICE) == 1


async def test_a_hub_s_second_op_of_a_number_is_kept_and_marked(log: LogStore) -> None:
    """What a hub acknowledged is never dropped: both ops are in the log, and a person is asked to look."""
    first, second = make_op(1), make_op(1)
    await log.append(batch(first))
    [outcome] = await log.append(batch(second, lenient=True))
    assert (outcome.kind, outcome.seq) == ("stored", 2)
    assert [(row.op_id, row.code) for row in await log.reviews(0, 10)] == [
        (second.op_id, "device_seq_reused")
    ]


@pytest.mark.parametrize("reopened", [False, True])
async def test_who_has_a_shared_number_is_sent_both_ops(backend: AnyBackend, reopened: bool) -> None:
    """A have-vector cannot tell which op of a number is meant: resuming starts before both."""
    log = await backend.open()
    await log.append(batch(*run_of(1, 3)))
    await log.append(batch(make_op(2), lenient=True))
    if reopened:
        log = await backend.reopen()
    assert (await log.locate({DEVICE: Numbers([(1, 3)])}, "full")).seq == 1


@pytest.mark.parametrize("reopened", [False, True])
async def test_dead_letters_settle_numbers(backend: AnyBackend, reopened: bool) -> None:
    """A watermark counts settled numbers: stored ops and the dead letters of final rejections."""
    log = await backend.open()
    letter = DeadLetter(DEVICE, 2, fixed_id(99), "forbidden", "no", settles=True)
    await log.append(batch(make_op(1), make_op(3), dead_letters=[letter]))
    if reopened:
        log = await backend.reopen()
    assert log.settled_through(DEVICE) == 3
    assert log.settled() == {DEVICE: 3}


async def test_a_rejected_op_stays_rejected(log: LogStore) -> None:
    """An op whose number its own rejection settled is dead for the same reason, for ever."""
    op = make_op(1)
    letter = DeadLetter(DEVICE, 1, op.op_id, "forbidden", "the author's roles do not write it", settles=True)
    await log.append(batch(dead_letters=[letter]))
    [outcome] = await log.append(batch(op))
    assert outcome.dead is not None
    assert (outcome.dead.code, outcome.dead.message) == (letter.code, letter.message)


async def test_gaps_are_stored_and_watermarks_wait_for_them(log: LogStore) -> None:
    """Ops may come in any order; the watermark is the end of the unbroken beginning."""
    await log.append(batch(make_op(3), make_op(1)))
    assert log.settled_through(DEVICE) == 1
    await log.append(batch(make_op(2)))
    assert log.settled_through(DEVICE) == 3


@pytest.mark.parametrize("reopened", [False, True])
@pytest.mark.parametrize("limit", [1, 7, 500])
async def test_pages_hold_every_op_once_in_order(backend: AnyBackend, reopened: bool, limit: int) -> None:
    """Following `end` reads the whole log, whatever the page size, from memory and from the file."""
    log = await backend.open()
    ops = run_of(1, 25) + run_of(1, 25, OTHER_DEVICE)
    for op in ops:
        await log.append(batch(op))
    if reopened:
        log = await backend.reopen()
    read = await read_all(log, limit=limit)
    assert [op["op_id"] for op in read] == [op.op_id for op in ops]
    assert [op["server_seq"] for op in read] == list(range(1, 51))


@pytest.mark.parametrize("reopened", [False, True])
async def test_a_front_desk_reads_its_types_alone(backend: AnyBackend, reopened: bool) -> None:
    """A page of a scope holds all the ops of that scope and no other."""
    log = await backend.open()
    types = ["Observation", "Patient", "Condition", "Appointment", "Coverage", "Composition"] * 5
    await log.append(batch(*(make_op(n, entity_type=name) for n, name in enumerate(types, 1))))
    if reopened:
        log = await backend.reopen()
    read = await read_all(log, "front_desk", limit=4)
    assert [op["device_seq"] for op in read] == [
        n for n, name in enumerate(types, 1) if name in FRONT_DESK_TYPES
    ]


@pytest.mark.parametrize("reopened", [False, True])
async def test_a_position_that_is_not_there_is_noticed(backend: AnyBackend, reopened: bool) -> None:
    """PositionLost where the log is shorter, or holds another op at that place."""
    log = await backend.open()
    ops = run_of(1, 3)
    await log.append(batch(*ops))
    if reopened:
        log = await backend.reopen()
    assert (await log.page(Position(3, uuid_bytes(ops[2].op_id)), 5, "full")).count == 0
    for lost in (Position(4, uuid_bytes(ops[2].op_id)), Position(2, uuid_bytes(ops[2].op_id))):
        with pytest.raises(PositionLost):
            await log.page(lost, 5, "full")


@pytest.mark.parametrize("blocks", [0, 1, 3])
@pytest.mark.parametrize("reopened", [False, True])
async def test_resuming_finds_the_first_missing_op(backend: AnyBackend, blocks: int, reopened: bool) -> None:
    """`locate` is the latest position before which the caller misses nothing, across block summaries."""
    log = await backend.open()
    total = blocks * limits.BLOCK_OPS + 10
    for first in range(1, total + 1, 500):
        await log.append(batch(*run_of(first, min(first + 499, total))))
    await log.append(batch(*run_of(1, 4, OTHER_DEVICE)))
    if reopened:
        log = await backend.reopen()
    have = {DEVICE: Numbers([(1, total)]), OTHER_DEVICE: Numbers([(1, 2), (4, 4)])}
    assert (await log.locate(have, "full")).seq == total + 2
    assert (await log.locate({DEVICE: Numbers([(1, total - 5)])}, "full")).seq == total - 5
    assert (await log.locate({}, "full")).seq == 0
    assert (await log.locate(have | {OTHER_DEVICE: Numbers([(1, 4)])}, "full")).seq == total + 4


async def test_resuming_ignores_what_the_scope_does_not_show(log: LogStore) -> None:
    """A front desk that has all it may see has nothing to catch up on, though others' ops lie between."""
    names = ["Patient", "Observation", "Patient", "Observation"]
    await log.append(batch(*(make_op(n, entity_type=name) for n, name in enumerate(names, 1))))
    assert (await log.locate({DEVICE: Numbers([(1, 1), (3, 3)])}, "front_desk")).seq == 4
    assert (await log.locate({DEVICE: Numbers([(1, 1)])}, "front_desk")).seq in (1, 2)


async def test_waiting_readers_wake_when_the_log_grows(log: LogStore) -> None:
    """`wait_beyond` returns once there is something, and not before."""
    waiting = asyncio.create_task(log.wait_beyond(0))
    await asyncio.sleep(0)
    assert not waiting.done()
    await log.append(batch(make_op(1)))
    await asyncio.wait_for(waiting, 5)


async def test_no_waking_is_missed(log: LogStore) -> None:
    """Waiting begins with the call: a revocation that comes before the loop turns to the waiter wakes it too."""
    waiting = log.wait_beyond(log.last_seq)
    log.wake()
    await asyncio.wait_for(waiting, 5)


async def test_times_of_receipt_never_go_back(backend: AnyBackend) -> None:
    """A clock that jumps back, also over a restart, doesn't show in the log."""
    log = await backend.open()
    await log.append(batch(make_op(1)))
    backend.clock.time_ms -= 3_600_000
    await log.append(batch(make_op(2)))
    log = await backend.reopen()
    await log.append(batch(make_op(3)))
    times = [str(op["server_received_at"]) for op in await read_all(log)]
    assert times == sorted(times)


async def test_a_new_epoch_is_durable(backend: AnyBackend) -> None:
    """`begin_epoch` is still there after a restart."""
    log = await backend.open()
    await log.begin_epoch(fixed_id(0xEF))
    assert log.epoch == fixed_id(0xEF)
    log = await backend.reopen()
    assert log.epoch == fixed_id(0xEF)


async def test_readers_never_skip_or_repeat_while_writers_write(log: LogStore) -> None:
    """Three readers at their own pace, beside four writers, each see every op once and in order."""
    rng = random.Random(3)
    writers, each = 4, 120

    async def write(device: int) -> None:
        number = 1
        while number <= each:
            last = min(each, number + rng.randrange(1, 9))
            await log.append(batch(*run_of(number, last, fixed_id(0xD000 + device))))
            number = last + 1

    async def read(limit: int) -> list[int]:
        seqs: list[int] = []
        at = BEGINNING
        while len(seqs) < writers * each:
            seen = log.last_seq
            page = await log.page(at, limit, "full")
            seqs += [op["server_seq"] for op in json.loads(page.ops_json)]
            at = page.end
            if not page.count:
                await log.wait_beyond(seen)
        return seqs

    readers = [asyncio.create_task(read(limit)) for limit in (1, 13, 500)]
    await asyncio.gather(*(write(device) for device in range(writers)))
    for seqs in await asyncio.wait_for(asyncio.gather(*readers), 60):
        assert seqs == list(range(1, writers * each + 1))


async def test_verifying_reads_every_row(log: LogStore) -> None:
    """A full check of a sound log finds nothing, and counts all of it."""
    await log.append(batch(*run_of(1, 750)))
    seen: list[int] = []
    found = await log.verify(lambda state: seen.append(state.checked))
    assert (found.checked, found.total, found.damaged, found.done) == (750, 750, [], True)
    assert seen[0] < 750


async def test_what_lies_in_the_log_is_taken_as_it_is(backend: AnyBackend) -> None:
    """An op that the rules of today refuse, stored when they were others, is read, resumed over and sound."""
    log = await backend.open()
    old = make_op(2, device_time="noon", schema_version=0, payload='{"a":1,"a":2}')
    with pytest.raises(OpInvalid):
        check(old)
    await log.append(batch(make_op(1), old, make_op(3)))
    log = await backend.reopen()
    assert (log.settled_through(DEVICE), log.last_seq) == (3, 3)
    assert [op["op_id"] for op in await read_all(log)][1] == old.op_id
    assert (await log.locate({DEVICE: Numbers([(1, 2)])}, "full")).seq == 2
    assert (await log.standing("full", 3)).have == {DEVICE: Numbers([(1, 3)])}
    [again] = await log.append(batch(msgspec.structs.replace(old, hash=old.digest().hex())))
    [later] = await log.append(
        batch(make_op(4, entity_id=old.entity_id, op_type="update", parents=(old.op_id,)))
    )
    assert ((again.kind, again.seq), (later.kind, later.conflict)) == (("duplicate", 2), ("stored", None))
    assert (await log.verify()).damaged == []


@pytest.mark.parametrize("reopened", [False, True])
async def test_dead_letters_are_read_on_behind_an_id(backend: AnyBackend, reopened: bool) -> None:
    """Each letter that settles a number is read once, in the order in which it came; one that settles none is not."""
    log = await backend.open()
    op_id = fixed_id(0x77)
    letters = [
        DeadLetter(DEVICE, 1, op_id, "forbidden", "said so", settles=True),
        DeadLetter(DEVICE, 1, fixed_id(0x78), "wrong_device", "said so"),
        DeadLetter(DEVICE, None, None, "invalid", "said so"),
        DeadLetter(DEVICE, 2, None, "invalid", "said so", settles=True),
        DeadLetter(OTHER_DEVICE, 1, fixed_id(0x79), "too_large", "said so", settles=True),
    ]
    for letter in letters:
        await log.append(batch(dead_letters=[letter]))
    if reopened:
        log = await backend.reopen()
    first, second = await log.dead_letters(0, 2)
    [third] = await log.dead_letters(second.id, 2)
    assert [(row.device_id, row.device_seq, row.op_id, row.code) for row in (first, second, third)] == [
        (DEVICE, 1, op_id, "forbidden"),
        (DEVICE, 2, None, "invalid"),
        (OTHER_DEVICE, 1, fixed_id(0x79), "too_large"),
    ]
    assert await log.dead_letters(third.id, 2) == []


async def test_a_dead_letter_wakes_who_waits(log: LogStore) -> None:
    """A number may be settled without an op: whoever waits for something new looks again."""
    waiting = asyncio.ensure_future(log.wait_beyond(0))
    await log.append(batch(dead_letters=[DeadLetter(DEVICE, 1, None, "invalid", "said so", settles=True)]))
    await asyncio.wait_for(waiting, 5)
    assert log.settled_through(DEVICE) == 1
