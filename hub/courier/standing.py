"""When the last courier went and came, and whether one is due: what `/health`, `status` and `/metrics` tell of it.

A hub with a line needs none. One without is well for as long as its cloud has been heard of lately, by wire or by
stick; when that was is kept in a small file, so that it is known after a restart too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict

from hub.ask import Json
from hub.notefile import read_note_file, write_note_file
from medxz.clock import Clock, format_time, parse_time
from medxz.service import Link
from medxz.store.durable import make_directory
from medxz.wire import Check

# an offline session lasts 30 days at most: who hears nothing for longer lets nobody in any more
AGE_MS: Final = 30 * 86_400_000
_DAY_MS: Final = 86_400_000


class Trip(BaseModel):
    """Files that were made for the cloud, or taken in from it. `made_at`: how the cloud was; `answered`: of the hub's ops."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    at: str
    ops: int
    bytes: int = 0
    made_at: str | None = None
    answered: int = 0


class CourierNote(BaseModel):
    """The last of each kind, and when the cloud was last met over the wire, to the day."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    exported: Trip | None = None
    imported: Trip | None = None
    online_at: str | None = None


def note_trip(folder: Path, **trips: Trip) -> None:
    """Keep it beside what couriers carry. On a full disk it is not known, and that is all."""
    with suppress(OSError):
        make_directory(folder)
        write_note_file(_file(folder), read_note(folder).model_copy(update=trips))


def read_note(folder: Path) -> CourierNote:
    return read_note_file(_file(folder), CourierNote)


@dataclass(frozen=True, slots=True)
class CourierStanding:
    """That of one running hub, which was claimed at `claimed_ms` or later; `folder` is its courier's."""

    folder: Path
    link: Callable[[], Link]
    clock: Clock
    claimed_ms: int

    async def keep(self) -> None:
        """That there is a line is noted, once a day: the file is on a card."""
        if not self.link().is_online:
            return
        known, now_ms = read_note(self.folder).online_at, self.clock.now_ms()
        if known is None or abs(now_ms - parse_time(known)) >= _DAY_MS:
            await asyncio.to_thread(self._met, format_time(now_ms))

    def told(self) -> Json:
        """For `status`."""
        return read_note(self.folder).model_dump(include={"exported", "imported"})

    def check(self) -> Check:
        """Due where the cloud was heard of in no way for so long."""
        note, now_ms = read_note(self.folder), self.clock.now_ms()
        if self.link().is_online:
            return Check(
                name="courier", ok=True, detail=f"none is needed: there is a line; {_in_words(note)}"
            )
        heard = [self.link().last_ok_at, note.online_at, note.imported.made_at if note.imported else None]
        heard_ms = max(self.claimed_ms, *(parse_time(text) for text in heard if text is not None), 0)
        detail = f"the cloud was last heard of at {format_time(heard_ms)}; {_in_words(note)}"
        return Check(name="courier", ok=now_ms - heard_ms <= AGE_MS, detail=detail)

    def gauges(self) -> Mapping[str, tuple[str, Callable[[], float]]]:
        return {
            f"courier_{kind}_{unit}": (about, _reading(self.folder, kind, read))
            for kind, what in (
                ("exported", "made files for the cloud"),
                ("imported", "took files of the cloud in"),
            )
            for unit, about, read in (
                ("seconds", f"When this hub last {what}; 0 where never.", _at_s),
                ("ops", "How many ops were in them.", lambda trip: trip.ops),
            )
        }

    def _met(self, at: str) -> None:
        with suppress(OSError):
            make_directory(self.folder)
            write_note_file(_file(self.folder), read_note(self.folder).model_copy(update={"online_at": at}))


def _file(folder: Path) -> Path:
    return folder / "standing.json"


def _reading(folder: Path, kind: str, read: Callable[[Trip], float]) -> Callable[[], float]:
    def value() -> float:
        trip: Trip | None = getattr(read_note(folder), kind)
        return read(trip) if trip is not None else 0.0

    return value


def _at_s(trip: Trip) -> float:
    return parse_time(trip.at) / 1_000


def _in_words(note: CourierNote) -> str:
    out, back = note.exported, note.imported
    if out is None and back is None:
        return "no courier has come"
    took = f"a courier took {out.ops} ops at {out.at}" if out is not None else "none took anything"
    brought = f"one brought {back.ops} at {back.at}" if back is not None else "none has brought anything"
    return f"{took}, {brought}"
