"""What one entity, or a page, can cost the derived tables, whatever was written: bounded bytes, rows and memory."""

from __future__ import annotations

import json
import tracemalloc
from random import Random

from medxz import limits
from medxz.merge.view import Conflict, Resolved, Side, View
from tests.making import DEVICE, USER, fixed_id, make_op
from tests.store.viewing import duplicates, empty, of_ops, patient, put, view

ONE = fixed_id(0x55)


def long_conflict(made: View, number: int) -> Conflict:
    values: dict[str, bytes | None] = {"note": b'"%b"' % (b"x" * 200_000)}
    sides = tuple(
        Side(
            op_id=fixed_id(op),
            op_type="update",
            user_id=USER,
            device_id=DEVICE,
            device_time="",
            values=values,
        )
        for op in (1, 2)
    )
    return Conflict(
        conflict_id=fixed_id(number),
        kind="edit",
        entity=made.entity,
        fields=("note",),
        op_ids=(),
        sides=sides,
    )


def test_conflicts_are_made_and_written_one_by_one() -> None:
    """However many conflicts of an entity were resolved, and however often each, one is in memory at a time."""
    views = empty()
    made = view("Condition", ONE, {})
    resolved = [
        Resolved(conflict=long_conflict(made, number % 20), by=fixed_id(900 - number)) for number in range(60)
    ]
    tracemalloc.start()
    try:
        views.put([made], resolved={made.entity: resolved})
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 3_000_000
    rows = views.conflicts("resolved", None, None, 100).rows
    assert [json.loads(row.body)["resolved_by"] for row in rows] == [
        fixed_id(900 - number) for number in range(20)
    ]


def test_a_page_of_long_conflicts_ends_before() -> None:
    """A page holds no more bytes than a page may have, one conflict at least, and the next one goes on behind it."""
    views = empty()
    for number in range(30):
        ops = [
            make_op(
                2 * number + side,
                entity_type="Condition",
                entity_id=fixed_id(0x700 + number),
                payload=json.dumps({"note": f"{side}" + "x" * 250_000}),
            )
            for side in (1, 2)
        ]
        put(views, of_ops(*ops)[0])
    seen: list[str] = []
    after: str | None = ""
    pages = 0
    while after is not None:
        portion = views.conflicts("open", None, after, 500)
        assert sum(len(row.body) for row in portion.rows) < limits.PULL_PAGE_BYTES_MAX + limits.MIB
        seen += [row.conflict_id for row in portion.rows]
        after, pages = portion.after, pages + 1
    assert len(seen) == len(set(seen)) == 30
    assert pages == 2


def test_a_finding_says_little_of_each_patient() -> None:
    """Members that are long are left out of a finding; a short one beside them is told."""
    views = empty()
    put(views, patient(0, born="1980", mrn="1", family="x" * 100_000), patient(1, mrn="1", family="Silva"))
    [finding] = duplicates(views)
    assert [sorted(side["values"]) for side in finding["sides"]] == [
        ["birthDate", "identifier"],
        ["identifier", "name"],
    ]


def test_a_finding_tells_what_holds_now() -> None:
    """A patient's new name is told in a finding, though nothing that it was found by has changed."""
    views = empty()
    put(views, patient(0, mrn="1"), patient(1, mrn="1"))
    put(views, patient(0, mrn="1", family="Silva"))
    [finding] = duplicates(views)
    assert finding["sides"][0]["values"]["name"][0]["family"] == "Silva"


def test_a_change_of_a_patient_is_written_once() -> None:
    """Who shares many values with many has a row of a name to change, not every finding."""
    views = empty()

    def crowded(number: int, family: str) -> View:
        chance = Random(number)
        shared = [{"system": "s", "value": f"v{value}"} for value in range(40) if chance.random() < 0.5]
        state = {"identifier": shared, "name": [{"family": family}], "note": "x" * 1_000}
        return view("Patient", f"{number:08x}-0000-7000-8000-000000000000", state)

    put(views, *(crowded(number, "A") for number in range(150)))
    assert len(duplicates(views)) > 20
    connection = views._connection
    assert connection.execute("SELECT count(body) FROM view_conflict").fetchall() == [(0,)]
    before = connection.total_changes
    put(views, crowded(0, "B"))
    assert connection.total_changes - before < 30
