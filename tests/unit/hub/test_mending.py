"""A damaged file is replaced step by step: whichever step a power cut came after, the next start ends in one place."""

from __future__ import annotations

from pathlib import Path

import pytest

from hub.config import HubPlaces
from hub.identity import load_identity
from hub.making import make_hub
from hub.recovery.incidents import Incidents
from hub.recovery.mending import Mending
from hub.storage import open_storage
from medxz.errors import StoreDamaged
from medxz.ids import SeededIds
from tests.making import CLINIC, HandClock

KEY = bytes(range(32))
IDS = SeededIds(HandClock(), 7)


async def made(folder: Path) -> tuple[HubPlaces, str]:
    """A hub that was opened once, so that it has a keepsake; with its first page damaged from then on."""
    places = HubPlaces(folder / "hub")
    told = await make_hub(places, CLINIC, HandClock(), IDS, KEY)
    async with open_storage(places, lambda: KEY, HandClock()):
        pass
    data = bytearray(places.store.read_bytes())
    data[200] ^= 1
    places.store.write_bytes(data)
    return places, told["server_id"]


@pytest.mark.parametrize("step", ["noted", "log moved", "file moved", "new file begun", "new file in place"])
async def test_every_step_may_be_the_last(tmp_path: Path, step: str) -> None:
    """The same hub in one new epoch, its old file set aside once, and nothing half done left."""
    places, server_id = await made(tmp_path)
    before = places.store.read_bytes()
    incidents = Incidents(places.data)
    incident = incidents.begin("hub.db", "a test", HandClock().now_ms())
    mending = Mending(places, KEY, HandClock(), IDS)
    incident = incident.model_copy(update={"shape": mending._shape("hub.db")})
    incidents.note(incident)
    aside = incidents.folder_of(incident) / "hub.db"
    if step == "log moved":
        aside.with_name("hub.db-wal").write_bytes(b"")
    elif step != "noted":
        places.store.rename(aside)
    if step == "new file begun":
        places.store.with_name("hub.db.anew").write_bytes(b"half")
    elif step == "new file in place":
        mending._make(places.store, aside, incident)
    with pytest.raises(StoreDamaged):
        async with open_storage(places, lambda: KEY, HandClock()):
            pass
    async with open_storage(places, lambda: KEY, HandClock(), mending=IDS) as storage:
        assert (await load_identity(storage)).server_id == server_id
        epoch = storage.log.epoch
    [told] = incidents.all()
    assert told.state == "refilling"
    assert aside.read_bytes() == before
    assert not places.store.with_name("hub.db.anew").exists()
    async with open_storage(places, lambda: KEY, HandClock(), mending=IDS) as storage:
        assert storage.log.epoch == epoch


async def test_a_command_mends_nothing(tmp_path: Path) -> None:
    """Only the hub that starts replaces a file: whoever else opens it is told that it is damaged, and its key right."""
    places, _ = await made(tmp_path)
    before = places.store.read_bytes()
    with pytest.raises(StoreDamaged, match="its key is right"):
        async with open_storage(places, lambda: KEY, HandClock()):
            pass
    assert places.store.read_bytes() == before
    assert Incidents(places.data).all() == []
