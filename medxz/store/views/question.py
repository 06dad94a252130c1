"""What somebody typed, as questions to the index of patients. Whatever was typed, it is never its syntax.

Each word has to fit: as a word of a name or its beginning, an identifier or its beginning, a birth date in the forms in
which people write one, or the end of a phone number. Numbers with blanks between them may also be one number.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from medxz.merge.fold import fold, joined, spellings, words
from medxz.merge.patients import PHONE_DIGITS_MIN, dates_typed, phone_digits

CHARACTERS_MAX: Final = 200
PIECES_MAX: Final = 12
_COUNTRY_DIGITS_MAX: Final = 3

_NUMERIC: Final = re.compile(r"[\d+()./-]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class _Fit:
    """Two questions: whom something fits exactly, and whom it fits at all."""

    exactly: str
    at_all: str


def matches(text: str) -> Sequence[str]:
    """Questions in the order of their answers, none of whose answers is another's; none where nothing can be found."""
    pieces = [piece for piece in text[:CHARACTERS_MAX].split() if words(fold(piece))][:PIECES_MAX]
    if not pieces:
        return ()
    fits = [_group_fit(group) for group in _groups(pieces)]
    fit = _Fit(_all(fit.exactly for fit in fits), _all(fit.at_all for fit in fits))
    if len(pieces) > 1:
        fit = _or_spaced_identifier(fit, "".join(pieces))
    return (
        f'{fit.exactly} NOT "!"',
        f'{fit.at_all} NOT ({fit.exactly} OR "!")',
        f'({fit.exactly} OR {fit.at_all}) AND "!"',
    )


def _groups(pieces: Iterable[str]) -> list[list[str]]:
    """Numbers that stand side by side and may be one number are together; everything else is alone."""
    groups: list[list[str]] = []
    after_number = False
    for piece in pieces:
        folded = fold(piece)
        is_number = _NUMERIC.fullmatch(folded) is not None and not (
            dates_typed(folded) and not folded.isdigit()
        )
        if is_number and after_number:
            groups[-1].append(piece)
        else:
            groups.append([piece])
        after_number = is_number
    return groups


def _group_fit(group: Sequence[str]) -> _Fit:
    fits = [_piece_fit(piece) for piece in group]
    each = _Fit(_all(fit.exactly for fit in fits), _all(fit.at_all for fit in fits))
    number = fold("".join(group))
    digits = phone_digits(number) if _NUMERIC.fullmatch(number) else None
    return each if digits is None else _or_phone(each, digits)


def _piece_fit(piece: str) -> _Fit:
    """A piece without blanks: a word or several, an identifier, a date."""
    exactly: list[str] = []
    at_all: list[str] = []
    for spelling in spellings(piece):
        whole, parts = joined(spelling), words(spelling)[:PIECES_MAX]
        exactly += [_is(whole), _is(f"#{whole}"), _all(map(_is, parts))]
        at_all += [_begins(whole), _begins(f"#{whole}"), _all(map(_begins, parts))]
    for day in dates_typed(fold(piece)):
        exactly.append(_is(f"@{day}"))
        at_all.append(_begins(f"@{day}"))
        at_all += [
            _is(f"@{day[:length]}") for length in (4, 6) if length < len(day)
        ]  # of whom no more is known
    return _Fit(_any(exactly), _any(at_all))


def _or_phone(fit: _Fit, digits: str) -> _Fit:
    """Or those whose phone ends so. What is kept may lack the country's code, or what was typed."""
    backwards = digits[::-1]
    shorter = range(PHONE_DIGITS_MIN, len(digits))
    nearly = [length for length in shorter if length >= len(digits) - _COUNTRY_DIGITS_MAX]
    return _Fit(
        _any([fit.exactly, _is(f"+{backwards}"), *(_is(f"+{backwards[:length]}") for length in nearly)]),
        _any([fit.at_all, _begins(f"+{backwards}"), *(_is(f"+{backwards[:length]}") for length in shorter)]),
    )


def _or_spaced_identifier(fit: _Fit, text: str) -> _Fit:
    """Or those with all of it as one identifier, which was typed with blanks."""
    whole = joined(fold(text))
    if whole.isalpha():
        return fit
    return _Fit(_any([fit.exactly, _is(f"#{whole}")]), _any([fit.at_all, _begins(f"#{whole}")]))


def _is(token: str) -> str:
    """Quoted: there is nothing in it but letters, digits and our signs."""
    return f'"{token}"'


def _begins(token: str) -> str:
    return f'"{token}"*'


def _any(questions: Iterable[str]) -> str:
    return _joined(" OR ", questions)


def _all(questions: Iterable[str]) -> str:
    return _joined(" AND ", questions)


def _joined(by: str, questions: Iterable[str]) -> str:
    different = dict.fromkeys(questions)
    return f"({by.join(different)})" if len(different) > 1 else next(iter(different))
