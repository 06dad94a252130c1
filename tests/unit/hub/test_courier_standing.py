"""When the last courier was, and when one is due."""

from __future__ import annotations

from pathlib import Path

from hub.courier.standing import AGE_MS, CourierStanding, Trip, note_trip, read_note
from medxz.clock import format_time
from medxz.service import Link
from tests.making import NOON_MS, HandClock

DAY_MS = 86_400_000


class Hub:
    """A claimed hub whose line comes and goes."""

    def __init__(self, folder: Path) -> None:
        self.clock = HandClock()
        self.link = Link(is_online=True, last_ok_at=format_time(NOON_MS))
        self.folder = folder
        self.standing = self.restarted()

    def restarted(self) -> CourierStanding:
        return CourierStanding(self.folder, lambda: self.link, self.clock, claimed_ms=NOON_MS - 300 * DAY_MS)

    def later(self, ms: int) -> None:
        self.clock.time_ms += ms


async def test_a_hub_with_a_line_needs_none(tmp_path: Path) -> None:
    """While it reaches its cloud no courier is due, and that is remembered over a restart, written once a day."""
    hub = Hub(tmp_path / "courier")
    assert hub.standing.check().ok
    await hub.standing.keep()
    file = tmp_path / "courier" / "standing.json"
    written = file.stat().st_ino
    hub.later(DAY_MS - 1)
    await hub.standing.keep()
    assert file.stat().st_ino == written
    hub.later(1)
    await hub.standing.keep()
    assert file.stat().st_ino != written
    hub.link = Link()
    standing = hub.restarted()
    hub.later(AGE_MS)
    assert standing.check().ok
    hub.later(1)
    assert not standing.check().ok
    file.write_text("nonsense")
    assert not standing.check().ok
    assert standing.told() == {"exported": None, "imported": None}


async def test_a_hub_without_a_line_is_well_by_its_couriers(tmp_path: Path) -> None:
    """What counts is how old what was brought is, not when it was brought; what only went out brings no news."""
    hub = Hub(tmp_path / "courier")
    hub.link = Link()
    await hub.standing.keep()
    assert not hub.standing.check().ok
    note_trip(hub.folder, exported=Trip(at=format_time(NOON_MS), ops=12, bytes=3_000))
    assert not hub.standing.check().ok
    made_ms = NOON_MS - AGE_MS
    note_trip(
        hub.folder, imported=Trip(at=format_time(NOON_MS), ops=7, made_at=format_time(made_ms), answered=12)
    )
    check = hub.standing.check()
    assert (check.ok, "7" in check.detail, "12" in check.detail) == (True, True, True)
    note = read_note(hub.folder)
    assert note.exported is not None
    assert (note.exported.ops, hub.standing.told()["imported"]["answered"]) == (12, 12)
    gauges = {name: read() for name, (_, read) in hub.standing.gauges().items()}
    assert gauges == {
        "courier_exported_seconds": NOON_MS / 1_000, "courier_exported_ops": 12,
        "courier_imported_seconds": NOON_MS / 1_000, "courier_imported_ops": 7,
    }  # fmt: skip
    hub.later(1)
    assert not hub.standing.check().ok
