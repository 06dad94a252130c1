"""The passwords that everybody tries first: words and patterns that lead every list of leaked ones, and how people
lengthen them to what a rule asks for.

The words (common_words.txt) are what is known to lead such lists year after year, written down for this project; no list
was copied. In place of millions of lines there are the usual ways to vary them: capitals, digits and signs at the
ends, digits for letters, a word twice, two words joined, keys beside each other. Three words or more that are joined are
nobody's first try, however common each is.
"""

from __future__ import annotations

import re
import unicodedata
from importlib import resources
from typing import Final

_WORDS: Final = frozenset(
    word
    for line in (resources.files("medxz.accounts") / "common_words.txt").read_text("utf-8").splitlines()
    if not line.startswith("#")
    for word in line.split()
)
_JOINING: Final = (
    "this", "that", "the", "my", "our", "your", "is", "new", "old", "for", "and", "to", "in", "me", "you",
)  # fmt: skip

_ROWS: Final = (
    "1234567890", "0123456789", "abcdefghijklmnopqrstuvwxyz", "qwertyuiop", "asdfghjkl", "zxcvbnm", "qwertzuiop",
    "yxcvbnm", "azertyuiop", "qsdfghjklm", "wxcvbn", "1q2w3e4r5t6y7u8i9o0p", "q1w2e3r4t5y6u7i8o9p0", "qawsedrftgyhujikolp",
    "qazwsxedcrfvtgbyhnujmikolp", "1qaz2wsx3edc4rfv5tgb6yhn7ujm8ik9ol0p", "zaq1xsw2cde3vfr4bgt5nhy6mju7",
    "a1b2c3d4e5f6g7h8i9j0", "1a2b3c4d5e6f7g8h9i0j", "aabbccddeeffgghhiijj", "112233445566778899", "147258369", "159357",
)  # fmt: skip
# each forwards and backwards, and round once: 890123
_RUNS: Final = tuple(run for row in _ROWS for run in (row * 2, row[::-1] * 2))
_SIGNS_ABOVE_DIGITS: Final = "!@#$%^&*()_+"
_RUN_MIN: Final = 3
_WORDS_MAX: Final = 2
_WORD_CHARS_MAX: Final = max(map(len, _WORDS))

_FOR_LETTERS: Final = str.maketrans("013457$@!|", "oieastsaii")
_NOT_LETTERS: Final = re.compile(r"^[\W\d_]+|[\W\d_]+$")
_SIGNS: Final = re.compile(r"[\W_]+")


def stem(text: str) -> str:
    """What is left when case, accents, signs, and the digits at both ends are taken away."""
    plain = unicodedata.normalize("NFKD", text).casefold()
    plain = "".join(letter for letter in plain if not unicodedata.combining(letter))
    return _SIGNS.sub("", _NOT_LETTERS.sub("", plain).translate(_FOR_LETTERS))


def is_common(password: str) -> bool:
    """Whether this is one of the first that somebody would try."""
    plain = _SIGNS.sub("", password.casefold())
    if not plain:
        return _is_repeated(password) or password in _SIGNS_ABOVE_DIGITS * 2
    if _is_repeated(plain):
        return True
    bare = stem(password)
    forms = {plain, bare, plain.strip("0123456789"), _half_if_twice(bare)} - {""}
    return any(_words_in(form) <= _WORDS_MAX for form in forms)


def _is_repeated(text: str) -> bool:
    """Whether it is a few characters over and over."""
    return any(
        text == (text[:size] * len(text))[: len(text)] for size in range(1, min(4, len(text) // 2) + 1)
    )


def _half_if_twice(text: str) -> str:
    half = text[: len(text) // 2]
    return half if half * 2 == text else text


def _words_in(text: str) -> int:
    """With how few common words all of it can be told, runs of keys and small words not counted; too many if not."""
    too_many = _WORDS_MAX + 1
    fewest = [too_many] * (len(text) + 1)
    fewest[0] = 0
    for begin in range(len(text)):
        if fewest[begin] == too_many:
            continue
        for size in range(2, min(len(text) - begin, max(_WORD_CHARS_MAX, 40)) + 1):
            cost = _cost(text[begin : begin + size])
            if cost is not None:
                fewest[begin + size] = min(fewest[begin + size], fewest[begin] + cost)
    return fewest[len(text)]


def _cost(piece: str) -> int | None:
    if piece in _WORDS:
        return 1
    if piece in _JOINING:
        return 0
    if len(piece) < _RUN_MIN:
        return None
    return 0 if piece == piece[0] * len(piece) or any(piece in run for run in _RUNS) else None
