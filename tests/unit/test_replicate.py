"""Replication between a device's real store and a scripted server: whatever goes wrong, nothing is lost or stuck."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medxz import wire
from medxz.errors import PeerRefused, PeerUnreachable
from medxz.have import Numbers
from medxz.op import Operation
from medxz.replicate.cycle import FAILED_IN_A_ROW_MAX, STALL_S
from tests.making import DEVICE, OTHER_DEVICE, make_op
from tests.unit.device.scripted import (
    ScriptedServer,
    Tablet,
    Verdict,
    refusing,
    rejected,
    retry,
    unreachable,
)

OUTCOMES = ("fine", "fine", "fine", "rejected", "unreadable", "late")
FAULTS = (
    None, None, unreachable, refusing(500, "internal"), refusing(503, "overloaded", 1),
    refusing(429, "rate_limited", 2), refusing(507, "storage_full", 30),
)  # fmt: skip


@pytest.fixture
def tablet(tmp_path: Path) -> Iterator[Tablet]:
    tablet = Tablet(tmp_path / "tablet")
    yield tablet
    tablet.store.close()


def judging(outcomes: list[str]) -> Verdict:
    """A server that treats each number as the list says; `late` is taken at the third time."""
    asked: dict[str, int] = {}

    def verdict(op: Operation) -> wire.PushResult | Exception | None:
        match outcomes[(op.device_seq - 1) % len(outcomes)]:
            case "rejected":
                return rejected(op, "forbidden")
            case "unreadable":
                return PeerRefused(422, "invalid", "this body can't be read")
            case "late":
                asked[op.op_id] = asked.get(op.op_id, 0) + 1
                return retry(op) if asked[op.op_id] <= 4 else None
            case _:
                return None

    return verdict


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    outcomes=st.lists(st.sampled_from(OUTCOMES), min_size=1, max_size=24),
    before=st.lists(st.sampled_from(FAULTS), max_size=12),
    after=st.lists(st.sampled_from((None, None, unreachable)), max_size=12),
    pulls=st.lists(st.sampled_from((None, unreachable, refusing(503, "overloaded", 1))), max_size=6),
)
async def test_every_op_ends_stored_or_parked(outcomes, before, after, pulls) -> None:
    """Whatever a server answers and wherever connections break, every op ends stored once or parked, and all arrive."""
    with tempfile.TemporaryDirectory() as folder:
        tablet = Tablet(Path(folder) / "tablet")
        ops = [tablet.record() for _ in outcomes]
        others = [make_op(number, device_id=OTHER_DEVICE) for number in range(1, 8)]
        server = ScriptedServer(
            verdict=judging(outcomes), before_push=iter(before), after_push=iter(after), before_pull=iter(pulls),
            log=list(others), page_ops=3,
        )  # fmt: skip
        for _ in range(len(before) + len(after) + len(pulls) + 6):
            try:
                await tablet.sync(server, attempts=2)
            except (PeerRefused, PeerUnreachable):
                continue
        parked = {op.op_id: op.code for op in tablet.store.parked()}
        expected = {"rejected": "forbidden", "unreadable": "invalid"}
        assert parked == {
            op.op_id: expected[outcome]
            for op, outcome in zip(ops, outcomes, strict=True)
            if outcome in expected
        }
        stored = server.stored_ids()
        assert len(stored) == len(set(stored))
        assert set(stored) | parked.keys() == {op.op_id for op in ops + others}
        assert set(stored).isdisjoint(parked)
        assert tablet.op_ids() == {op.op_id for op in ops + others}
        counts = tablet.store.counts()
        assert (counts["here"], counts["hub"], counts["parked"]) == (0, len(ops) - len(parked), len(parked))
        tablet.store.close()


async def test_an_answer_that_was_lost_is_a_duplicate(tablet: Tablet) -> None:
    """An op that a server has stored, but whose answer never came, is pushed again and counts as stored."""
    op = tablet.record()
    server = ScriptedServer(after_push=iter([unreachable]))
    with pytest.raises(PeerUnreachable):
        await tablet.sync(server)
    assert tablet.store.safety_of(op.op_id) == "here"
    done = await tablet.sync(server)
    assert done.duplicate == 1
    assert server.stored_ids() == [op.op_id]
    assert tablet.store.safety_of(op.op_id) == "hub"


async def test_halving_finds_the_one_unreadable_op(tablet: Tablet) -> None:
    """A batch that is refused as a whole is halved until only the op that it is about is parked."""
    ops = [tablet.record() for _ in range(33)]
    server = ScriptedServer(verdict=judging(["fine"] * 20 + ["unreadable"] + ["fine"] * 12))
    done = await tablet.sync(server)
    assert [op.op_id for op in tablet.store.parked()] == [ops[20].op_id]
    assert done.accepted == 32
    assert len(server.pushes) <= 2 * 7


async def test_a_server_that_always_fails_is_left_alone(tablet: Tablet) -> None:
    """500 for every push parks nothing, costs few requests, and ends with that error."""
    for _ in range(200):
        tablet.record()
    asked = []

    def fail() -> None:
        asked.append(1)
        raise PeerRefused(500, "internal", "failed")

    server = ScriptedServer(before_push=itertools.repeat(fail))
    with pytest.raises(PeerRefused, match="internal"):
        await tablet.sync(server)
    assert tablet.store.parked() == []
    assert len(asked) < 8 + 2 * FAILED_IN_A_ROW_MAX
    assert tablet.store.counts()["here"] == 200


async def test_an_op_over_which_the_server_fails_holds_nothing_up(tablet: Tablet) -> None:
    """One op that gives 500 whenever it is looked at is offered again, and all others get through."""
    ops = [tablet.record() for _ in range(40)]

    def verdict(op: Operation) -> Exception | None:
        return PeerRefused(500, "internal", "failed") if op.device_seq == 7 else None

    server = ScriptedServer(verdict=verdict)
    done = await tablet.sync(server)
    assert done.retry == 1
    assert set(server.stored_ids()) == {op.op_id for op in ops if op.device_seq != 7}
    assert tablet.store.safety_of(ops[6].op_id) == "here"


async def test_retry_is_offered_once_a_cycle(tablet: Tablet) -> None:
    """An op that is to be offered again later waits for the next cycle, and holds up no other."""
    first, second = tablet.record(), tablet.record()
    server = ScriptedServer(verdict=lambda op: retry(op) if op.op_id == first.op_id else None)
    await tablet.sync(server)
    assert server.pushes == [[first.op_id, second.op_id]]
    server.verdict = lambda _: None
    await tablet.sync(server)
    assert server.pushes[1:] == [[first.op_id]]
    assert tablet.store.counts()["hub"] == 2


async def test_reading_goes_on_while_the_disk_is_full(tablet: Tablet) -> None:
    """507 for a push does not keep the pull from happening, and is told in the end."""
    tablet.record()
    server = ScriptedServer(before_push=itertools.repeat(refusing(507, "storage_full", 30)))
    server.log.append(make_op(1, device_id=OTHER_DEVICE))
    with pytest.raises(PeerRefused) as refused:
        await tablet.sync(server)
    assert refused.value.code == "storage_full"
    assert server.log[0].op_id in tablet.op_ids()


async def test_retry_after_is_honoured(tablet: Tablet) -> None:
    """A server that names a time is not asked before it, and not at all where the caller has less patience."""
    tablet.record()
    server = ScriptedServer(before_push=iter([refusing(429, "rate_limited", 20)]))
    begun = tablet.clock.now_ms()
    await tablet.sync(server, attempts=2)
    assert tablet.clock.now_ms() - begun >= 20_000
    tablet.record()
    server.before_push = iter([refusing(429, "rate_limited", 20)])
    with pytest.raises(PeerRefused):
        await tablet.replicator(server).run(attempts=5, patience_s=5)


async def test_an_ended_token_stops_at_once(tablet: Tablet) -> None:
    """401 is not tried again."""
    tablet.record()
    server = ScriptedServer(before_push=itertools.repeat(refusing(401, "token_expired")))
    with pytest.raises(PeerRefused, match="token_expired"):
        await tablet.sync(server, attempts=5)
    assert server.pushes == []


async def test_a_log_that_does_not_move_is_given_up(tablet: Tablet) -> None:
    """A page that says that there is more, with nothing in it and the same cursor, ends the pull."""

    class Stuck(ScriptedServer):
        async def pull(self, cursor: str | None, *, limit: int, wait_s: int = 0) -> wire.PullAnswer:
            return wire.PullAnswer(
                server_id=self.server_id, epoch=self.epoch, ops=[], next_cursor="same", has_more=True
            )

    with pytest.raises(PeerUnreachable, match="does not move"):
        await tablet.sync(Stuck())


async def test_a_log_that_goes_in_circles_is_given_up(tablet: Tablet) -> None:
    """Cursors that change, with nothing behind them, count as no progress after the named time."""

    class Circling(ScriptedServer):
        async def pull(self, cursor: str | None, *, limit: int, wait_s: int = 0) -> wire.PullAnswer:
            tablet.clock.time_ms += 7_000
            self.pulls.append(cursor)
            return wire.PullAnswer(
                server_id=self.server_id, epoch=self.epoch, ops=[], next_cursor="ab"[cursor == "a"], has_more=True
            )  # fmt: skip

    server = Circling()
    with pytest.raises(PeerUnreachable, match="does not move"):
        await tablet.sync(server)
    assert len(server.pulls) == STALL_S // 7 + 1


async def test_a_restored_server_gets_again_what_it_lacks(tablet: Tablet) -> None:
    """A server with a new epoch is asked how far it has got, and gets the own ops beyond that again."""
    ops = [tablet.record() for _ in range(10)]
    server = ScriptedServer()
    await tablet.sync(server)
    server.restored(keeping=4)
    done = await tablet.sync(server)
    assert server.stored_ids() == [op.op_id for op in ops]
    # the last number that it says to have is offered again, as the proof that it is this device's
    assert (done.duplicate, done.accepted) == (1, 6)


async def test_what_a_replaced_server_acknowledged_counts_no_more(tablet: Tablet) -> None:
    """Another server at the same address has nothing: the ops are here alone until it has them too."""
    op = tablet.record()
    await tablet.sync(ScriptedServer())
    assert tablet.store.safety_of(op.op_id) == "hub"
    empty = ScriptedServer(before_push=itertools.repeat(refusing(507, "storage_full")))
    empty.server_id = OTHER_DEVICE
    with pytest.raises(PeerRefused):
        await tablet.sync(empty)
    assert tablet.store.safety_of(op.op_id) == "here"


async def test_a_log_that_changes_between_meeting_and_push(tablet: Tablet) -> None:
    """Results count for the log that gave them, and the new log is met and gets everything."""
    ops = [tablet.record() for _ in range(3)]
    server = ScriptedServer()
    await tablet.sync(server)

    def replaced() -> None:
        server.restored(keeping=0)

    ops.append(tablet.record())
    server.before_push = iter([replaced])
    await tablet.sync(server)
    assert set(server.stored_ids()) == {op.op_id for op in ops}


async def test_a_new_epoch_is_resumed_by_what_is_here(tablet: Tablet) -> None:
    """After cursor_epoch_changed the device asks by what it has, and misses and repeats nothing."""
    server = ScriptedServer(log=[make_op(number, device_id=OTHER_DEVICE) for number in range(1, 6)])
    await tablet.sync(server)
    server.epoch = server.ids.uuid7()
    server.log.append(make_op(6, device_id=OTHER_DEVICE))
    done = await tablet.sync(server)
    assert done.pulled == 1
    assert server.resumed == [{OTHER_DEVICE: Numbers([(1, 5)])}]


async def test_an_earlier_epoch_is_shown_the_later_one(tablet: Tablet) -> None:
    """A server that stands where it stood before is shown the cursor it made since, before anything is read there."""
    server = ScriptedServer(log=[make_op(1, device_id=OTHER_DEVICE)])
    before = server.epoch
    server.epoch = server.ids.uuid7()
    await tablet.sync(server)
    told = server.pulls[-1]
    later, server.epoch = server.epoch, before
    server.pulls.clear()

    def noticed() -> None:
        server.epoch = server.ids.uuid7()

    server.before_pull = iter([noticed])
    await tablet.sync(server)
    assert server.pulls[0] is not None
    assert server.pulls[0].startswith(later), told
    assert all(cursor is None or cursor.startswith(server.epoch) for cursor in server.pulls[1:])


async def test_a_widened_scope_begins_again(tablet: Tablet) -> None:
    """cursor_scope_changed starts at the beginning; what is here already is not taken for new."""
    server = ScriptedServer(log=[make_op(1, device_id=OTHER_DEVICE)])
    await tablet.sync(server)
    server.before_pull = iter([refusing(409, "cursor_scope_changed")])
    server.log.insert(0, make_op(1, device_id=tablet.ids.uuid7()))
    done = await tablet.sync(server)
    assert server.pulls[-1] is None
    assert done.pulled == 1


async def test_a_server_of_wrong_order_is_not_believed(tablet: Tablet) -> None:
    """Results that do not stand in the order of the request settle nothing."""
    tablet.record()

    class Wrong(ScriptedServer):
        async def push(self, ops, dead_letters=()):
            answer = await super().push(ops, dead_letters)
            answer.results[0] = wire.PushResult(op_id=DEVICE, status="accepted", server_seq=1)
            return answer

    with pytest.raises(PeerUnreachable, match="order"):
        await tablet.sync(Wrong())
    assert tablet.store.counts()["here"] == 1
