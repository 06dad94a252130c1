"""Text as people search for it: without case, without diacritics, the same on every server and device.

`fold` is for comparing, never for showing. It may take two names for one (Müller and Muller); it never takes a name
apart differently where it is kept and where it is asked for. Scripts that have no case and no diacritics come through.
Whatever the text, it takes microseconds: what is too long to be a name is cut.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from typing import Final

WORD_CHARS_MAX: Final = 64
# Of a text that is folded: no name is as long, and a normal form takes its time for each of many marks on one letter.
FOLDED_CHARS_MAX: Final = 200
_MARKS_MAX: Final = 8

_ASCII_WORD: Final = re.compile("[a-z0-9]+")
# letters that no normal form takes apart, and Arabic ones that are typed either way
_LETTERS: Final = str.maketrans({
    "æ": "ae", "œ": "oe", "ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "ħ": "h", "ŧ": "t",
    "\u0131": "i", "ŋ": "n", "ĸ": "k", "ə": "e", "ى": "ي", "ی": "ي", "ک": "ك", "ة": "\u0647", "ـ": "",
})  # fmt: skip
_SPELT_OUT: Final = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "å": "aa", "ø": "oe", "æ": "ae"})
_VOICED_KANA: Final = ("\u3099", "\u309a")  # in Japanese they make another letter


def fold(text: str) -> str:
    """Lower case, compatibility forms joined, combining marks gone, digits of every script as 0 … 9."""
    text = text[:FOLDED_CHARS_MAX]
    if text.isascii():
        return text.lower()
    taken_apart = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", _few_marks(text)).casefold())
    kept = "".join(
        _digit(letter)
        for letter in _few_marks(taken_apart)
        if not unicodedata.combining(letter) or letter in _VOICED_KANA
    )
    return unicodedata.normalize("NFC", kept.translate(_LETTERS))[:FOLDED_CHARS_MAX]


def words(folded: str) -> list[str]:
    """The runs of letters, digits and vowel signs; what stands between words in any script divides them."""
    if folded.isascii():
        found = _ASCII_WORD.findall(folded)
    else:
        found = "".join(_word_part(letter) for letter in folded).split()
    return [word[:WORD_CHARS_MAX] for word in found]


def spellings(text: str) -> Iterator[str]:
    """The text folded, and, where it has an umlaut or the like, folded as people write it without one: ue for ü."""
    text = text[:FOLDED_CHARS_MAX]
    yield fold(text)
    if not text.isascii():
        composed = unicodedata.normalize("NFC", _few_marks(text)).lower()
        spelt_out = composed.translate(_SPELT_OUT)
        if spelt_out != composed:
            yield fold(spelt_out)


def joined(piece: str) -> str:
    """The words of a folded text as one: O'Brien is searched for as obrien, too."""
    return "".join(words(piece))[:WORD_CHARS_MAX]


def _few_marks(text: str) -> str:
    """The text with no more than a few combining marks on a letter."""
    kept: list[str] = []
    marks = 0
    for letter in text:
        marks = marks + 1 if unicodedata.combining(letter) else 0
        if marks <= _MARKS_MAX:
            kept.append(letter)
    return "".join(kept)


def _digit(letter: str) -> str:
    value = unicodedata.decimal(letter, None)
    return letter if value is None else str(value)


def _word_part(letter: str) -> str:
    category = unicodedata.category(letter)
    if category[0] in "LNM":
        return letter
    return "" if category == "Cf" else " "
