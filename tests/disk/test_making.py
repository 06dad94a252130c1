"""Making a hub on a disk that goes away, or fills up, at any write: it is there whole, or it can be made again."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from hub.config import HubPlaces
from hub.identity import read_identity
from hub.making import existing_key, make_hub
from medxz.clock import SystemClock
from medxz.errors import StorageFull, StoreError
from medxz.ids import RandomIds
from medxz.program.keys import read_key
from medxz.store.files import LogFile
from medxz.store.registry import SqliteRegistry
from medxz.work import InlineWorker
from tests.disk.disks import Disk, disks

CLINIC = RandomIds().uuid7()


async def made(places: HubPlaces) -> dict[str, str]:
    return await make_hub(places, CLINIC, SystemClock(), RandomIds(), existing_key(places, {}))


async def server_id_of(places: HubPlaces) -> str:
    """Of a hub that is there: its file opens, and its secrets are in it."""
    file = LogFile.open(places.store, read_key(places.key_file, {}))
    registry = SqliteRegistry(file, InlineWorker())
    identity = await read_identity(registry, file.identity.server_id, file.identity.clinic_id)
    file.close(clean=True)
    return identity.server_id


def watched(folder: Path) -> Disk:
    folder.mkdir(parents=True)
    return disks().watch(folder)


async def test_a_hub_is_made_whole_or_not_at_all(tmp_path: Path) -> None:
    """After a power cut at any write, the hub that is there is whole; where there is none, making it succeeds."""
    disk = watched(tmp_path / "whole" / "hub")
    told = await made(HubPlaces(disk.folder))
    writes = disk.writes
    disk.survive(random.Random(1), tmp_path / "after" / "hub")
    disk.forget()
    shutil.copy2(tmp_path / "whole" / "hub.key", tmp_path / "after" / "hub.key")
    assert await server_id_of(HubPlaces(tmp_path / "after" / "hub")) == told["server_id"]

    chance = random.Random(2)
    outcomes = set()
    for number in sorted({*chance.sample(range(1, writes), 12), writes}):
        folder, image = tmp_path / f"cut-{number}", tmp_path / f"image-{number}"
        disk = watched(folder / "hub")

        def cut(disk: Disk = disk, image: Path = image) -> None:
            disk.survive(chance, image / "hub")
            disk.seal()

        disk.cut_at_write(number, cut)
        with pytest.raises(StoreError):
            await made(HubPlaces(disk.folder))
        disk.forget()
        shutil.copy2(folder / "hub.key", image / "hub.key")
        places = HubPlaces(image / "hub")
        outcomes.add(places.store.exists())
        if not places.store.exists():
            await made(places)
        assert await server_id_of(places)
    assert False in outcomes


async def test_a_hub_on_a_full_disk_is_not_half_there(tmp_path: Path) -> None:
    """However little room there is, the hub is whole, or there is none and making it once more succeeds."""
    outcomes = set()
    for room in (0, 30_000, 100_000, 200_000, 300_000, 400_000, *range(480_000, 520_000, 4_000), 700_000):
        disk = watched(tmp_path / f"{room}" / "hub")
        places = HubPlaces(disk.folder)
        disk.fill(room)
        try:
            await made(places)
        except (StorageFull, StoreError) as error:
            outcomes.add(type(error).__name__)
            assert not places.store.exists()
            disk.free()
            await made(places)
        else:
            outcomes.add("made")
            disk.free()
        assert await server_id_of(places)
        disk.forget()
    assert len(outcomes) > 1
    assert "made" in outcomes
