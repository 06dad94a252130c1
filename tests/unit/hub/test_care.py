"""A hub's care for itself: what it reads of a machine, when it is not well, and what it does about it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hub.backup.folder import Folder
from hub.backup.note import BackupNote, Trouble
from hub.care.advice import advice_for
from hub.care.care import Care
from hub.care.checks import (
    BACKUP_AGE_MS,
    CERTIFICATE_LEFT_MS,
    check_backup,
    check_certificate,
    check_memory,
    check_temperature,
    check_wal,
    check_wear,
)
from hub.care.machine import Machine, Memory, Wear
from hub.care.parts import APART_S, STUCK_S, Parts, Restarts
from hub.config import HubPlaces
from medxz import limits
from medxz.clock import format_time
from medxz.errors import StorageFull
from medxz.ids import RandomIds
from medxz.program.backup_files import MANIFEST
from medxz.program.keeping import stamp_of
from medxz.store import room
from medxz.store.room import Room, refuse_without_room, room_of
from tests.making import NOON_MS, HandClock


def put(root: Path, path: str, text: str) -> None:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def test_a_machine_that_tells_everything(tmp_path: Path) -> None:
    """The hottest sensor that is one, the memory that can be had, and the card that is worn most."""
    put(tmp_path, "sys/class/thermal/thermal_zone0/temp", "48312\n")
    put(tmp_path, "sys/class/thermal/thermal_zone1/temp", "61000\n")
    put(tmp_path, "sys/class/thermal/thermal_zone2/temp", "200000\n")  # one that is not connected
    put(tmp_path, "proc/meminfo", "MemTotal:  948304 kB\nMemAvailable:  512000 kB\nHugePages_Total:  0\n")
    put(tmp_path, "sys/block/mmcblk0/device/life_time", "0x02 0x09\n")
    put(tmp_path, "sys/block/mmcblk0/device/pre_eol_info", "0x01\n")
    put(tmp_path, "sys/block/mmcblk1/device/life_time", "0x01 0x01\n")
    machine = Machine(tmp_path)
    assert machine.temperature_c() == 61.0
    assert machine.memory() == Memory(512_000 * 1_024, 948_304 * 1_024)
    assert machine.wear() == Wear("mmcblk0", 90, is_ending=False)
    put(tmp_path, "sys/block/mmcblk1/device/pre_eol_info", "0x03\n")
    assert machine.wear() == Wear("mmcblk1", 10, is_ending=True)


def test_a_machine_that_tells_nothing_is_well(tmp_path: Path) -> None:
    """What can't be read, or is nonsense, is no reason to be unwell."""
    put(tmp_path, "sys/class/thermal/thermal_zone0/temp", "n/a\n")
    put(tmp_path, "proc/meminfo", "nothing\n")
    put(tmp_path, "sys/block/mmcblk0/device/life_time", "0x00 0x00\n")
    put(tmp_path, "sys/block/mmcblk1/device/life_time", "what\n")
    machine = Machine(tmp_path)
    assert (machine.temperature_c(), machine.memory(), machine.wear()) == (None, None, None)
    assert all(check.ok for check in (check_temperature(None), check_memory(None), check_wear(None)))


def test_thresholds() -> None:
    """Each measure is well just before its threshold and not at it, and each check has an advice of its own."""
    for well, unwell in (
        (check_temperature(79.9), check_temperature(80.0)),
        (check_memory(Memory(48 * limits.MIB, 10**9)), check_memory(Memory(48 * limits.MIB - 1, 10**9))),
        (check_wear(Wear("m", 79, is_ending=False)), check_wear(Wear("m", 80, is_ending=False))),
        (check_wear(Wear("m", 10, is_ending=False)), check_wear(Wear("m", 10, is_ending=True))),
        (check_wal(limits.WAL_BYTES_MAX), check_wal(limits.WAL_BYTES_MAX + 1)),
        (check_certificate(CERTIFICATE_LEFT_MS, 0), check_certificate(CERTIFICATE_LEFT_MS - 1, 0)),
        (check_certificate(None, 0), check_certificate(0, 1)),
    ):
        assert (well.ok, unwell.ok) == (True, False), unwell
        assert advice_for(unwell.name) != advice_for("a stranger")


def backup(note: BackupNote, *, has_cloud: bool = False, made_ms: int = 0) -> tuple[bool, str]:
    check = check_backup(note, has_cloud=has_cloud, made_ms=made_ms, now_ms=NOON_MS)
    return check.ok, check.detail


def test_who_needs_a_backup() -> None:
    """A hub without a cloud does, after its first days; a claimed one is well without; one that failed is told to both."""
    day = BackupNote(made_at=format_time(NOON_MS), lies_in="/x")
    unseen = BackupNote(carried_at=format_time(NOON_MS), carried_to="/media")
    old = BackupNote(key_shown=True, carried_at=format_time(NOON_MS - BACKUP_AGE_MS - 1), carried_to="/media")
    fresh = BackupNote(key_shown=True, carried_at=format_time(NOON_MS - BACKUP_AGE_MS), carried_to="/media")
    failed = fresh.model_copy(update={"trouble": Trouble(at=format_time(NOON_MS), message="no room")})
    assert backup(BackupNote(), made_ms=NOON_MS - 1)[0]
    assert backup(fresh)[0]
    for note in (BackupNote(), day, old, unseen):
        assert not backup(note)[0]
        assert backup(note, has_cloud=True)[0]
    owed = fresh.model_copy(update={"owed": True, "made_at": format_time(NOON_MS)})
    assert backup(owed, has_cloud=True)[0]
    assert not backup(owed.model_copy(update={"carried_at": old.carried_at}), has_cloud=True)[0]
    for has_cloud in (False, True):
        ok, detail = backup(failed, has_cloud=has_cloud)
        assert not ok
        assert "no room" in detail


def test_nothing_is_stored_on_the_last_of_a_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """64 MiB are kept back, of a small disk a fiftieth: there a push is refused with a time after which to come again."""
    here = room_of(tmp_path)
    assert 0 < here.reserved <= limits.DISK_RESERVED_BYTES
    assert here.free <= here.total
    refuse_without_room(tmp_path)
    monkeypatch.setattr(room, "room_of", lambda _folder: Room(10**9, here.reserved - 1, here.reserved))
    with pytest.raises(StorageFull) as refused:
        refuse_without_room(tmp_path)
    assert refused.value.retry_after_s == limits.STORAGE_FULL_RETRY_S


class Standing:
    """A log and what follows it."""

    last_seq = 10
    through = 10


def parts(standing: Standing, clock: HandClock, *expected: str) -> Parts:
    both: Any = standing
    return Parts(both, both, clock, frozenset(expected))


async def for_ever() -> None:
    await asyncio.Event().wait()


async def test_a_part_that_ended_is_missed() -> None:
    """A task that should run and does not is named, whether it ended or never began."""
    watched = parts(Standing(), HandClock(), "uplink", "pages")
    tasks = [asyncio.create_task(for_ever(), name=name) for name in ("uplink", "pages")]
    assert watched.look() is None
    tasks[0].cancel()
    await asyncio.wait(tasks[:1])
    assert watched.look() == "uplink ended"
    tasks[1].cancel()
    await asyncio.wait(tasks)
    assert watched.look() == "pages and uplink ended"


async def test_lists_that_stand_still_are_missed() -> None:
    """Behind the log and no further for five minutes is stuck; slow but going on is not."""
    clock, standing = HandClock(), Standing()
    watched = parts(standing, clock)
    assert watched.look() is None
    standing.last_seq = 100
    for _ in range(20):  # slow
        clock.time_ms += int((STUCK_S - 1) * 1_000)
        standing.through += 1
        assert watched.look() is None
    clock.time_ms += int(STUCK_S * 1_000)
    assert watched.look() == "views stood still for 300 s"
    standing.through = standing.last_seq
    assert watched.look() is None


def test_restarts_lie_apart() -> None:
    """What breaks at once again is not begun again for ten minutes."""
    clock, restarts = HandClock(), Restarts()
    assert restarts.may_again(clock)
    restarts.note("views stood still", clock)
    clock.time_ms += int(APART_S * 1_000) - 1_000
    assert not restarts.may_again(clock)
    clock.time_ms += 1_000
    assert restarts.may_again(clock)
    assert "views stood still" in restarts.told


@pytest.mark.parametrize(
    ("note", "left"),
    [
        (BackupNote(), 1),
        (BackupNote(carried_at=format_time(NOON_MS)), 0),
        (BackupNote(carried_at=format_time(NOON_MS), owed=True), 1),
    ],
)
async def test_backups_go_where_room_is_little(tmp_path: Path, note: BackupNote, left: int) -> None:
    """The last one too where one has left the box, and not where it is to be carried up still."""
    places, server_id = HubPlaces(tmp_path / "hub"), RandomIds().uuid7()
    folder = Folder(places.backups, server_id)
    for number in range(3):
        with folder.making(stamp_of(number * 1_000)) as unfinished:
            (unfinished / MANIFEST).write_text("{}")
    storage = SimpleNamespace(places=places, log=SimpleNamespace(server_id=server_id))
    cared: Any = SimpleNamespace(
        storage=storage, backups=SimpleNamespace(note=note, is_running=False), machine=Machine(tmp_path)
    )
    said: Any = SimpleNamespace(warning=lambda *_, **__: None)
    await Care(cared, said)._make_room()
    assert len(folder.all()) == left
