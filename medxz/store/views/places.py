"""Numbers for the rows of patients, in the order in which people want to read them: so an index answers in that order, and a page
begins where the one before ended, without sorting all that was found.

The upper bits say what is sorted by, as far as they reach; the lower ones keep apart what is alike there. Where the bits
do not reach, a page is still sorted as a whole: only between two pages of the same beginning may the order be another.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Final

PLACE_MAX: Final = 2**63 - 1

# A name: nine letters of 27, or the first characters of another script.
_LETTERS: Final = 9
_NAME_BITS: Final = 43
_NAME_TIE_BITS: Final = 62 - _NAME_BITS
_OTHER_SCRIPTS: Final = 1 << 62
_CHARACTER_BITS: Final = 21
_FIRST_LETTER: Final = ord("a") - 1

# So many places are tried before the number is taken from anywhere: it takes as many rows of one beginning.
_TRIES: Final = 64


def place_of_name(sort_name: str, taken: Callable[[int], bool], entity_id: bytes) -> int:
    """A free place for a folded name; who has none comes last."""
    if not sort_name:
        base, bits = PLACE_MAX >> _NAME_TIE_BITS << _NAME_TIE_BITS, _NAME_TIE_BITS
    elif sort_name.isascii():
        base, bits = _latin(sort_name) << _NAME_TIE_BITS, _NAME_TIE_BITS
    else:
        first, second = (ord(letter) for letter in f"{sort_name} "[:2])
        characters = first << _CHARACTER_BITS | second
        base, bits = _OTHER_SCRIPTS | characters << _NAME_TIE_BITS, _NAME_TIE_BITS
    return _free(base, bits, taken, entity_id)


def _latin(sort_name: str) -> int:
    number = 0
    for letter in sort_name[:_LETTERS].ljust(_LETTERS):
        number = number * 27 + (ord(letter) - _FIRST_LETTER if "a" <= letter <= "z" else 0)
    return number


def _free(base: int, bits: int, taken: Callable[[int], bool], entity_id: bytes) -> int:
    for attempt in range(_TRIES):
        place = base | zlib.crc32(entity_id, attempt) & ((1 << bits) - 1)
        if not taken(place):
            return place
    number = int.from_bytes(entity_id, "big")
    while taken(place := number & PLACE_MAX):
        number = number * 3 + 1
    return place
