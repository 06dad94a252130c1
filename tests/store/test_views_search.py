"""Searching for patients: what people type finds whom they mean, and never anything else than patients."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medxz.store.views import Views
from tests.store.viewing import PEOPLE, duplicates, empty, found, patient, put, view


@pytest.fixture
def clinic() -> Views:
    views = empty()
    put(
        views,
        patient(0, family="Müller-Lüdenscheidt", given="Änne Marie", born="1980-02-03", mrn="MRN-000123/4"),
        patient(1, family="Muller", given="Bo", born="1980-02", phone="+49 (0)151 2345678"),
        patient(2, family="O'Brien", given="Mary", born="1979", phone="0151 2345678"),
        patient(3, family="Łukaszewski", given="Zoë", phone="tel:+1-202-555-0175;ext=9"),
        patient(4, family="Großmann", given="Søren", mrn="77 88 99", born="2001-12-31"),
        patient(5, family="أحمد", given="محمد", born="1966-06-06"),
        patient(6, family="王", given="小明"),
        patient(7, family="Иванов", given="Пётр"),
        patient(8, family="Mullins", given="Anna", retracted=True),
        patient(9, family="Brien", given="Marybeth"),
        view(
            "Patient", PEOPLE[10], {"name": "Plain Text", "phone": "555 123 456", "birthDate": "04.05.1955"}
        ),
        patient(11),
        view("RelatedPerson", PEOPLE[12], {"name": [{"family": "Muller"}]}),
    )
    return views


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("müller", [1, 0, *[]]),
        ("MULLER bo", [1]),
        ("bo muller", [1]),
        ("mueller", [0]),
        ("lüdensch", [0]),
        ("müller-lüdenscheidt", [0]),
        ("mullerlud", [0]),
        ("anne mar", [0]),
        ("aenne", [0]),
        ("mull", [1, 0, 8]),
        ("mullins", [8]),
        ("o'brien", [2]),
        ("obrien", [2]),
        ("O Brien", [2]),
        ("brien mary", [2, 9]),
        ("lukasz zoe", [3]),
        ("grossmann", [4]),
        ("GROẞMANN soren", [4]),
        ("soeren", [4]),
        ("احمد", [5]),
        ("مُحَمَّد", [5]),
        ("王", [6]),
        ("小明", [6]),
        ("петр", [7]),
        ("ИВАН", [7]),
        ("1980-02-03", [0, 1]),
        ("03.02.1980", [0, 1]),
        ("3/2/1980", [0, 1]),
        ("19800203", [0, 1]),
        ("1980-02", [1, 0]),
        ("1980", [1, 0]),
        ("müller 3.2.1980", [1, 0]),
        ("1979-05-05", [2]),
        ("04.05.1955", [10]),
        ("mrn-000123/4", [0]),
        ("MRN0001234", [0]),
        ("mrn-0001", [0]),
        ("MRN 000123", [0]),
        ("778899", [4]),
        ("77 88 99", [4]),
        ("0151 2345678", [1, 2]),
        ("+49 151 234 56 78", [1, 2]),
        ("0049151/2345678", [1, 2]),
        ("345678", [1, 2]),
        ("45678", []),
        ("muller 0151 2345678", [1]),
        ("03.02.1980 müller", [0, 1]),
        ("202-555-0175", [3]),
        ("555123456", [10]),
        ("plain", [10]),
        ("muller nobody", []),
        ("", []),
        ("   ", []),
        ("?!", []),
    ],
)
def test_what_is_typed_finds_who_is_meant(clinic: Views, text: str, numbers: list[int]) -> None:
    """Names, dates, identifiers and phones find their patients in all the forms in which people type them."""
    assert sorted(found(clinic, text)) == sorted(numbers)


def test_who_fits_exactly_comes_first(clinic: Views) -> None:
    """First who has just these words, then whose words begin so, by name; at last who is retracted, and marked."""
    assert found(clinic, "mary brien") == [2, 9]
    assert found(clinic, "mull") == [1, 0, 8]
    assert found(clinic, "m")[-1] == 8
    rows = clinic.patients("mull", None, 10).rows
    assert [row.is_retracted for row in rows] == [False, False, True]


ODD = [
    '"',
    "*",
    "(",
    ")",
    "AND",
    "OR",
    "NOT",
    "NEAR",
    "^",
    ":",
    "-",
    "+",
    "#",
    "@",
    "!",
    "{",
    "}",
    "\x00",
    "'",
    ";",
    "--",
]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(ODD) | st.text(max_size=6) | st.characters(), max_size=14).map(" ".join))
def test_nothing_typed_is_syntax(text: str) -> None:
    """Any text is a question: no error, no answer that is not a patient with those words."""
    views = empty()
    put(views, patient(0, family="Silva"), patient(1, family="Retracted", retracted=True))
    for asked in (text, text.replace(" ", ""), f"{text} silva", f"silva{text}"):
        assert set(found(views, asked)) <= {0, 1}


@pytest.mark.parametrize(
    "text",
    [
        'silva" OR "retracted',
        "found_by:silva OR x",
        "silva* OR retracted",
        "!",
        "#",
        "si OR re",
        "-silva",
        "\ud800",
    ],
)
def test_operators_are_words(text: str) -> None:
    """What would be an operator to the index is a word like any other, or none."""
    views = empty()
    put(views, patient(0, family="Silva"), patient(1, family="Retracted", retracted=True))
    assert found(views, text) == ([0] if text == "-silva" else [])


def test_long_questions_are_cut(clinic: Views) -> None:
    """A question without end costs no more than a long one."""
    assert found(clinic, "müller " * 10_000) == [1, 0]
    assert found(clinic, "-".join("abcdefghij" * 1_000)) == []
    assert found(clinic, "1234567 " * 1_000) == []


def test_a_patient_is_found_by_what_holds_now(clinic: Views) -> None:
    """After a change the old name finds nobody, and a name once had and still listed does."""
    put(clinic, patient(1, family="Schmidt", given="Bo"))
    assert 1 not in found(clinic, "muller")
    assert found(clinic, "schmidt") == [1]
    married = [{"use": "maiden", "family": "Muller"}, {"use": "official", "family": "Abel", "given": ["Bo"]}]
    put(clinic, view("Patient", PEOPLE[1], {"name": married}))
    assert found(clinic, "abel") == [1]
    assert found(clinic, "muller bo") == [1]
    assert found(clinic, "bo")[0] == 1


def test_pages_of_a_search_meet_each_patient_once() -> None:
    """Following the pages skips nobody and repeats nobody while patients are added; the order is that of names."""
    rng = random.Random(5)
    views = empty()
    people = [
        view("Patient", f"{number:08x}-0000-7000-8000-000000000000",
             {"name": [{"family": "".join(rng.choices("abcdefg", k=6)), "given": ["Anna" if number % 3 else "Ann"]}]})
        for number in range(300)
    ]  # fmt: skip
    put(views, *people)
    names = {made.entity.entity_id: json_name(made) for made in people}
    seen: list[str] = []
    after = None
    while True:
        portion = views.patients("ann", after, 17)
        seen += [row.entity_id for row in portion.rows if row.entity_id in names]
        late = f"{len(seen):08x}-1111-7000-8000-000000000000"
        put(
            views,
            view(
                "Patient",
                late,
                {"name": [{"family": "".join(rng.choices("abcdefg", k=6)), "given": ["Ann"]}]},
            ),
        )
        after = portion.after
        if after is None:
            break
    exact = [one for one in names if int(one[:8], 16) % 3 == 0]
    others = [one for one in names if int(one[:8], 16) % 3]
    assert seen == sorted(exact, key=names.__getitem__) + sorted(others, key=names.__getitem__)


def json_name(made: object) -> str:
    return str(made.state["name"])  # type: ignore[attr-defined]


def test_many_of_one_name_all_have_a_place() -> None:
    """However many share a name, or have none, each is entered and found."""
    views = empty()
    ids = [f"{number:08x}-0000-7000-8000-000000000000" for number in range(2_000)]
    put(views, *(view("Patient", one, {"name": [{"family": "Unknown"}]}) for one in ids))
    seen, after = [], None
    while True:
        portion = views.patients("unknown", after, 300)
        seen += [row.entity_id for row in portion.rows]
        after = portion.after
        if after is None:
            break
    assert sorted(seen) == ids


# Duplicates.


def sides(finding: dict) -> list[int]:
    return [PEOPLE.index(side["entity_id"]) for side in finding["sides"]]


def test_two_who_share_an_identifier_are_a_finding() -> None:
    """It names both with what they say of themselves, under an id made of theirs."""
    views = empty()
    put(
        views,
        patient(1, family="Silva", mrn="A-1"),
        patient(0, family="Silba", mrn="a 1"),
        patient(2, mrn="A-2"),
    )
    [finding] = duplicates(views)
    assert (finding["kind"], finding["fields"], finding["heads"]) == ("duplicate", ["identifier"], [])
    assert sides(finding) == [0, 1]
    assert finding["entity_id"] == PEOPLE[0]
    assert finding["sides"][1]["values"]["identifier"] == [{"system": "urn:mrn", "value": "A-1"}]
    told = views.conflict(finding["conflict_id"])
    assert told is not None
    assert (told.state, told.entity_type) == ("open", "Patient")
    assert views.count_open(["Encounter"]) == 0


def test_name_and_birth_date_are_compared_folded() -> None:
    """Diacritics, case and the order of names do not keep two apart; another birth date does."""
    views = empty()
    put(
        views,
        patient(0, family="MULLER", given="Jose", born="1980-02-03"),
        patient(1, family="Müller", given="José", born="1980-02-03"),
        patient(2, family="José", given="Müller", born="1980-02-03"),
        patient(3, family="Müller", given="José", born="1980-02-04"),
        patient(4, family="Müller", given="José"),
    )
    [finding] = duplicates(views)
    assert (finding["fields"], sides(finding)) == (["name", "birthDate"], [0, 1, 2])


def test_one_set_of_patients_is_one_finding() -> None:
    """Who shares both is told once, with both; who shares different things with different people is told twice."""
    views = empty()
    put(
        views,
        patient(0, family="Silva", given="Jo", born="1990", mrn="1"),
        patient(1, family="Silva", given="Jo", born="1990", mrn="1"),
    )
    [finding] = duplicates(views)
    assert finding["fields"] == ["identifier", "name", "birthDate"]
    put(views, patient(2, mrn="1"))
    assert sorted(map(sides, duplicates(views))) == [[0, 1], [0, 1, 2]]


def test_linked_patients_are_resolved() -> None:
    """Links either way, and by way of others, settle a finding; without them it is open again."""
    views = empty()
    put(views, *(patient(number, mrn="1") for number in range(3)))
    put(views, patient(0, mrn="1", links=[1]))
    assert len(duplicates(views)) == 1
    put(views, patient(3, links=[2, 1]))  # shares nothing, and holds two together
    assert duplicates(views) == []
    [settled] = duplicates(views, "resolved")
    assert sides(settled) == [0, 1, 2]
    put(views, patient(3, links=[2]))
    assert [sides(finding) for finding in duplicates(views)] == [[0, 1, 2]]
    assert duplicates(views, "resolved") == []


def test_retracted_patients_are_nobodys_duplicates() -> None:
    """A finding goes with the retraction of one of two, and shrinks with that of one of three."""
    views = empty()
    put(views, *(patient(number, mrn="1") for number in range(3)))
    put(views, patient(2, mrn="1", retracted=True))
    assert [sides(finding) for finding in duplicates(views)] == [[0, 1]]
    put(views, patient(1, mrn="1", retracted=True))
    assert duplicates(views) == []
    put(views, patient(1, mrn="1"))
    assert [sides(finding) for finding in duplicates(views)] == [[0, 1]]


def test_a_value_of_everybody_tells_nothing() -> None:
    """What hundreds share stands for unknown: it is no finding, and the real ones stay."""
    views = empty()
    many = [f"{number:08x}-0000-7000-8000-000000000000" for number in range(250)]
    for at in range(0, 250, 50):
        put(views, *(view("Patient", one, {"identifier": [{"value": "n/a"}]}) for one in many[at : at + 50]))
    put(views, patient(0, mrn="1"), patient(1, mrn="1"))
    assert [sides(finding) for finding in duplicates(views)] == [[0, 1]]
