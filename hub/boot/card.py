"""The card's files: the settings read within a bound, the report written when it changed, the used code taken out.

It is FAT, written by other computers and pulled out without asking. Refused quietly: a card that is not there, that is
read-only or full: a box is no worse for it, and says so elsewhere.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from hub.boot.file import FILE_BYTES_MAX
from hub.boot.forms import plain_code
from hub.boot.lines import lines_of_keys
from hub.boot.places import MISNAMED, BootPlaces
from hub.boot.records import write_whole

_VALUE: Final = re.compile(r"""=\s*(?:"([^"]*)"|'([^']*)')""")


@dataclass(frozen=True, slots=True)
class OnCard:
    """What lies there. `content` is None where there is no file; `misnamed` is one that is probably meant."""

    has_card: bool
    content: bytes | None = None
    misnamed: str | None = None


def read_card(places: BootPlaces) -> OnCard:
    try:
        with places.file.open("rb") as stream:
            return OnCard(True, stream.read(FILE_BYTES_MAX + 1))
    except OSError:
        pass
    misnamed = next((name for name in MISNAMED if (places.card / name).is_file()), None)
    return OnCard(places.card.is_dir(), None, misnamed)


def write_report(places: BootPlaces, text: str) -> bool:
    """Whether it was written: not where it says so already (a card wears), nor where it can't be."""
    content = text.replace("\n", "\r\n").encode()  # for whatever opens it on a Windows machine
    try:
        if places.report.is_file() and places.report.read_bytes() == content:
            return False
        write_whole(places.report, content, 0o644)
    except OSError:
        return False
    return True


def remove_code(places: BootPlaces, used: str, today: str) -> bool:
    """Take the code out of the file, now that it is used up; everything else in it stays as it was typed.

    Only that code: somebody may have put a new file there meanwhile.
    """
    try:
        content = places.file.read_bytes()
        text = content.decode()
    except (OSError, UnicodeDecodeError):
        return False
    number = lines_of_keys(text.removeprefix("\N{ZERO WIDTH NO-BREAK SPACE}")).get(("cloud", "code"))
    lines = text.splitlines(keepends=True)
    if number is None or len(content) > FILE_BYTES_MAX:
        return False
    line = lines[number - 1]
    match = _VALUE.search(line)
    if match is None or plain_code(match[1] or match[2] or "") != plain_code(used):
        return False
    ending = line[len(line.rstrip("\r\n")) :]
    lines[number - 1] = f"# code: used on {today}, and taken out; it can't be used again{ending}"
    try:
        write_whole(places.file, "".join(lines).encode(), 0o644)
    except OSError:
        return False
    return True
