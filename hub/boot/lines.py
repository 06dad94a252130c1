"""Which line of a TOML text a key stands in, and every line that is no TOML, in plain words.

The standard reader says of the first mistake alone where it is, and of a key nothing. So each line it stumbles over is
taken out and the rest is read again, and the keys are looked for line by line. Values of several lines that hold
something like a key may be taken for one: then a problem is told of a later line, and of the right key still.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

Path = tuple[str, ...]

SYNTAX_PROBLEMS_MAX: Final = 20

_AT: Final = re.compile(r"\(at line (\d+), column \d+\)|\(at end of document\)")
_SECTION: Final = re.compile(r"^\s*\[+\s*([^\]#]+?)\s*\]+")
_KEY: Final = re.compile(r"""^\s*((?:[\w-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[\w-]+|"[^"]*"|'[^']*'))*)\s*=""")
_MEANT: Final = re.compile(r"^\s*\[+\s*([\w-]+)\s*\W*$")
_CURLY_QUOTES: Final = "“”„‟«»‘’‚"  # noqa: RUF001  what editors put where a quote was typed

_SAID: Final = (
    ("Cannot overwrite", "stands here a second time; leave one of the two"),
    ("Cannot declare", "this section stands here a second time; put what belongs to it under the first"),
    ("Expected '=' after a key", "an = is missing after the name"),
    ("Expected ']'", "a closing ] is missing"),
    ("Unclosed array", "a closing ] is missing"),
    ("Unterminated string", "the closing quote is missing"),
    ("Illegal character", "the closing quote is missing, or there is a character in it that can't be there"),
    ("Unescaped '\\'", "a \\ in double quotes is read as a command; use single quotes around the value: '…'"),
    ("Expected newline", "there is something behind the value that does not belong there"),
    ("Invalid value", "the value can't be read; text stands in quotes, as in name = \"Reception\""),
    ("Invalid statement", "this can't be read; a setting looks like this: name = \"value\""),
    ("Invalid initial character", "this can't be read; a setting looks like this: name = \"value\""),
)  # fmt: skip


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """Something that is wrong in the file. Its message quotes no secret."""

    line: int
    message: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.message}" if self.line else self.message


def read_lines(text: str) -> tuple[dict[str, Any], list[Problem], str]:
    """What can be read, each line that can't, and the text without those: line by line still the one that came.

    A section's line with a mistake in it still begins that section, or what stands below would be taken for another's.
    """
    lines = text.splitlines()
    problems: list[Problem] = []
    while True:
        try:
            mended = "\n".join(lines) + "\n"
            return tomllib.loads(mended), sorted(problems), mended
        except tomllib.TOMLDecodeError as error:
            number = _line_of(str(error), lines)
            if number is None or len(problems) >= SYNTAX_PROBLEMS_MAX:
                problems.append(
                    Problem(0, "the rest of the file can't be read: begin with the template again")
                )
                return {}, sorted(problems), ""
            problems.append(Problem(number, _in_words(str(error), lines[number - 1])))
            lines[number - 1] = _section_meant(lines[number - 1])


def lines_of_keys(text: str) -> dict[Path, int]:
    """The line of each section and each setting; the first, where one stands there twice."""
    found: dict[Path, int] = {}
    section: Path = ()
    for number, line in enumerate(text.splitlines(), 1):
        if (match := _SECTION.match(line)) and not _KEY.match(line):
            section = tuple(_parts(match[1]))
            found.setdefault(section, number)
        elif match := _KEY.match(line):
            found.setdefault((*section, *_parts(match[1])), number)
    return found


def line_of(path: Path, lines: dict[Path, int]) -> int:
    """The line of a setting, else of the section that it belongs to; 0 where there is neither."""
    while path and path not in lines:
        path = path[:-1]
    return lines.get(path, 0)


def _parts(name: str) -> Iterator[str]:
    for part in re.findall(r"""[\w-]+|"[^"]*"|'[^']*'""", name):
        yield part.strip("\"'")


def _section_meant(line: str) -> str:
    match = _MEANT.match(line)
    meant = f"[{match[1]}]" if match else ""
    return meant if meant != line.strip() else ""


def _line_of(message: str, lines: list[str]) -> int | None:
    """Where the reader stumbled: at the end of the text it is the last line that has something in it."""
    match = _AT.search(message)
    if match is None:
        return None
    number = min(int(match[1]), len(lines)) if match[1] else len(lines)
    while number and not lines[number - 1].strip():
        number -= 1
    return number or None


def _in_words(message: str, line: str) -> str:
    if any(quote in line.partition("#")[0] for quote in _CURLY_QUOTES):
        return 'typographic quotes (“ ”) are no quotes here: type straight ones, " "'
    said = next((words for begin, words in _SAID if message.startswith(begin)), None)
    if said is None:
        return f"this can't be read: {_AT.sub('', message).strip()}"
    name = _KEY.match(line)
    return f"{name[1]}: {said}" if name else said
