"""A device that began with a snapshot and one that read the whole log agree, whatever arrives later."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medxz.device.store.heads import known_heads
from medxz.device.store.identity import change_identity
from medxz.merge.entity import Entity
from medxz.merge.history import history_of
from medxz.op import Operation
from medxz.replicate import LogId, SnapshotHead
from tests.making import CLINIC, fixed_id, make_op
from tests.unit.device.scripted import URL, Tablet, have_of, lines_of

LOG = LogId(fixed_id(0xA1), fixed_id(0xA2))
TYPES = ("Patient", "Observation", "Condition")
VALUES = {
    "name": ('[{"family":"Ott","given":["Ada"]}]', '[{"family":"Öz"}]', "null"),
    "birthDate": ('"1980-01-01"', '"1981"'),
    "a": ("1", "1.0", "null"),
}
# nothing of this is about power cuts: a disk that lives in memory does
FAST = "/dev/shm" if Path("/dev/shm").is_dir() else None
FIFTEEN_DAYS_MS = 15 * 86_400_000

Step = tuple[int, str, int, frozenset[int], dict[str, str]]
STEP = st.tuples(
    st.integers(0, 2),
    st.sampled_from(("create", "update", "update", "amend", "retract", "resolve")),
    st.integers(0, 2),
    st.frozensets(st.sampled_from((0, 0, 0, 1, 1, 2, 5)), max_size=3),
    st.fixed_dictionaries({}, optional={name: st.sampled_from(texts) for name, texts in VALUES.items()}),
)


def payload(op_type: str, fields: dict[str, str]) -> str:
    if op_type == "retract":
        return '{"reason":"wrong patient"}'
    told = dict(fields) | ({"_resolve": '{"reason":"asked"}'} if op_type == "resolve" else {})
    return "{" + ",".join(f'"{name}":{text}' for name, text in told.items()) + "}"


def history(steps: Sequence[Step]) -> list[Operation]:
    """Ops of three entities by three devices. Some follow old ops, some follow ops that never come."""
    ops: list[Operation] = []
    for seq, (which, op_type, device, behind, fields) in enumerate(steps, start=1):
        own = [op.op_id for op in ops if op.entity_id == fixed_id(which + 1)]
        # counted from the end: 0 is the last; beyond the first stands an op that is nowhere
        parents = {own[-1 - place] if place < len(own) else fixed_id(0x900 + place) for place in behind}
        ops.append(
            make_op(
                seq, device_id=fixed_id(0x100 + device), entity_type=TYPES[which], entity_id=fixed_id(which + 1),
                op_type=op_type, parents=() if op_type == "create" else tuple(sorted(parents)),
                payload=payload(op_type, fields),
            )
        )  # fmt: skip
    return ops


def told(tablet: Tablet) -> list[object]:
    """All that a device says of its entities."""
    while tablet.store.entities.refresh("loud"):
        pass
    open_conflicts = tablet.store.entities.count_open(None)
    while tablet.store.entities.refresh("all"):
        pass
    assert tablet.store.entities.count_open(None) == open_conflicts, (
        "what was put off had no part in a conflict"
    )
    said: list[object] = []
    for which, entity_type in enumerate(TYPES):
        entity = Entity(CLINIC, entity_type, fixed_id(which + 1))
        view = tablet.store.entities.get(entity_type, entity.entity_id)
        assert view is not None or not tablet.store.heads_of(entity_type, entity.entity_id)
        if view is not None:
            assert view.heads == tablet.store.heads_of(entity_type, entity.entity_id), (
                "rows of heads are exact"
            )
            with tablet.store._file.transaction() as connection:
                known_heads(connection, entity)  # as whoever records an op does
        changes = [
            msgspec.structs.replace(change, server_seq=None, server_received_at=None)
            for change in tablet.store.entities.changes(entity_type, entity.entity_id)[1]
        ]
        said += [view, history_of(entity, changes), tablet.store.entities.listed(entity_type, None, 10)]
    said += [tablet.store.entities.conflicts(state, None, None, 100) for state in ("open", "resolved")]
    return [*said, tablet.store.entities.patients("ott", None, 10), tablet.store.entities.count_open(None)]


def take_snapshot(tablet: Tablet, ops: Sequence[Operation], part: int = 2) -> None:
    lines = lines_of(ops)
    head = SnapshotHead(
        server_id=LOG.server_id, epoch=LOG.epoch, cursor="c", have=have_of(ops), entities=len(lines)
    )
    number = tablet.store.snapshots.begin(head)
    assert number is not None
    for first in range(0, len(lines), part):
        tablet.store.snapshots.take(number, lines[first : first + part])
    assert tablet.store.snapshots.end(number, head, URL)
    tablet.store.snapshots.tidy()


def take_page(tablet: Tablet, ops: Sequence[Operation]) -> None:
    tablet.store.apply(LOG, URL, ops, "c")


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    steps=st.lists(STEP, min_size=3, max_size=14),
    order=st.randoms(use_true_random=False),
    cut=st.integers(0, 12),
    batches=st.lists(st.tuples(st.sets(st.integers(0, 13), max_size=6), st.booleans()), max_size=3),
)
def test_a_snapshot_says_what_the_log_says(steps, order, cut, batches) -> None:
    """Whatever was in the snapshot, and whatever comes after it in whatever order, both devices say the same."""
    ops = history(steps)
    order.shuffle(ops)
    with tempfile.TemporaryDirectory(dir=FAST) as folder:
        short, whole = Tablet(Path(folder) / "short"), Tablet(Path(folder) / "whole")
        take_snapshot(short, ops[:cut])
        take_page(whole, ops[:cut])
        assert told(short) == told(whole)
        for places, by_snapshot in [*batches, (set(range(len(ops))), False)]:
            some = [ops[place] for place in sorted({place % len(ops) for place in places})]
            order.shuffle(some)
            (take_snapshot if by_snapshot else take_page)(short, some)
            take_page(whole, some)
            assert told(short) == told(whole)
        for tablet in (short, whole):
            tablet.store.close()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=st.lists(STEP, min_size=2, max_size=10), cut=st.integers(0, 10), mine=st.sets(st.integers(0, 9)))
def test_forgetting_changes_nothing(steps, cut, mine) -> None:
    """A device that has let go of its own ops says of every entity what it said before, whatever comes later."""
    ops = history(steps)
    with tempfile.TemporaryDirectory(dir=FAST) as folder:
        tablet, whole = Tablet(Path(folder) / "tablet"), Tablet(Path(folder) / "whole")
        for number, op in enumerate(ops[:cut], start=1):
            take_page(tablet, [op])
            with tablet.store._file.transaction() as connection:
                if number in mine:
                    connection.execute(
                        "UPDATE op SET own_seq = ?, mine = 1 WHERE position = ?", (number, number)
                    )
        tablet.clock.time_ms += FIFTEEN_DAYS_MS
        with tablet.store._file.transaction() as connection:
            change_identity(connection, cloud_through=cut)
        assert tablet.store.forget() == len(mine & set(range(1, min(cut, len(ops)) + 1)))
        take_page(whole, ops[:cut])
        assert told(tablet) == told(whole)
        take_page(tablet, ops[cut:])
        take_page(whole, ops[cut:])
        assert told(tablet) == told(whole)
        for one in (tablet, whole):
            one.store.close()
