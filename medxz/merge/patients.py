"""What a patient is found by, and what two patients should not share: names, birth date, identifiers, phones, links.

FHIR's Patient where the state looks like one; what has another form is passed over, never refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from itertools import chain, islice
from typing import Final, TypeVar

from medxz.merge.fold import fold, joined, spellings, words
from medxz.merge.members import State, member, objects, patient_id, texts

T = TypeVar("T")

# Of one patient; a payload of 256 KiB could hold tens of thousands. The first ones count.
NAMES_MAX: Final = 20
NAME_PARTS_MAX: Final = 8
WORDS_MAX: Final = 200
VALUES_MAX: Final = 50
LINKS_MAX: Final = 200
# What it is compared by: each of these values is looked up whenever one of those who share it changes.
SHARED_IDENTIFIERS_MAX: Final = 8
SHARED_NAMES_MAX: Final = 4
PHONE_DIGITS_MIN: Final = 6
PHONE_DIGITS_MAX: Final = 20

# Today's name is listed before what somebody was once called.
_USES: Final = ("official", "usual", None, "nickname", "temp", "anonymous", "old", "maiden")
_NO_PHONES: Final = ("email", "url", "other")
_YEARS: Final = range(1800, 2200)

_YEAR_FIRST: Final = re.compile(r"(\d{4})[-./](\d{1,2})(?:[-./](\d{1,2}))?", re.ASCII)
_YEAR_LAST: Final = re.compile(r"(?:(\d{1,2})([-./]))?(\d{1,2})[-./](\d{4})", re.ASCII)
_DIGITS: Final = re.compile(r"\d{4}|\d{8}", re.ASCII)
_EXTENSION: Final = re.compile(r"[a-z;#]", re.ASCII)
_NO_DIGITS: Final = re.compile(r"\D+", re.ASCII)


@dataclass(frozen=True, slots=True)
class Facts:
    """All of it folded. Birth dates are 19800203, 198002 or 1980; phones are digits without zeros before them.

    `shared`: pairs of what it is ("identifier" or "name") and the value that tells patients apart.
    """

    sort_name: str
    words: tuple[str, ...]
    birth_dates: tuple[str, ...]
    identifiers: tuple[str, ...]
    phones: tuple[str, ...]
    shared: tuple[tuple[str, str], ...]
    links: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Name:
    use: object
    parts: tuple[str, ...]  # family, then given
    text: str

    @property
    def shown(self) -> str:
        return " ".join(words(fold(" ".join(self.parts) or self.text)))


def facts_of(state: State) -> Facts:
    """What is to be known of a patient in this state."""
    names = list(_names(member(state, "name")))
    born = _unique(
        found for text in _first(texts(member(state, "birthDate"))) for found in _stored_date(text)
    )
    identifiers = list(_identifiers(member(state, "identifier")))
    return Facts(
        sort_name=next((name.shown for name in names if name.shown), ""),
        words=_unique(islice((word for name in names for word in _name_words(name)), WORDS_MAX), WORDS_MAX),
        birth_dates=born,
        identifiers=_unique(value for _, value in identifiers),
        phones=_unique(_phones(state)),
        shared=tuple(sorted(_shared(names, born, identifiers))),
        links=_unique(_links(member(state, "link")), LINKS_MAX),
    )


def dates_typed(piece: str) -> list[str]:
    """The days, months or years that a folded text without spaces may mean, as digits; the likeliest first."""
    if found := _YEAR_FIRST.fullmatch(piece):
        readings = [(found[1], found[2], found[3])]
    elif found := _YEAR_LAST.fullmatch(piece):
        first, sign, second, year = found.groups()
        readings = [(year, second, first)]
        if first is not None and sign != ".":  # the month first, as some write it
            readings.append((year, first, second))
    elif _DIGITS.fullmatch(piece):
        readings = [(piece[:4], piece[4:6] or None, piece[6:] or None)]
    else:
        return []
    return [day for reading in readings if (day := _as_digits(*reading)) is not None]


def phone_digits(text: str) -> str | None:
    """The digits of a folded number, without extension and zeros before it; None where they are no phone's."""
    number = _EXTENSION.split(text.strip().removeprefix("tel:").replace("(0)", ""))[0]
    digits = _NO_DIGITS.sub("", number).lstrip("0")
    return digits if PHONE_DIGITS_MIN <= len(digits) <= PHONE_DIGITS_MAX else None


def piece_words(piece: str) -> list[str]:
    """The words of a folded piece of a name, and all of them as one: mullerludenscheid, too."""
    found = words(piece)
    return [*found, joined(piece)] if len(found) > 1 else found


def _names(value: object) -> Iterator[_Name]:
    found = [_Name(None, (), text) for text in islice(texts(value), NAMES_MAX)]
    for name in islice(objects(value), NAMES_MAX):
        parts = tuple(islice(chain(texts(name.get("family")), texts(name.get("given"))), NAME_PARTS_MAX))
        found.append(_Name(name.get("use"), parts, next(texts(name.get("text")), "")))
    yield from sorted(found, key=lambda name: _USES.index(name.use) if name.use in _USES else len(_USES))


def _name_words(name: _Name) -> Iterator[str]:
    for text in (*name.parts, name.text):
        for spelling in spellings(text):
            for piece in spelling.split():
                yield from piece_words(piece)


def _stored_date(text: str) -> list[str]:
    return dates_typed(fold(text).strip().partition("t")[0])[:1]


def _identifiers(value: object) -> Iterator[tuple[str, str]]:
    """System and value; a value alone is one without a system."""
    for text in _first(texts(value)):
        if whole := joined(fold(text)):
            yield "", whole
    for item in _first(objects(value)):
        found = item.get("value")
        if isinstance(found, int) and not isinstance(found, bool):
            found = str(found)
        if isinstance(found, str) and (whole := joined(fold(found))):
            system = item.get("system")
            yield system.strip() if isinstance(system, str) else "", whole


def _phones(state: State) -> Iterator[str]:
    numbers = [*_first(texts(member(state, "phone")))]
    for item in _first(objects(member(state, "telecom"))):
        if item.get("system") not in _NO_PHONES:
            numbers += _first(texts(item.get("value")))
    for number in numbers[:VALUES_MAX]:
        digits = phone_digits(fold(number))
        if digits is not None:
            yield digits


def _shared(
    names: Iterable[_Name], born: Iterable[str], identifiers: Iterable[tuple[str, str]]
) -> set[tuple[str, str]]:
    """A name counts by its words in whichever order: who is typed in under family and given the wrong way round, too."""
    numbers = {f"{system}|{value}" for system, value in identifiers}
    shown = {" ".join(sorted(name.shown.split())) for name in names} - {""}
    named = {f"{words_of_name}|{day}" for day in born for words_of_name in shown}
    return {
        *(("identifier", value) for value in sorted(numbers)[:SHARED_IDENTIFIERS_MAX]),
        *(("name", value) for value in sorted(named)[:SHARED_NAMES_MAX]),
    }


def _links(value: object) -> Iterator[str]:
    for item in islice(objects(value), LINKS_MAX):
        other = patient_id(item.get("other"))
        if other is not None:
            yield other


def _as_digits(year: str, month: str | None, day: str | None) -> str | None:
    try:
        date(int(year), int(month or 1), int(day or 1))
    except ValueError:
        return None
    if int(year) not in _YEARS:
        return None
    return year + "".join(part.zfill(2) for part in (month, day) if part is not None)


def _first(values: Iterable[T]) -> Iterator[T]:
    return islice(values, VALUES_MAX)


def _unique(values: Iterable[str], most: int = VALUES_MAX) -> tuple[str, ...]:
    """Each once, sorted: the same set is always the same."""
    return tuple(sorted(set(values))[:most])
