"""The hub's log towards the cloud: everything arrives on both sides, nothing goes in circles, no op holds others up."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hub.uplink import queue
from medxz import wire
from medxz.errors import Overloaded, PeerRefused, PeerUnreachable
from medxz.have import Numbers
from medxz.op import Operation
from medxz.replicate import Report
from medxz.store.base import DeadLetter
from tests.making import DEVICE, OTHER_DEVICE, HandClock, batch, fixed_id, make_op, run_of
from tests.unit.hub.scripted_cloud import (
    Box,
    ScriptedCloud,
    Verdict,
    opened,
    refusing,
    rejected,
    retry,
    unreachable,
)

THIRD_DEVICE = fixed_id(0xD3)


@pytest.fixture
async def box(tmp_path: Path) -> AsyncIterator[Box]:
    async with opened(tmp_path / "hub.db") as made:
        yield made


async def test_what_is_here_goes_up_as_it_was_written(box: Box) -> None:
    """The cloud gets each op once, in order, as its author sent it: nothing that this hub added goes along."""
    ops = [make_op(number, payload='{"b":120.50,"a":1}') for number in range(1, 5)]
    await box.log.append(batch(*ops))
    cloud = ScriptedCloud()
    await box.sync(cloud)
    assert cloud.pushes == [[op.op_id for op in ops]]
    assert cloud.bodies == [op.json() for op in ops]
    assert (box.marks(), box.side.backlog) == ({DEVICE: 4}, 0)


async def test_a_hash_does_not_travel(box: Box) -> None:
    """It is left out, and made anew from the same bytes over there; a signature goes along, a look-alike stays."""
    signature = "A" * 86
    bare = make_op(1, payload='{"hash":"%s"}' % ("a" * 64))
    hashed = make_op(2, hash=None)
    signed = make_op(3, signature=signature)
    ops = [bare] + [msgspec.structs.replace(op, hash=op.digest().hex()) for op in (hashed, signed)]
    await box.log.append(batch(*ops))
    cloud = ScriptedCloud()
    await box.sync(cloud)
    assert cloud.bodies == [bare.json(), hashed.json(), signed.json()]
    assert [op.digest() for op in cloud.log] == [op.digest() for op in ops]


async def test_what_came_from_the_cloud_is_not_sent_back(box: Box) -> None:
    """Ops of another site arrive, are acknowledged as the cloud's at once, and are never pushed."""
    cloud = ScriptedCloud()
    cloud.add(*run_of(1, 7, OTHER_DEVICE))
    await box.log.append(batch(make_op(1)))
    done = await box.sync(cloud)
    await box.sync(cloud)
    assert done.pulled == 7
    assert len(cloud.pushes) == 1
    assert box.marks() == {DEVICE: 1, OTHER_DEVICE: 7}
    assert len(await box.op_ids()) == 8


async def test_a_restart_goes_on_where_it_was(tmp_path: Path) -> None:
    """After a restart nothing is pushed again, and reading goes on behind what was read."""
    cloud = ScriptedCloud()
    async with opened(tmp_path / "hub.db") as box:
        await box.log.append(batch(*run_of(1, 20)))
        await box.sync(cloud)
    cloud.add(make_op(1, device_id=OTHER_DEVICE))
    async with opened(tmp_path / "hub.db") as box:
        assert (box.side.backlog, box.marks()) == (0, {DEVICE: 20})
        await box.log.append(batch(make_op(21)))
        assert box.side.backlog == 1
        done = await box.sync(cloud)
    assert (done.accepted, done.duplicate, done.pulled) == (1, 0, 1)
    assert cloud.resumed == [{DEVICE: Numbers([(1, 20)])}]


async def test_a_new_epoch_gets_again_what_it_lacks(box: Box) -> None:
    """A cloud restored from a backup gets every device's ops again, also those that came by itself; marks fall first."""
    cloud = ScriptedCloud()
    cloud.add(*run_of(1, 6, OTHER_DEVICE))
    await box.log.append(batch(*run_of(1, 10)))
    await box.sync(cloud)
    before = box.registry.directory.cloud_epoch
    ids = cloud.stored_ids()
    cloud.restored(keeping=4)
    cloud.before_push = iter([unreachable])
    with pytest.raises(PeerUnreachable):
        await box.sync(cloud)
    assert box.marks() == {OTHER_DEVICE: 4}
    assert box.side.backlog == 12
    await box.sync(cloud)
    assert sorted(cloud.stored_ids()) == sorted(ids)
    assert box.registry.directory.cloud_epoch == cloud.epoch != before
    assert (box.marks(), box.side.backlog) == ({DEVICE: 10, OTHER_DEVICE: 6}, 0)


@pytest.mark.parametrize("restarted", [False, True])
async def test_a_cloud_that_was_restored_unnoticed(tmp_path: Path, restarted: bool) -> None:
    """A cloud that says, twice, that it has less than it acknowledged gets that again, though its epoch is the same."""
    cloud = ScriptedCloud()
    async with opened(tmp_path / "hub.db") as box:
        await box.sync(cloud)
        await box.log.append(batch(*run_of(1, 8), make_op(1, device_id=OTHER_DEVICE)))
        await box.side.meet(cloud)
        await box.side.report(cloud, box.side._with)
        ops = await box.side.outbox(box.side._with, 0, 100, 10_000_000)
        await box.side.settle(ops, await cloud.push([op.body for op in ops]))
        await box.side.keep()
        assert box.marks() == {DEVICE: 8, OTHER_DEVICE: 1}
        ids = cloud.stored_ids()
        del cloud.log[3:]
        if not restarted:
            await box.sync(cloud)
            assert (cloud.stored_ids(), box.marks()) == (ids, {DEVICE: 8, OTHER_DEVICE: 1})
    async with opened(tmp_path / "hub.db") as box:
        await box.sync(cloud)
        assert (cloud.stored_ids(), box.side.backlog) == (ids, 0)
        meetings = cloud.meetings
        await box.sync(cloud)
        assert cloud.meetings == meetings + 1


@pytest.mark.parametrize("is_noticed", [True, False])
@pytest.mark.parametrize("is_stopped", [False, True])
async def test_a_search_that_breaks_off_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_stopped: bool, is_noticed: bool
) -> None:
    """While the place for a restored cloud is searched, what is written down is of before, and it is searched again."""
    cloud = ScriptedCloud()
    async with opened(tmp_path / "hub.db") as box:
        await box.log.append(batch(*run_of(1, 20)))
        await box.sync(cloud)
        ids = cloud.stored_ids()
        if is_noticed:
            cloud.restored(keeping=5)
        else:
            del cloud.log[5:]
            box.side._cursor = f"{cloud.epoch} 0"

        async def break_off(*_: object) -> None:
            await box.side.keep()
            raise Overloaded("busy", retry_after_s=1)

        with monkeypatch.context() as broken:
            broken.setattr(box.log, "locate", break_off)
            with pytest.raises(Overloaded):
                await box.side.meet(cloud)
        if not is_stopped:
            await box.sync(cloud)
            assert (cloud.stored_ids(), box.side.backlog) == (ids, 0)
    async with opened(tmp_path / "hub.db") as box:
        await box.sync(cloud)
        assert (cloud.stored_ids(), box.marks(), box.side.backlog) == (ids, {DEVICE: 20}, 0)


async def test_an_epoch_that_begins_in_the_middle(box: Box) -> None:
    """Results of another log count for nothing: that log is met, and gets everything."""
    cloud = ScriptedCloud()
    await box.log.append(batch(*run_of(1, 3)))
    await box.sync(cloud)
    await box.log.append(batch(make_op(4)))
    cloud.before_push = iter([lambda: cloud.restored(keeping=0)])
    await box.sync(cloud)
    assert len(set(cloud.stored_ids())) == len(cloud.log) == 4
    assert box.marks() == {DEVICE: 4}


async def test_a_refusal_of_the_cloud_is_told_and_blocks_nothing(tmp_path: Path) -> None:
    """An op that the cloud rejects is kept as refused for its device, durably; the watermark passes it."""
    ops = run_of(1, 5)
    cloud = ScriptedCloud(verdict=lambda op: rejected(op, "op_id_reused") if op.device_seq == 3 else None)
    async with opened(tmp_path / "hub.db") as box:
        await box.log.append(batch(*ops))
        await box.sync(cloud)
        assert box.side.backlog == 0
    async with opened(tmp_path / "hub.db") as box:
        refusals = box.registry.directory.cloud_refusals[DEVICE]
        assert list(map(tuple, refusals)) == [(ops[2].op_id, "op_id_reused")]
        assert box.marks() == {DEVICE: 5}
        await box.sync(cloud)
    assert len(cloud.pushes) == 1


@pytest.mark.parametrize("restarted", [False, True])
async def test_a_refusal_whose_answer_was_lost_is_told_all_the_same(tmp_path: Path, restarted: bool) -> None:
    """The cloud's watermark counts it as settled; what may have been handed out is handed out again."""
    cloud = ScriptedCloud(
        verdict=lambda op: rejected(op, "op_id_reused") if op.device_seq == 2 else None,
        after_push=iter([unreachable]),
    )
    ops = run_of(1, 3)
    async with opened(tmp_path / "hub.db") as box:
        await box.sync(cloud)
        await box.log.append(batch(*ops))
        with pytest.raises(PeerUnreachable):
            await box.sync(cloud)
        if not restarted:
            await box.sync(cloud)
    async with opened(tmp_path / "hub.db") as box:
        await box.sync(cloud)
        refusals = box.registry.directory.cloud_refusals[DEVICE]
        assert list(map(tuple, refusals)) == [(ops[1].op_id, "op_id_reused")]
        assert (box.marks(), len(cloud.log)) == ({DEVICE: 3}, 2)


async def test_an_op_that_the_cloud_will_not_read(box: Box) -> None:
    """One that is refused with its whole request is found, told to its device, and settled by a dead letter."""
    ops = run_of(1, 9)

    def verdict(op: Operation) -> Exception | None:
        return PeerRefused(413, "too_large", "no") if op.device_seq == 4 else None

    cloud = ScriptedCloud(verdict=verdict)
    await box.log.append(batch(*ops))
    await box.sync(cloud)
    assert [(letter.device_seq, letter.op_id, letter.code) for letter in cloud.letters] == [
        (4, ops[3].op_id, "too_large")
    ]
    assert list(map(tuple, box.registry.directory.cloud_refusals[DEVICE])) == [(ops[3].op_id, "too_large")]
    assert (box.marks(), box.side.backlog) == ({DEVICE: 9}, 0)


@pytest.mark.parametrize("fails", ["retry", "breaks"])
async def test_an_op_that_is_taken_later_holds_nothing_up(tmp_path: Path, fails: str) -> None:
    """What the cloud can't take yet stands aside, is offered again from time to time, and survives a restart."""
    ops = run_of(1, 30)
    clock = HandClock()

    def verdict(op: Operation) -> wire.PushResult | Exception | None:
        if op.device_seq != 5:
            return None
        return retry(op) if fails == "retry" else PeerRefused(500, "internal", "no")

    cloud = ScriptedCloud(verdict=verdict)
    async with opened(tmp_path / "hub.db", clock) as box:
        await box.log.append(batch(*ops))
        await box.sync(cloud)
        assert (len(cloud.log), box.marks(), box.side.backlog) == (29, {DEVICE: 4}, 1)
        pushes = len(cloud.pushes)
        last = make_op(31)
        await box.log.append(batch(last))
        await box.sync(cloud)
        assert cloud.pushes[pushes:] == [[last.op_id]]
    async with opened(tmp_path / "hub.db", clock) as box:
        assert box.side.backlog >= 1
        await box.sync(cloud)
        assert cloud.pushes[pushes + 1 :] == [[ops[4].op_id]]
        cloud.verdict = lambda _: None
        clock.time_ms += int(queue.LATER_EVERY_S_MAX * 1_000)
        await box.sync(cloud)
        assert (box.marks(), box.side.backlog) == ({DEVICE: 31}, 0)


async def test_what_was_rejected_here_settles_there(box: Box) -> None:
    """Dead letters go up, those without an op_id too, and the cloud's watermark passes their numbers."""
    cloud = ScriptedCloud()
    await box.log.append(
        batch(
            make_op(1),
            make_op(4),
            dead_letters=[
                DeadLetter(DEVICE, 2, fixed_id(0x22), "forbidden", "no", settles=True),
                DeadLetter(DEVICE, 3, None, "invalid", "no", settles=True),
            ],
        )
    )
    assert box.side.backlog >= 2
    await box.sync(cloud)
    assert [(letter.device_seq, letter.op_id) for letter in cloud.letters] == [(2, fixed_id(0x22)), (3, None)]
    assert (box.marks(), box.side.backlog) == ({DEVICE: 4}, 0)
    cloud.restored(keeping=1)
    await box.sync(cloud)
    assert (len(cloud.letters), box.marks()) == (2, {DEVICE: 4})


async def test_the_letter_of_a_copy_does_not_stand_for_the_op_whose_number_it_used(box: Box) -> None:
    """Of two tablets with one store the hub takes one's op and rejects the other's: the one that it took goes up."""
    cloud = ScriptedCloud()
    await box.sync(cloud)
    taken, rejected_one = make_op(1), make_op(1)
    outcomes = [(await box.log.append(batch(op)))[0].kind for op in (taken, rejected_one)]
    assert outcomes == ["stored", "dead"]
    await box.sync(cloud)
    assert cloud.stored_ids() == [taken.op_id]
    assert cloud.letters == []
    assert (box.marks(), box.side.backlog) == ({DEVICE: 1}, 0)


async def test_both_ops_of_a_number_reach_both_sides(box: Box) -> None:
    """Where the cloud has another op of the same number, ours goes up all the same, and theirs is kept and marked."""
    cloud = ScriptedCloud()
    ours, theirs = run_of(1, 3), run_of(1, 3)
    await box.sync(cloud)
    cloud.add(*theirs)
    await box.log.append(batch(*ours))
    await box.sync(cloud)
    await box.sync(cloud)
    everything = {op.op_id for op in (*ours, *theirs)}
    assert set(cloud.stored_ids()) == set(await box.op_ids()) == everything
    assert {row.code for row in await box.log.reviews(0, 10)} == {"device_seq_reused"}
    pushes = len(cloud.pushes)
    await box.sync(cloud)
    assert len(cloud.pushes) == pushes


async def test_a_log_that_goes_in_circles_is_left_alone(box: Box) -> None:
    """Ops that lie behind what was read are no progress, however new the cursor looks."""

    class Circling(ScriptedCloud):
        async def pull(self, cursor: str | None, *, limit: int, wait_s: int = 0) -> wire.PullAnswer:
            page = await super().pull(None, limit=limit)
            return msgspec.structs.replace(page, has_more=True)

    cloud = Circling()
    cloud.add(*run_of(1, 3, OTHER_DEVICE))
    with pytest.raises(PeerUnreachable, match="circles"):
        await box.sync(cloud)
    assert len(await box.op_ids()) == 3


async def test_another_clinic_s_op_is_not_taken(box: Box) -> None:
    """A cloud that mixes clinics up is left alone, and nothing of that page is kept."""
    cloud = ScriptedCloud()
    cloud.add(make_op(1, device_id=OTHER_DEVICE), make_op(2, clinic_id=fixed_id(0xC9)))
    with pytest.raises(PeerUnreachable, match="clinic"):
        await box.sync(cloud)
    assert await box.op_ids() == []


async def test_a_long_log_is_read_a_few_ops_at_a_time(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """What goes up is bounded by count and bytes, and read in pages."""
    monkeypatch.setattr(queue, "READ_OPS", 7)
    monkeypatch.setattr("medxz.replicate.cycle.PUSH_OPS", 10)
    ops = run_of(1, 95)
    await box.log.append(batch(*ops))
    cloud = ScriptedCloud()
    await box.sync(cloud)
    assert cloud.stored_ids() == [op.op_id for op in ops]
    assert max(map(len, cloud.pushes)) == 10


OUTCOMES = ("fine", "fine", "fine", "rejected", "unreadable", "late")
FAULTS = (None, None, None, unreachable, refusing(500, "internal"), refusing(507, "storage_full"))


def judging(outcomes: list[str]) -> Verdict:
    asked: dict[str, int] = {}

    def verdict(op: Operation) -> wire.PushResult | Exception | None:
        match outcomes[(op.device_seq - 1) % len(outcomes)] if op.device_id == DEVICE else "fine":
            case "rejected":
                return rejected(op, "op_id_reused")
            case "unreadable":
                return PeerRefused(422, "invalid", "no")
            case "late":
                asked[op.op_id] = asked.get(op.op_id, 0) + 1
                return retry(op) if asked[op.op_id] <= 2 else None
            case _:
                return None

    return verdict


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    outcomes=st.lists(st.sampled_from(OUTCOMES), min_size=1, max_size=20),
    before=st.lists(st.sampled_from(FAULTS), max_size=10),
    after=st.lists(st.sampled_from((None, None, unreachable)), max_size=8),
    pulls=st.lists(st.sampled_from((None, None, unreachable)), max_size=6),
    restarts=st.sets(st.integers(0, 30), max_size=8),
    restored_at=st.none() | st.integers(25, 28),
)
async def test_everything_arrives_whatever_happens(
    outcomes: list[str], before: list, after: list, pulls: list, restarts: set[int], restored_at: int | None
) -> None:
    """Whatever the cloud answers, wherever connections break, hubs restart or a cloud is restored, all is settled."""
    with tempfile.TemporaryDirectory() as folder:
        path, clock = Path(folder) / "hub.db", HandClock()
        ours = run_of(1, len(outcomes) + 5)
        theirs = run_of(1, 9, OTHER_DEVICE)
        cloud = ScriptedCloud(
            verdict=judging([*outcomes, *["fine"] * 5]), before_push=iter(before), after_push=iter(after),
            before_pull=iter(pulls), page_ops=4,
        )  # fmt: skip
        cloud.add(*theirs)
        stack = opened(path, clock)
        box = await stack.__aenter__()
        await box.log.append(batch(*ours[:-5]))
        for turn in range(40):
            if turn in restarts:
                await stack.__aexit__(None, None, None)
                stack = opened(path, clock)
                box = await stack.__aenter__()
            if turn == restored_at:
                cloud.restored(keeping=5)
            if turn == 3:
                await box.log.append(batch(*ours[-5:]))
            with suppress(PeerRefused, PeerUnreachable):
                await box.sync(cloud)
            clock.time_ms += int(queue.LATER_EVERY_S_MAX * 1_000)
        verdicts = [*outcomes, *["fine"] * 5]
        unwanted = {
            op.op_id for op, said in zip(ours, verdicts, strict=True) if said in {"rejected", "unreadable"}
        }
        stored = cloud.stored_ids()
        assert len(stored) == len(set(stored))
        assert set(stored) == {op.op_id for op in (*ours, *theirs)} - unwanted
        assert set(await box.op_ids()) == {op.op_id for op in (*ours, *theirs)}
        refused = {op_id for op_id, _ in box.registry.directory.cloud_refusals.get(DEVICE, ())}
        assert refused == unwanted
        assert box.marks() == cloud.settled() == {DEVICE: len(ours), OTHER_DEVICE: 9}
        assert box.side.backlog == 0
        await stack.__aexit__(None, None, None)


async def test_the_backlog_is_exact(box: Box) -> None:
    """Between two meetings too, it is the number of settled numbers that the cloud lacks."""
    cloud = ScriptedCloud(before_push=iter([unreachable]))
    cloud.add(*run_of(1, 4, OTHER_DEVICE))
    await box.log.append(batch(*run_of(1, 10)))
    assert box.side.backlog == 10
    with pytest.raises(PeerUnreachable):
        await box.sync(cloud)
    await box.log.append(batch(*run_of(11, 12), make_op(1, device_id=THIRD_DEVICE)))
    assert box.side.backlog == 13
    report: Report = await box.sync(cloud)
    assert (report.accepted, report.pulled, box.side.backlog) == (13, 4, 0)
