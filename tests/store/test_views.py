"""The derived tables: what is put in is found, whatever came before and in whichever order."""

from __future__ import annotations

import json
import random
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medxz.merge.change import raw_members
from medxz.op import Operation
from medxz.store.views import Asked, prepare
from medxz.store.views.dated import RUN_ENTITIES
from medxz.store.views.filling import taken_of, taken_of_one
from tests.making import fixed_id, make_op
from tests.store.viewing import PEOPLE, duplicates, empty, found, of_ops, of_patient, patient, put, told, view

ENTITY = fixed_id(0x77)


def op(op_type: str, *parents: Operation, entity_type: str = "Patient", **payload: Any) -> Operation:
    return make_op(
        1, op_type=op_type, parents=tuple(sorted(parent.op_id for parent in parents)), entity_type=entity_type,
        entity_id=ENTITY, payload=json.dumps(payload),
    )  # fmt: skip


def test_entities_are_listed_by_type_in_pages() -> None:
    """Following the pages meets every entity of the type that was there all the while once, also while some are added."""
    views = empty()
    ids = [fixed_id(number) for number in range(0, 60, 2)]
    put(views, *(view("Encounter", one, {}) for one in ids), view("Patient", ids[0], {}))
    seen: list[str] = []
    after, extra = None, iter(range(1, 60, 2))
    while True:
        portion = views.entities("Encounter", after, 7)
        seen += [row.entity_id for row in portion.rows]
        put(views, view("Encounter", fixed_id(next(extra)), {}))
        if portion.after is None:
            break
        after = portion.after
    assert [one for one in seen if one in ids] == ids
    assert all(one < other for one, other in pairwise(seen))


def test_entities_are_counted_once() -> None:
    """An entity put twice counts once, and each type for itself."""
    views = empty()
    for _ in range(2):
        put(views, view("Encounter", ENTITY, {}), view("Patient", ENTITY, {}), view("Patient", PEOPLE[0], {}))
    assert views.count_entities() == 3
    assert views.count_entities(["Patient", "Nothing"]) == 2
    assert views.count_entities([]) == 0


def test_an_open_conflict_is_told_until_it_is_resolved() -> None:
    """What was open is resolved by the op that joins the sides, under the same id, and is open no more."""
    views = empty()
    made = op("create", phone="1")
    one, other = op("update", made, phone="2"), op("update", made, phone="3")
    joined = op("resolve", one, other, phone="4", _resolve={"reason": "asked"})
    open_view, _ = of_ops(made, one, other)
    put(views, open_view)
    [told_open] = views.conflicts("open", None, None, 10).rows
    assert (told_open.kind, told_open.entity_id, views.count_open()) == ("edit", ENTITY, 1)
    assert json.loads(told_open.body)["fields"] == ["phone"]

    closed, resolved = of_ops(made, one, other, joined)
    views.put([closed], resolved={closed.entity: resolved})
    assert views.conflicts("open", None, None, 10).rows == []
    [told_resolved] = views.conflicts("resolved", None, None, 10).rows
    assert told_resolved.conflict_id == told_open.conflict_id
    assert json.loads(told_resolved.body)["resolved_by"] == joined.op_id
    assert views.conflict(told_open.conflict_id) == told_resolved
    assert views.count_open() == 0


def test_a_conflict_that_vanishes_is_told_no_more() -> None:
    """A conflict that a late op shows to be none leaves nothing behind."""
    views = empty()
    made = op("create", phone="1")
    one = op("update", made, phone="2")
    other = op("update", one, phone="3")
    put(views, of_ops(made, other)[0])  # `one` is missing: nothing says yet that the other came after it
    before = views.count_open()
    put(views, of_ops(made, one, other)[0])
    assert (views.count_open(), views.conflicts("resolved", None, None, 9).rows) == (0, [])
    assert before in {0, 1}


def test_conflicts_are_paged_and_filtered_by_type() -> None:
    """Pages of conflicts meet each once; types that are not asked for are neither listed nor counted."""
    views = empty()
    for number in range(9):
        made = make_op(1, entity_type="Patient" if number % 3 else "Encounter", payload='{"a":1}')
        sides = [
            make_op(2, entity_type=made.entity_type, entity_id=made.entity_id, op_type="update",
                    parents=(made.op_id,), payload=f'{{"a":{value}}}')
            for value in (2, 3)
        ]  # fmt: skip
        put(views, of_ops(made, *sides)[0])
    seen, after = [], None
    while True:
        portion = views.conflicts("open", ["Patient"], after, 2)
        seen += [row.conflict_id for row in portion.rows]
        after = portion.after
        if after is None:
            break
    assert len(seen) == len(set(seen)) == 6 == views.count_open(["Patient"])
    assert views.count_open([]) == 0


def test_a_patients_list_is_newest_first() -> None:
    """What is of a patient comes by date, newest first, and last what has none; each type can be asked for alone."""
    views = empty()
    subject = {"subject": {"reference": f"Patient/{PEOPLE[0]}"}}
    rows: dict[int, tuple[str, dict[str, Any]]] = {
        1: ("Observation", {"effectiveDateTime": "2026-03-01"}),
        2: ("Observation", {"effectiveDateTime": "2026-03-01T10:00:00.250Z"}),
        3: ("Observation", {"effectiveDateTime": "2026-03-01T10:00:00.100Z"}),
        4: ("Encounter", {"period": {"start": "2026-03-01T12:30:00+02:00"}}),
        5: ("Encounter", {}),
        6: ("Condition", {"onsetDateTime": "2025"}),
    }
    for number, (entity_type, state) in rows.items():
        put(views, view(entity_type, fixed_id(number), subject | state))
    put(views, view("Observation", fixed_id(7), {"subject": {"reference": f"Patient/{PEOPLE[1]}"}}))
    listed = [row.entity_id for row in of_patient(views, PEOPLE[0])]
    assert listed == [fixed_id(number) for number in (4, 2, 3, 1, 6, 5)]
    assert [row.entity_id for row in of_patient(views, PEOPLE[0], ["Encounter"])] == [
        fixed_id(4),
        fixed_id(5),
    ]
    assert of_patient(views, PEOPLE[0], []) == []
    one_day = Asked(PEOPLE[0], None, first="2026-03-01", last="2026-03-01")
    assert len(views.of_patient(one_day, None, 50).rows) == 4
    early = Asked(PEOPLE[0], None, last="2026-03-01T10:00:00.000Z")
    assert [row.entity_id for row in views.of_patient(early, None, 50).rows][-1] == fixed_id(6)
    assert views.of_patient(Asked(PEOPLE[0], None, first="soon"), None, 50).rows == []


def test_a_patients_list_is_paged() -> None:
    """Pages of what is of a patient meet each once, the newest of all first, however many are of one day."""
    views = empty()
    subject = {"subject": {"reference": f"urn:uuid:{PEOPLE[0]}"}, "effectiveDateTime": "2026-03-01"}
    put(views, *(view("Observation", fixed_id(number), subject) for number in range(50)))
    seen, after = [], None
    while True:
        portion = views.of_patient(Asked(PEOPLE[0], ["Observation"]), after, 8)
        seen += [row.entity_id for row in portion.rows]
        put(
            views,
            view("Observation", fixed_id(1_000 + len(seen)), subject | {"effectiveDateTime": "2026-04-01"}),
        )
        after = portion.after
        if after is None:
            break
    assert sorted(seen) == [fixed_id(number) for number in range(50)]


def test_an_entity_moves_with_its_date_and_its_patient() -> None:
    """Another date or another patient: it is found where it belongs now, and nowhere else."""
    views = empty()
    for who, when in ((0, "2026-01-01"), (0, "2026-02-01"), (1, "2026-02-01")):
        state = {"subject": {"reference": f"Patient/{PEOPLE[who]}"}, "date": when}
        put(views, view("Composition", ENTITY, state))
    assert of_patient(views, PEOPLE[0]) == []
    assert [row.entity_id for row in of_patient(views, PEOPLE[1])] == [ENTITY]
    put(views, view("Composition", ENTITY, {"title": "of nobody"}))
    assert of_patient(views, PEOPLE[1]) == []
    assert views.count_entities() == 1


def test_a_patients_list_reaches_into_every_run() -> None:
    """However many entities were entered in between, what is of a patient is listed by its moments, each once."""
    views = empty()
    about, other = ({"subject": {"reference": f"Patient/{PEOPLE[who]}"}} for who in (0, 1))
    first, second, later = fixed_id(1), fixed_id(2), fixed_id(3)
    put(views, *(view("Encounter", one, about | {"date": "2026-02"}) for one in (first, second)))
    put(views, *(view("Observation", fixed_id(n), other) for n in range(100, 100 + RUN_ENTITIES)))
    put(views, view("Condition", later, about | {"date": "2026-01"}))
    assert [row.entity_id for row in of_patient(views, PEOPLE[0])] == [second, first, later]
    put(views, view("Encounter", second, about | {"date": "2025"}))
    assert [row.entity_id for row in of_patient(views, PEOPLE[0])] == [first, later, second]
    put(views, view("Encounter", first, other), view("Encounter", second, other))
    assert [row.entity_id for row in of_patient(views, PEOPLE[0])] == [later]


@pytest.mark.parametrize("op_type", ["create", "retract"])
@pytest.mark.parametrize("entity_type", ["Encounter", "Appointment"])
def test_an_entity_of_one_op_is_read_as_its_view(op_type: str, entity_type: str) -> None:
    """What is taken out of a single op at once is what its view would say."""
    actor = {"actor": {"reference": f"Patient/{PEOPLE[1]}"}}
    payload = {
        "subject": {"reference": f"https://x.test/Patient/{PEOPLE[0]}/_history/1"}, "patient": None,
        "participant": [actor, actor, {"actor": None}], "effectiveDateTime": None, "period": {"start": "2026-03"},
        "_resolve": {"reason": "none"},
    }  # fmt: skip
    made = op(op_type, entity_type=entity_type, **payload)
    whole, resolved = of_ops(made)
    at_once = taken_of_one(whole.entity, raw_members(made.payload), is_retracted=op_type == "retract")
    assert at_once == taken_of(whole, resolved)
    assert (at_once.entry is None) == at_once.is_retracted


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
NAMES = (
    "name", "birthDate", "identifier", "telecom", "phone", "link", "subject", "patient", "effectiveDateTime",
    "period", "date", "participant",
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(["Patient", "Appointment", "Observation"]),
    st.dictionaries(st.sampled_from(NAMES), JSON),
    JSON,
)
def test_no_state_is_too_strange(entity_type: str, state: dict[str, Any], inner: Any) -> None:
    """Whatever stands where FHIR has something else, the entity is put in and listed."""
    views = empty()
    nested = {
        "name": [{"family": inner, "given": inner, "use": inner, "text": inner}],
        "link": [{"other": inner}],
    }
    nested |= {
        "identifier": [{"value": inner, "system": inner}],
        "telecom": [{"value": inner, "system": inner}],
    }
    put(views, view(entity_type, ENTITY, state), view("Patient", PEOPLE[0], nested))
    put(views, view(entity_type, ENTITY, nested), view("Patient", PEOPLE[0], state))
    assert views.count_entities([entity_type]) == 1 + (entity_type == "Patient")


@pytest.mark.parametrize(
    "raw", [b"1e999", b"123456789012345678901234567890", b'"\\ud800"', b"[" * 500 + b"]" * 500]
)
def test_no_number_is_too_long(raw: bytes) -> None:
    """What one JSON reader takes and another does not is no reason to stop."""
    views = empty()
    strange = view("Patient", ENTITY, {})
    for name in NAMES:
        put(views, msgspec.structs.replace(strange, state={name: raw}))
    assert views.count_entities() == 1


def random_view(rng: random.Random) -> Any:
    number = rng.randrange(6)
    if rng.random() < 0.5:
        return patient(
            number, retracted=rng.random() < 0.2, family=rng.choice(["Müller", "Silva", "Łuk"]), mrn=rng.choice("ABC"),
            given=rng.choice(["Anna", "Jo"]), born=rng.choice(["1980-02-03", "1990"]), links=rng.sample(range(6), 2),
        )  # fmt: skip
    state = {
        "subject": {"reference": f"Patient/{PEOPLE[rng.randrange(3)]}"},
        "date": f"202{rng.randrange(9)}",
    }
    return view(rng.choice(["Encounter", "Condition"]), fixed_id(number), state)


@pytest.mark.parametrize("seed", range(12))
def test_only_the_last_views_count(seed: int) -> None:
    """The tables are the same whatever was put before, in whichever order and in batches of whichever size."""
    rng = random.Random(seed)
    history = [random_view(rng) for _ in range(60)]
    worn = empty()
    at = 0
    while at < len(history):
        size = rng.choice([1, 2, 7])
        put(worn, *history[at : at + size])
        at += size
    last = list({made.entity: made for made in history}.values())
    rng.shuffle(last)
    fresh = empty()
    for made in last:
        put(fresh, made)
    assert told(worn) == told(fresh)
    put(worn, *reversed(last))
    assert told(worn) == told(fresh)
    assert [json.loads(row.body) for row in worn.conflicts("open", None, None, 99).rows] == duplicates(fresh)


def test_what_has_no_ops_any_more_goes() -> None:
    """A view of no ops leaves nothing of its entity, and what others shared with it is no finding."""
    views = empty()
    about = {"subject": {"reference": f"Patient/{PEOPLE[0]}"}, "date": "2026"}
    put(views, patient(1, family="Silva", mrn="1"))
    before = told(views)
    one, other = patient(0, family="Silva", mrn="1"), view("Encounter", ENTITY, about)
    put(views, one, other)
    assert (len(duplicates(views)), views.count_entities()) == (1, 3)
    put(
        views,
        *(
            msgspec.structs.replace(gone, state={}, version=0)
            for gone in (one, other, view("Coverage", ENTITY, {}))
        ),
    )
    counts = told(views).pop("type")
    assert told(views) | {"type": before["type"]} == before
    assert counts == [("Encounter", 0), ("Patient", 1)]
    assert views.entities("Encounter", None, 9).rows == of_patient(views, PEOPLE[0]) == []


def test_a_put_is_whole_or_nothing() -> None:
    """What fails in the middle leaves the tables as they were, in a transaction of somebody else's, too."""
    views = empty()
    put(views, patient(0, family="Silva"))
    before = told(views)
    views._connection.execute("BEGIN")
    with pytest.raises(AttributeError):
        views.put([patient(1, family="Silva"), None])  # type: ignore[list-item]
    views._connection.execute("COMMIT")
    assert told(views) == before
    assert views.through == 0


def test_tables_of_another_source_are_made_anew() -> None:
    """Who fills them from something else begins with nothing; who does not, finds what is there."""
    views = empty()
    put(views, patient(0, family="Silva"))
    assert not prepare(views._connection)
    assert found(views, "silva") == [0]
    assert prepare(views._connection, "another log")
    assert told(views) == told(empty())
    assert views.through == 0
