"""What is taken out of a patient's state, folded; whatever the state looks like."""

# ruff: noqa: RUF001  letters of other scripts are what is tested

from __future__ import annotations

import json
from time import process_time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medxz.merge.fold import FOLDED_CHARS_MAX, WORD_CHARS_MAX, fold, joined, spellings, words
from medxz.merge.patients import (
    LINKS_MAX,
    SHARED_IDENTIFIERS_MAX,
    SHARED_NAMES_MAX,
    VALUES_MAX,
    WORDS_MAX,
    Facts,
    dates_typed,
    facts_of,
    phone_digits,
)


def facts(**state: Any) -> Facts:
    return facts_of({name: json.dumps(value).encode() for name, value in state.items()})


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("MÜLLER", "muller"),
        ("Mu\u0308ller", "muller"),
        ("Straße", "strasse"),
        ("STRA\u1e9eE", "strasse"),
        ("Łódź", "lodz"),
        ("Đorđe", "dorde"),
        ("Æbelø", "aebelo"),
        ("\u0130stanbul", "istanbul"),
        ("Ĳsbrand", "ijsbrand"),
        ("ﬁne", "fine"),
        ("Ёлкин", "елкин"),
        ("مُحَمَّد", "محمد"),
        ("أحمد", "احمد"),
        ("王小明", "王小明"),
        ("ガンマ", "ガンマ"),
        ("한국", "한국"),
        ("١٩٨٠", "1980"),
        ("", ""),
    ],
)
def test_folding_takes_away_what_people_leave_out(text: str, folded: str) -> None:
    """Case, diacritics and forms of the same letter are no difference; letters of other scripts stay."""
    assert fold(text) == folded


@given(st.text())
def test_folding_twice_is_folding_once(text: str) -> None:
    """What is folded is folded; and words are the same whenever they are taken."""
    assert words(fold(fold(text))) == words(fold(text))
    assert all(word and len(word) <= WORD_CHARS_MAX for word in words(fold(text)))


def test_what_stands_between_words_divides_them() -> None:
    """Signs divide words in every script, and vowel signs and invisible joiners do not."""
    assert words(fold("O'Brien-Smith, J.")) == ["o", "brien", "smith", "j"]
    assert words(fold("राम कुमार")) == ["राम", "कुमार"]
    assert words("می\u200cخواهم") == ["میخواهم"]
    assert joined("o'brien") == "obrien"
    assert list(spellings("Müller")) == ["muller", "mueller"]
    assert list(spellings("Muller")) == ["muller"]


def test_names_are_taken_in_all_their_forms() -> None:
    """FHIR's names, one or several, and texts that stand in their place; today's name is what a patient is listed by."""
    official = {"use": "official", "family": "Silva", "given": ["Ana", "Luz"]}
    maiden = {"use": "maiden", "family": "O'Brien"}
    found = facts(name=[maiden, official])
    assert found.sort_name == "silva ana luz"
    assert found.words == ("ana", "brien", "luz", "o", "obrien", "silva")
    assert facts(name=official).words == ("ana", "luz", "silva")
    assert facts(name="Ana Silva").sort_name == "ana silva"
    assert facts(name=[{"text": "Ana Silva", "given": "Ana"}]).words == ("ana", "silva")
    assert facts(name=[{"family": 7, "given": [None, "Ana"], "use": ["x"]}, 5, None]).words == ("ana",)


@pytest.mark.parametrize(
    ("typed", "days"),
    [
        ("1980-02-03", ["19800203"]),
        ("1980/2/3", ["19800203"]),
        ("03.02.1980", ["19800203"]),
        ("3.2.1980", ["19800203"]),
        ("19800203", ["19800203"]),
        ("03/02/1980", ["19800203", "19800302"]),
        ("25/12/1980", ["19801225"]),
        ("1980-02", ["198002"]),
        ("02.1980", ["198002"]),
        ("1980", ["1980"]),
        ("1980-02-30", []),
        ("19801301", []),
        ("0000", []),
        ("9999", []),
        ("198", []),
        ("1980-02-03x", []),
        ("", []),
    ],
)
def test_dates_are_read_as_people_type_them(typed: str, days: list[str]) -> None:
    """Year first, day first, without signs, a month or a year alone; where it may be either way, both ways."""
    assert dates_typed(typed) == days


def test_birth_dates_are_those_of_the_state() -> None:
    """A full date, a partial one, one with a time and one that is not FHIR's; nonsense is none."""
    assert facts(birthDate="1980-02-03").birth_dates == ("19800203",)
    assert facts(birthDate="1980").birth_dates == ("1980",)
    assert facts(birthDate="1980-02-03T10:00:00Z").birth_dates == ("19800203",)
    assert facts(birthDate="03.02.1980").birth_dates == ("19800203",)
    assert facts(birthDate="unknown").birth_dates == facts(birthDate=1980).birth_dates == ()


@pytest.mark.parametrize(
    ("typed", "digits"),
    [
        ("+49 (0)151 234-5678", "491512345678"),
        ("0049 151 2345678", "491512345678"),
        ("0151/2345678", "1512345678"),
        ("tel:+1-202-555-0175;ext=9", "12025550175"),
        ("2025550175 x12", "2025550175"),
        ("12345", None),
        ("000000012345", None),
        ("1" * 21, None),
        ("none", None),
    ],
)
def test_phones_are_their_digits(typed: str, digits: str | None) -> None:
    """Digits without extension and zeros before them; too few or too many are no phone's."""
    assert phone_digits(typed) == digits


def test_phones_are_taken_from_contacts_and_plain_members() -> None:
    """Every way of calling somebody is a phone, and an address is none."""
    telecom = [
        {"system": "phone", "value": "0151 2345678"},
        {"value": "0151-2345679"},
        {"system": "email", "value": "1234567@x"},
    ]
    assert facts(telecom=telecom, phone="555 123 456").phones == ("1512345678", "1512345679", "555123456")


def test_identifiers_count_with_their_system() -> None:
    """Two systems may give one value to two people; blanks, signs and case make no other value."""
    one = facts(identifier=[{"system": "urn:a", "value": "Mrn-1 2"}])
    assert one.identifiers == ("mrn12",)
    assert one.shared == (("identifier", "urn:a|mrn12"),)
    assert facts(identifier={"system": "urn:b", "value": "MRN12"}).shared != one.shared
    assert facts(identifier=[{"system": " urn:a", "value": "mrn12"}]).shared == one.shared
    assert facts(identifier=[{"value": 12}]).identifiers == ("12",)
    assert facts(identifier=[{"value": "-"}, {"value": True}, {"system": "urn:a"}, "x9"]).identifiers == (
        "x9",
    )


def test_a_name_tells_apart_only_with_a_birth_date() -> None:
    """Folded and in any order, each name with the birth date; without one it is shared by too many."""
    one = facts(name=[{"family": "Müller", "given": ["José"]}], birthDate="1980-02-03")
    other = facts(name=[{"family": "JOSE", "given": ["muller"]}], birthDate="1980-02-03")
    assert one.shared == other.shared == (("name", "jose muller|19800203"),)
    assert facts(name=[{"family": "Müller"}]).shared == ()
    assert facts(birthDate="1980-02-03").shared == ()


def test_links_are_of_patients() -> None:
    """A link to another patient counts, in whichever form of reference; others do not."""
    other = "00000000-0000-0000-0000-0000000000aa"
    links = [
        {"other": {"reference": f"Patient/{other}"}}, {"other": {"reference": f"urn:uuid:{other.upper()}"}},
        {"other": {"reference": f"RelatedPerson/{other}"}}, {"other": other}, "x",
    ]  # fmt: skip
    assert facts(link=links).links == (other,)
    assert facts(link=f"Patient/{other}").links == ()


def test_a_state_of_any_size_gives_a_bounded_number_of_facts() -> None:
    """Tens of thousands of names, numbers and links cost no more than hundreds."""
    found = facts(
        name=[{"family": " ".join(f"name{number}x{part}" for part in range(20))} for number in range(5_000)],
        identifier=[{"value": f"x{number}"} for number in range(5_000)],
        link=[
            {"other": {"reference": f"Patient/{number:08x}-0000-0000-0000-000000000000"}}
            for number in range(5_000)
        ],
        birthDate="1980",
    )
    assert (len(found.words), len(found.links)) == (WORDS_MAX, LINKS_MAX)
    assert len(found.identifiers) == VALUES_MAX
    assert len(found.shared) == SHARED_IDENTIFIERS_MAX + SHARED_NAMES_MAX


@pytest.mark.parametrize(
    "name",
    [
        "a" + "\u0315" * 10_000 + "\u0300" * 10_000,
        "\u0344" * 20_000,
        ("\u0f73" * 50 + "\u0f71" * 50) * 200,
        "\ufdfa" * 20_000,
    ],
    ids=["marks", "double marks", "marks in disguise", "one letter that is eighteen"],
)
def test_folding_takes_no_time(name: str) -> None:
    """A text of marks alone, which a normal form sorts one by one, is folded as quickly as a name."""
    begun = process_time()
    found = facts(name=[{"family": name, "given": [name] * 3}, name], telecom=[{"value": name}])
    assert process_time() - begun < 0.5
    assert len(found.sort_name) <= FOLDED_CHARS_MAX


def test_a_letter_keeps_its_marks() -> None:
    """As many marks as people write on a letter are taken off it, and what follows is still read."""
    assert fold("Ng\u0302\u0323\u0301\u0315a" + "\u0301" * 50 + "b") == "ngab"
