"""A backup brought back, in one process: what it is made of, every step after which the power may go, what is refused."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from hub.backup import making, restoring
from hub.backup.backups import AGAIN_S, Backups
from hub.backup.folder import find_backup
from hub.backup.making import Made
from hub.backup.note import BackupNote, read_note
from hub.backup.noting import note_restored
from hub.backup.recovery_key import make_recovery_key, read_recovery_key
from hub.backup.restoring import open_backup, restore
from hub.backup.taking_in import take_in
from hub.config import HubPlaces
from hub.identity import load_identity
from hub.making import make_hub
from hub.recovery.incidents import Incidents
from hub.storage import Storage, open_storage
from medxz import limits
from medxz.errors import CloudRequired, MedxzError, PeerRefused, PeerUnreachable
from medxz.ids import SeededIds
from medxz.program.errors import CommandFailed
from medxz.service.audit import entries_of
from medxz.store.copying import copy_database
from medxz.wire import BackupAnswer, BackupPiece
from tests.making import CLINIC, HandClock, batch, run_of

IDS = SeededIds(HandClock(), 11)
OPS = 60
Hubs = Callable[[Path], HubPlaces]
"""A hub with ops in this folder."""


class Cut(Exception):
    """The power went."""


def silent(_stage: str, _done: int, _total: int) -> None:
    """Nobody watches."""


@asynccontextmanager
async def opened(places: HubPlaces, clock: HandClock | None = None) -> AsyncIterator[Storage]:
    key = bytes.fromhex(places.key_file.read_text())
    async with open_storage(places, lambda: key, clock or HandClock(), mending=IDS) as storage:
        yield storage


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a hub that has ops, which tests copy: to make one takes half a second."""
    folder = tmp_path_factory.mktemp("first")

    async def make() -> None:
        places = HubPlaces(folder / "hub")
        await make_hub(places, CLINIC, HandClock(), IDS, None)
        async with opened(places) as storage:
            await storage.log.append(batch(*run_of(1, OPS)))
            audit = await storage.open_audit()
            await audit.close()

    asyncio.run(make())
    return folder


@pytest.fixture
def a_hub(first: Path) -> Hubs:
    def copied(folder: Path) -> HubPlaces:
        shutil.copytree(first, folder, dirs_exist_ok=True)
        return HubPlaces(folder / "hub")

    return copied


async def backed_up(places: HubPlaces) -> tuple[Made, str]:
    """A backup, and the recovery key as it was written down."""
    async with opened(places) as storage:
        backups = Backups(storage, "1")
        try:
            return await backups.make(), str((await backups.recovery_key({}))["recovery_key"])
        finally:
            await backups.close()


def bring_back(places: HubPlaces, made: Path, typed: str | None) -> dict[str, Any]:
    key = read_recovery_key(typed) if typed is not None else None
    return restore(places, open_backup(made, places, {}, key), {}, HandClock(), IDS, silent)


async def ops_of(places: HubPlaces) -> tuple[str, int]:
    """The epoch, and how many ops there are, each of them sound."""
    async with opened(places) as storage:
        found = await storage.log.verify()
        assert not found.damaged
        return storage.log.epoch, storage.log.last_seq


async def test_a_burnt_box_is_that_hub_again(a_hub: Hubs, tmp_path: Path) -> None:
    """With the backup and the recovery key alone a new box has the hub's ids, keys and ops, in an epoch of its own."""
    places = a_hub(tmp_path / "old")
    async with opened(places) as storage:
        before, epoch = await load_identity(storage), storage.log.epoch
    places.settings.write_text('log_level = "warning"\n')
    made, typed = await backed_up(places)
    stick = tmp_path / "stick"
    shutil.copytree(made.path, stick / made.path.name)
    shutil.rmtree(tmp_path / "old")
    new = HubPlaces(tmp_path / "new" / "hub")
    told = bring_back(new, find_backup(stick), typed)
    assert (told["hub_id"], told["ops"]) == (before.server_id, OPS)
    async with opened(new) as storage:
        after = await load_identity(storage)
        assert after.token_key.private_bytes_raw() == before.token_key.private_bytes_raw()
        assert after.root.key_pem == before.root.key_pem
        assert storage.log.epoch == told["epoch"] != epoch
        assert storage.log.last_seq == OPS
        assert storage.log.verification is None
    assert new.settings.read_text() == 'log_level = "warning"\n'
    assert {path.stat().st_mode & 0o777 for path in (new.store, new.audit, new.key_file)} == {0o600}
    assert (await backed_up(new))[1] == typed


async def test_without_the_recovery_key_it_says_what_is_missing(a_hub: Hubs, tmp_path: Path) -> None:
    """On another box a key is asked for, and another hub's is told from the right one; nothing is written."""
    made, _ = await backed_up(a_hub(tmp_path / "old"))
    new = HubPlaces(tmp_path / "new" / "hub")
    with pytest.raises(CommandFailed, match="is needed") as refused:
        bring_back(new, made.path, None)
    assert refused.value.code == "recovery_key"
    with pytest.raises(CommandFailed, match="another recovery key"):
        bring_back(new, made.path, make_recovery_key())
    assert not (tmp_path / "new").exists()


async def test_an_old_backup_over_a_newer_store_loses_nothing(a_hub: Hubs, tmp_path: Path) -> None:
    """The store that was there is set aside to be read out, its box's key opens the backup, its audit stays."""
    places = a_hub(tmp_path)
    made, _ = await backed_up(places)
    async with opened(places) as storage:
        await storage.log.append(batch(*run_of(OPS + 1, OPS + 10)))
    audit, store = places.audit.read_bytes(), places.store.read_bytes()
    bring_back(places, made.path, None)
    assert places.audit.read_bytes() == audit
    [incident] = Incidents(places.data).all()
    assert (incident.state, incident.file, incident.is_read) == ("refilling", "hub.db", False)
    assert (Incidents(places.data).folder_of(incident) / "hub.db").read_bytes() == store
    assert incident.shape.roots
    assert (await ops_of(places))[1] == OPS


async def test_who_has_its_place_takes_in_what_it_had(a_hub: Hubs, tmp_path: Path) -> None:
    """Another hub of the clinic has the ops of the backup beside its own, once, and stays who it is; its audit says so."""
    made, typed = await backed_up(a_hub(tmp_path / "old"))
    new = HubPlaces(tmp_path / "new" / "hub")
    await make_hub(new, CLINIC, HandClock(), IDS, None)
    async with opened(new) as storage:
        await storage.log.append(batch(*run_of(OPS + 1, OPS + 5)))
        before = storage.log.server_id, storage.log.epoch
    opening = open_backup(made.path, new, {}, read_recovery_key(typed))
    for missing in (OPS, 0):
        told = await take_in(new, opening, {}, HandClock(), IDS, silent)
        assert (told["ops_new"], told["ops"]) == (missing, OPS + 5)
    async with opened(new) as storage:
        assert (storage.log.server_id, storage.log.epoch) == before
        transactions = await storage.open_audit()
        entries, _ = await entries_of(transactions, CLINIC, {}, None, 10)
        await transactions.close()
    noted = [entry.detail for entry in entries if entry.event == "restored"]
    assert [each["ops_new"] for each in noted] == [0, OPS]
    assert {each["taken_from"] for each in noted} == {opening.contents.hub_id}


async def test_another_clinics_is_not_taken_in(a_hub: Hubs, tmp_path: Path) -> None:
    """A hub takes in nothing of another clinic."""
    made, typed = await backed_up(a_hub(tmp_path / "old"))
    new = HubPlaces(tmp_path / "new" / "hub")
    await make_hub(new, IDS.uuid7(), HandClock(), IDS, None)
    opening = open_backup(made.path, new, {}, read_recovery_key(typed))
    with pytest.raises(CommandFailed, match="another clinic"):
        await take_in(new, opening, {}, HandClock(), IDS, silent)
    assert (await ops_of(new))[1] == 0


async def test_that_it_was_restored_is_noted(a_hub: Hubs, tmp_path: Path) -> None:
    """The audit says which backup came back and in which epoch the hub goes on; a damaged one is no reason to fail."""
    places = a_hub(tmp_path)
    made, _ = await backed_up(places)
    told, key = bring_back(places, made.path, None), bytes.fromhex(places.key_file.read_text())
    assert await note_restored(places, key, told, HandClock(), IDS)
    async with opened(places) as storage:
        transactions = await storage.open_audit()
        entries, _ = await entries_of(transactions, CLINIC, {}, None, 10)
        await transactions.close()
    [noted] = [entry for entry in entries if entry.event == "restored"]
    assert noted.hub_id == told["hub_id"]
    assert noted.detail == {name: told[name] for name in ("backup_of", "epoch", "ops")}
    places.audit.write_bytes(b"rubbish" * 1_000)
    assert not await note_restored(places, key, told, HandClock(), IDS)


class AwayCloud:
    """One that can be reached once it `is_here`, and has every piece that it was sent."""

    def __init__(self) -> None:
        self.is_here = False
        self.refusal: PeerRefused | None = None
        self.sizes: dict[str, int] = {}
        self.asked = 0

    async def keep_backup(self, piece: BackupPiece) -> BackupAnswer:
        self.asked += 1
        if not self.is_here:
            raise PeerUnreachable("the cloud can't be reached")
        if self.refusal is not None:
            raise self.refusal
        held = self.sizes.setdefault(piece.file, 0)
        self.sizes[piece.file] += len(piece.content) * 3 // 4
        return BackupAnswer(size=self.sizes[piece.file], whole=piece.file == "manifest.json" and held > 0)


async def test_a_cloud_that_is_away_gets_it_later(a_hub: Hubs, tmp_path: Path) -> None:
    """The backup stays on the box, and goes up by itself once the cloud is there again; what it refuses is left to people."""
    places, clock, cloud = a_hub(tmp_path), HandClock(), AwayCloud()
    async with opened(places, clock) as storage:
        backups = Backups(storage, "1", cloud=cloud, is_online=lambda: cloud.is_here)

        async def tried() -> None:
            await backups.go_on()
            if backups.is_running:
                await asyncio.wait([task for task in asyncio.all_tasks() if task.get_name() == "backup"])

        try:
            made = await backups.make()
            await tried()
            assert cloud.asked == 0, "nobody wanted it in the cloud"
            with pytest.raises(CloudRequired):
                await backups.upload()
            assert (backups.note.owed, backups.note.trouble, backups.note.carried_at) == (True, None, None)
            assert read_note(places.backup_note).owed
            assert made.path.is_dir()
            asked = cloud.asked
            await tried()
            assert cloud.asked == asked, "it is known to be away"
            cloud.is_here = True
            cloud.refusal = PeerRefused(507, "storage_full", "no room")
            await tried()
            assert (backups.note.owed, backups.note.trouble is not None) == (False, True)
            cloud.refusal = None
            backups.note = backups.note.model_copy(update={"owed": True})
            await tried()
            assert cloud.asked == asked + 1, "not at once again"
            clock.time_ms += round(AGAIN_S * 1_000)
            await tried()
        finally:
            await backups.close()
        assert (backups.note.owed, backups.note.carried_to, backups.note.trouble) == (False, "cloud", None)
        assert backups.note.carried_at == backups.note.made_at == made.at
        assert set(cloud.sizes) == {"hub.db", "audit.db", "manifest.json"}


STEPS = ("copy_durably", "begin_epoch_in_copy", "write_new", "put_in_place", "move_aside", "sync")


@pytest.mark.parametrize("place", ["a new box", "over a store"])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("step", STEPS)
async def test_every_step_may_be_the_last(
    a_hub: Hubs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, place: str, *, after: bool
) -> None:
    """Cut off before or after each step, the box starts as what it was or says that it is none; again it is whole."""
    places = a_hub(tmp_path)
    made, typed = await backed_up(places)
    if place == "a new box":
        places = HubPlaces(tmp_path / "new" / "hub")
    real: Callable[..., Any] = getattr(restoring, step)

    def cut(*arguments: Any) -> Any:
        if after:
            real(*arguments)
        raise Cut

    with monkeypatch.context() as patch:
        patch.setattr(restoring, step, cut)
        try:
            bring_back(places, made.path, typed)
        except Cut:
            pass
        else:  # a step that this way does not take
            assert (step, place) in {("move_aside", "a new box"), ("write_new", "over a store")}
    if places.store.exists() or Incidents(places.data).all():
        assert (await ops_of(places))[1] in {0, OPS}  # 0: its old file is being read out
    told = bring_back(places, made.path, typed)
    epoch, ops = await ops_of(places)
    assert (epoch, ops) == (told["epoch"], OPS)
    assert not list(places.data.glob("*.restoring*"))
    assert all(incident.state == "refilling" for incident in Incidents(places.data).all())


@pytest.mark.parametrize("name", ["hub.db", "audit.db"])
async def test_a_backup_that_rots_is_refused(a_hub: Hubs, tmp_path: Path, name: str) -> None:
    """One bit that turned over on the stick, anywhere in a file, is found before anything is brought back."""
    made, typed = await backed_up(a_hub(tmp_path / "old"))
    file = made.path / name
    sound = file.read_bytes()
    new = HubPlaces(tmp_path / "new" / "hub")
    for place in (3, 100, len(sound) // 2, len(sound) - 1):
        damaged = bytearray(sound)
        damaged[place] ^= 4
        file.write_bytes(damaged)
        with pytest.raises(CommandFailed, match="not what was written"):
            bring_back(new, made.path, typed)
        assert not new.store.exists()
        assert not new.key_file.exists()
    file.write_bytes(sound[:-4_096])
    with pytest.raises(CommandFailed, match="not what was written"):
        bring_back(new, made.path, typed)


async def test_another_hubs_directory_is_left_alone(a_hub: Hubs, tmp_path: Path) -> None:
    """A backup is never put where another hub lies, whether its key is there or not."""
    made, typed = await backed_up(a_hub(tmp_path / "one"))
    other = HubPlaces(tmp_path / "two" / "hub")
    await make_hub(other, CLINIC, HandClock(), IDS, None)
    before = other.store.read_bytes()
    with pytest.raises(CommandFailed) as refused:
        bring_back(other, made.path, typed)
    assert refused.value.code == "another_hub"
    other.key_file.unlink()
    with pytest.raises(CommandFailed) as refused:
        bring_back(other, made.path, typed)
    assert refused.value.code == "another_hub"
    assert other.store.read_bytes() == before


async def test_a_damaged_store_is_not_backed_up(a_hub: Hubs, tmp_path: Path) -> None:
    """A page that is not what was written ends the backup, is met as damage, and leaves nothing that looks like one."""
    places = a_hub(tmp_path)
    made, _ = await backed_up(places)
    data = bytearray(places.store.read_bytes())
    data[len(data) // 2] ^= 1
    places.store.write_bytes(data)
    clock = HandClock()
    clock.time_ms += 60_000
    async with opened(places, clock) as storage:
        backups = Backups(storage, "1")
        with pytest.raises(MedxzError, match="damaged"):
            await backups.make()
        assert backups.note.trouble is not None
        assert storage.damage.found is not None
        await backups.close()
    assert find_backup(places.backups) == made.path
    assert [path.name for path in made.path.parent.iterdir()] == [made.path.name]


async def test_what_does_not_open_is_no_backup(
    a_hub: Hubs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy that came out wrong is found by opening it, and the one before stays the newest."""
    places = a_hub(tmp_path)
    made, _ = await backed_up(places)

    def wrong(*arguments: Any) -> None:
        copy_database(*arguments)
        target = arguments[2]
        data = bytearray(target.read_bytes())
        data[-100] ^= 1
        target.write_bytes(data)

    monkeypatch.setattr(making, "copy_database", wrong)
    clock = HandClock()
    clock.time_ms += 60_000
    async with opened(places, clock) as storage:
        backups = Backups(storage, "1")
        with pytest.raises(MedxzError, match="damaged"):
            await backups.make()
        await backups.close()
    assert find_backup(places.backups) == made.path


async def test_the_hubs_own_disk_keeps_room(
    a_hub: Hubs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three backups are kept on the hub's disk; where less than its reserve would be left, none is made."""
    places, clock = a_hub(tmp_path), HandClock()
    for _ in range(5):
        clock.time_ms += 1_000
        async with opened(places, clock) as storage:
            backups = Backups(storage, "1")
            await backups.make()
            await backups.close()
    newest = find_backup(places.backups)
    assert len(list(newest.parent.iterdir())) == making.LOCAL_MAX
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(
        "hub.backup.folder.shutil.disk_usage", lambda _path: usage._replace(free=limits.DISK_FREE_BYTES_MIN)
    )
    clock.time_ms += 1_000
    async with opened(places, clock) as storage:
        backups = Backups(storage, "1")
        with pytest.raises(CommandFailed, match="MiB free"):
            await backups.make()
        assert (await backups.state({}))["trouble"]["hint"]
        await backups.close()
    assert find_backup(places.backups) == newest


@pytest.mark.parametrize("at", ["copying hub.db", "checking hub.db", "checking ops"])
async def test_a_hub_that_stops_gives_its_backup_up(
    a_hub: Hubs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    """Wherever it is in a backup, the hub ends at once, and nothing half made is left."""
    monkeypatch.setattr("medxz.store.copying.PAGES_AT_ONCE", 1)
    monkeypatch.setattr("medxz.store.copying.ROWS_AT_ONCE", 1)
    monkeypatch.setattr("medxz.store.copying._STEPS_AT_ONCE", 10)
    places = a_hub(tmp_path)
    async with opened(places) as storage:
        backups = Backups(storage, "1")
        reached = asyncio.Event()
        loop, went_on = asyncio.get_running_loop(), backups._told_of

        def told_of(stage: str, done: int, total: int) -> None:
            if stage == at:
                loop.call_soon_threadsafe(reached.set)
                backups._stopping.wait(10)
            went_on(stage, done, total)

        monkeypatch.setattr(backups, "_told_of", told_of)
        await backups.begin({})
        await reached.wait()
        await backups.close()
        assert not backups.is_running
        assert backups.note == BackupNote()
    assert [path for path in places.backups.rglob("*") if path.is_file()] == []
