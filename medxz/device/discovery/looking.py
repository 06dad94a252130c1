"""Asking all candidates at once, each within a deadline; the address that was good last has a short lead."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from typing import TYPE_CHECKING, Final, Protocol

from medxz.device.discovery.candidates import Known
from medxz.device.discovery.verdicts import Probed

if TYPE_CHECKING:
    from medxz.lan.announcement import Announcement

DEADLINE_S: Final = 4.0
"""Three round trips at 800 ms, and one lost packet."""
HEARING_S: Final = 1.5
"""How long announcements are waited for."""


class Heard(Protocol):
    """What is announced on the LAN: `medxz.lan.browsing.Browser`, already entered."""

    def found(self) -> Mapping[str, Announcement]: ...
    async def next_change(self) -> None: ...


async def looking(
    known: Known,
    *,
    browser: Heard | None = None,
    deadline_s: float = DEADLINE_S,
    hearing_s: float = HEARING_S,
) -> AsyncGenerator[Probed, None]:
    """The verdicts as they come. Who has what it wanted stops (`aclosing`): what is still being asked is let go."""
    for probed in await look(known, browser=browser, deadline_s=deadline_s, hearing_s=hearing_s):
        yield probed


async def look(
    known: Known,
    *,
    browser: Heard | None = None,
    deadline_s: float = DEADLINE_S,
    hearing_s: float = HEARING_S,
) -> list[Probed]:
    """All verdicts, those that were taken first. Never an error: what can't be asked has a verdict that says so."""
    raise NotImplementedError
