"""Beginning with a snapshot: when it is asked for, what an interruption leaves, what a narrower scope takes away."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from medxz.errors import PeerRefused, PeerUnreachable
from medxz.op import Operation
from medxz.replicate import Progress, Replicator, cycle
from tests.making import DEVICE, OTHER_DEVICE, make_op, run_of
from tests.unit.device.scripted import URL, ScriptedServer, Tablet, rejected


@pytest.fixture(autouse=True)
def _short_logs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few ops are enough."""
    monkeypatch.setattr(cycle, "SNAPSHOT_OPS_MIN", 1)


@pytest.fixture
def tablet(tmp_path: Path) -> Iterator[Tablet]:
    tablet = Tablet(tmp_path / "tablet")
    yield tablet
    tablet.store.close()


def serving(ops: list[Operation], **changes: Any) -> ScriptedServer:
    server = ScriptedServer(log=list(ops), **changes)
    server.serve_snapshots()
    return server


def entities(tablet: Tablet, entity_type: str = "Observation") -> set[str]:
    while tablet.store.entities.refresh("all"):
        pass
    return {view.entity.entity_id for view in tablet.store.entities.listed(entity_type, None, 500).rows}


async def test_a_new_device_begins_with_a_snapshot(tablet: Tablet) -> None:
    """With nothing of others here it takes the snapshot, then the log behind it; own ops went out before."""
    ops = run_of(1, 9, OTHER_DEVICE)
    server = serving(ops)
    later = make_op(10, device_id=OTHER_DEVICE)
    server.log.append(later)
    mine = tablet.record()
    report = await tablet.sync(server)
    assert (report.entities, report.accepted) == (9, 1)
    assert server.pulls == [f"{server.epoch}:9"]
    assert entities(tablet) == {op.entity_id for op in [*ops, later, mine]}
    assert tablet.op_ids() == {later.op_id, mine.op_id}, "what the snapshot told is here without its ops"
    await tablet.sync(server)
    assert server.snapshots == 1


async def test_what_it_told_is_not_asked_for_again(tablet: Tablet) -> None:
    """At another server the device says what its snapshot told it, so that only the rest is read."""
    ops = run_of(1, 9, OTHER_DEVICE)
    await tablet.sync(serving(ops))
    second = serving([*ops, make_op(10, device_id=OTHER_DEVICE)], kind="cloud")
    second.server_id = OTHER_DEVICE
    report = await tablet.sync(second, url="http://second.test")
    assert (second.snapshots, report.pulled) == (0, 1)
    assert second.resumed[0][OTHER_DEVICE].through() == 9


async def test_who_has_read_one_server_needs_no_snapshot_of_the_next(tablet: Tablet) -> None:
    """A device to whom nobody has written yet moves to another server without being sent its own ops as entities."""
    own = [tablet.record() for _ in range(3)]
    await tablet.sync(serving([]))
    second = serving(own, kind="cloud")
    second.server_id = OTHER_DEVICE
    report = await tablet.sync(second, url="http://second.test")
    assert (second.snapshots, report.entities, report.pulled) == (0, 0, 0)


async def test_a_server_without_snapshots_has_its_log(tablet: Tablet) -> None:
    """Where there is none to be had, the whole log is read."""
    server = ScriptedServer(log=run_of(1, 5, OTHER_DEVICE))
    assert (await tablet.sync(server)).pulled == 5
    assert len(entities(tablet)) == 5


async def test_a_short_log_is_read_whole(tablet: Tablet, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the log is short, a snapshot spares nothing: the ops themselves are read."""
    monkeypatch.setattr(cycle, "SNAPSHOT_OPS_MIN", 6)
    ops = run_of(1, 5, OTHER_DEVICE)
    assert (await tablet.sync(serving(ops))).pulled == 5
    assert tablet.op_ids() == {op.op_id for op in ops}


async def test_an_interrupted_one_is_not_believed(tablet: Tablet) -> None:
    """Cut off half way, none of its entities is here, no cursor is kept and own ops are; it then begins again."""
    server = serving(run_of(1, 9, OTHER_DEVICE), break_snapshot_after=6)
    mine = tablet.record()
    with pytest.raises(PeerUnreachable):
        await tablet.sync(server)
    assert entities(tablet) == {mine.entity_id}
    assert tablet.store.have().keys() == {DEVICE}
    server.break_snapshot_after = None
    assert (await tablet.sync(server)).entities == 9
    assert len(entities(tablet)) == 10
    with tablet.store._file.reading() as connection:
        assert connection.execute("SELECT count(*) FROM entity_line").fetchall() == [(9,)]


async def test_a_line_too_thin_for_snapshots(tablet: Tablet) -> None:
    """Broken off time and again, the log is read in its place: page by page, it gets on."""
    server = serving(run_of(1, 9, OTHER_DEVICE), break_snapshot_after=2)
    for _ in range(3):
        with pytest.raises(PeerUnreachable):
            await tablet.sync(server)
    assert (await tablet.sync(server)).pulled == 9
    assert len(entities(tablet)) == 9


async def test_a_wider_scope_begins_anew(tablet: Tablet) -> None:
    """A cursor of a narrower scope than now: a snapshot tells what was not seen; what was here stays."""
    first = run_of(1, 3, OTHER_DEVICE, entity_type="Patient")
    server = serving(first)
    await tablet.sync(server)
    server.log.extend(run_of(4, 6, OTHER_DEVICE))
    server.serve_snapshots()
    server.before_pull = iter([_scope_changed])
    assert (await tablet.sync(server)).entities == 6
    assert len(entities(tablet)) == 3
    assert len(entities(tablet, "Patient")) == 3


async def test_a_narrower_scope_takes_away(tablet: Tablet) -> None:
    """What a front desk may not hold goes, ops and lines; what this device wrote stays, and nothing else is lost."""
    patients = run_of(1, 3, OTHER_DEVICE, entity_type="Patient")
    clinical = run_of(4, 6, OTHER_DEVICE)
    server = serving([*patients, *clinical])
    await tablet.sync(server)
    server.log.append(make_op(7, device_id=OTHER_DEVICE))
    await tablet.sync(server)
    server.verdict = lambda op: rejected(op, "forbidden")
    mine = tablet.record()
    server.log[:] = [op for op in server.log if op.entity_type == "Patient"]
    server.serve_snapshots()
    server.snapshot_scope = "front_desk"
    server.before_pull = iter([_scope_changed])
    await tablet.sync(server)
    assert entities(tablet, "Patient") == {op.entity_id for op in patients}
    assert entities(tablet) == set(), "what was rejected does not count"
    assert tablet.op_ids() == {mine.op_id}
    assert tablet.store.heads_of("Observation", clinical[0].entity_id) == ()


async def test_a_server_that_says_a_narrower_scope_takes_away(tablet: Tablet) -> None:
    """A device learns from its status that it is a front desk's now; nobody has to give it a snapshot for that."""
    patients = run_of(1, 3, OTHER_DEVICE, entity_type="Patient")
    clinical = run_of(4, 6, OTHER_DEVICE)
    server = serving([*patients, *clinical])
    await tablet.sync(server)
    mine = tablet.record()
    server.verdict = lambda op: rejected(op, "forbidden")
    server.scope = "front_desk"
    await tablet.sync(server)
    assert entities(tablet, "Patient") == {op.entity_id for op in patients}
    assert entities(tablet) == set()
    assert tablet.op_ids() == {mine.op_id}
    assert OTHER_DEVICE not in tablet.store.have(), "what went is not claimed"


async def test_what_was_parked_and_is_told(tablet: Tablet) -> None:
    """An op that one server rejected and that a snapshot tells of is stored after all."""
    op = tablet.record()
    await tablet.sync(ScriptedServer(verdict=lambda op: rejected(op, "forbidden")))
    assert len(tablet.store.parked()) == 1
    server = serving([op])
    server.server_id = OTHER_DEVICE
    await tablet.sync(server, url="http://second.test")
    assert tablet.store.parked() == []
    assert entities(tablet) == {op.entity_id}


async def test_numbers_that_it_never_wrote(tablet: Tablet) -> None:
    """A snapshot that tells of numbers beyond this device's last shows that somebody else writes under its id."""
    server = serving([make_op(3)])
    await tablet.sync(server)
    assert server.enrolled
    assert tablet.store.identity().device_id != DEVICE


async def test_two_at_once(tablet: Tablet) -> None:
    """Of two snapshots that are read at once, only the one that was begun last is believed."""
    server = serving(run_of(1, 9, OTHER_DEVICE))
    parts = [part async for part in server.snapshot()]
    first, second = (tablet.store.snapshots.begin(parts[0].head) for _ in range(2))
    assert first is not None
    assert second is not None
    tablet.store.snapshots.take(second, parts[1].lines)
    with pytest.raises(PeerUnreachable):
        tablet.store.snapshots.take(first, parts[1].lines)
    with pytest.raises(PeerUnreachable):
        tablet.store.snapshots.end(first, parts[0].head, URL)
    assert tablet.store.snapshots.end(second, parts[0].head, URL)


@pytest.mark.parametrize(
    "line",
    [
        b"{}",
        b"x",
        b'{"entity_type":"\x80"}',
        b'{"entity_type":"p","entity_id":"1","heads":[],"state":{},"conflicts":[],"graph":[]}',
    ],
)
async def test_a_line_that_is_none(tablet: Tablet, line: bytes) -> None:
    """A snapshot with a line that can't be read again is refused whole."""
    server = serving(run_of(1, 3, OTHER_DEVICE))
    assert server.snapshot_lines is not None
    server.snapshot_lines.append(line)
    with pytest.raises(PeerUnreachable, match="not in this protocol"):
        await tablet.sync(server)
    assert entities(tablet) == set()


async def test_how_far_it_is(tablet: Tablet) -> None:
    """Progress is told in entities, with their number."""
    server = serving(run_of(1, 5, OTHER_DEVICE))
    steps: list[Progress] = []
    side = tablet.replicator(server)._local
    replicator = Replicator(side, server, clock=tablet.clock, progress=steps.append)
    await replicator.run(attempts=1, patience_s=1)
    assert [(step.phase, step.done, step.total) for step in steps] == [
        ("snapshot", 2, 5), ("snapshot", 4, 5), ("snapshot", 5, 5),
    ]  # fmt: skip


def _scope_changed() -> None:
    raise PeerRefused(409, "cursor_scope_changed", "wider now")
