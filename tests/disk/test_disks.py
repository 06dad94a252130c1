"""SQLite on a disk that loses what was not synced: what it promises holds there, and what it does not is lost."""

from __future__ import annotations

import random
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlcipher3 import dbapi2 as sqlcipher

from medxz.errors import StoreError
from medxz.store.cipher import open_database
from tests.disk import native
from tests.disk.disks import Disk, disks
from tests.disk.memory import in_memory

KEY = bytes(range(32))
DATABASE = "a.db"


@pytest.fixture
def tmp_path(tmp_path: Path) -> Iterator[Path]:
    """In memory where there is a place for that: thousands of images are opened, and each would be synced."""
    memory = in_memory()
    if memory is None:
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        yield Path(folder)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    folder = tmp_path / "disk"
    folder.mkdir()
    watched = disks().watch(folder)
    yield watched
    assert watched.broken is None
    watched.forget()


def opened(folder: Path, *pragmas: str) -> sqlcipher.Connection:
    connection = open_database(folder / DATABASE, KEY, create=True)
    for pragma in pragmas:
        connection.execute(f"PRAGMA {pragma}").fetchall()
    connection.execute("CREATE TABLE IF NOT EXISTS entry (number INTEGER PRIMARY KEY, filler BLOB)")
    return connection


def add(connection: sqlcipher.Connection, number: int, filler: int = 900) -> None:
    connection.execute("INSERT INTO entry VALUES (?, ?)", (number, number.to_bytes(4) * (filler // 4)))


class Cutter:
    """Asks what a power cut would leave, in the middle of writes, and holds it against what was acknowledged."""

    def __init__(self, disk: Disk, folder: Path, seed: int, images_each: int) -> None:
        self.disk = disk
        self.folder = folder
        self.chance = random.Random(seed)
        self.images_each = images_each
        self.acknowledged = 0
        self.images = 0
        self.lost = 0
        self.ahead = 0
        self.next_cut()

    def next_cut(self) -> None:
        self.disk.cut_at_write(self.chance.randint(1, 9), self.cut)

    def cut(self) -> None:
        for _ in range(self.images_each):
            image = self.folder / "image"
            self.disk.survive(self.chance, image)
            self.look_at(image)
            shutil.rmtree(image)
        self.next_cut()

    def look_at(self, image: Path) -> None:
        connection = open_database(image / DATABASE, KEY)
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        found = [number for (number,) in connection.execute("SELECT number FROM entry ORDER BY number")]
        connection.close()
        assert found == list(
            range(1, len(found) + 1)
        )  # each transaction is whole, and none before it is missing
        self.images += 1
        self.lost += len(found) < self.acknowledged
        self.ahead += len(found) > self.acknowledged


def work(cutter: Cutter, connection: sqlcipher.Connection, transactions: int) -> None:
    for number in range(1, transactions + 1):
        add(connection, number, cutter.chance.choice((40, 900, 9_000)))
        cutter.acknowledged = number


@pytest.mark.parametrize("pages", [7, 1_000])
def test_full_loses_nothing_in_thousands_of_cuts(disk: Disk, tmp_path: Path, pages: int) -> None:
    """As the product opens its files, every image opens, is sound, and holds all that was acknowledged."""
    connection = opened(disk.folder, f"wal_autocheckpoint = {pages}")
    cutter = Cutter(disk, tmp_path, seed=6, images_each=6)
    work(cutter, connection, 150)
    connection.close()
    print(f"{cutter.images} images, {cutter.ahead} with a transaction that was not acknowledged yet")
    assert cutter.images > 500
    assert cutter.lost == 0
    assert cutter.ahead > 0  # one that was not acknowledged yet: so some cuts came in the middle of a commit


def test_without_syncs_acknowledged_transactions_are_lost(disk: Disk, tmp_path: Path) -> None:
    """With synchronous = OFF the same work loses what was acknowledged: the disk can tell."""
    connection = opened(disk.folder)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    connection.execute("PRAGMA synchronous = OFF")
    cutter = Cutter(disk, tmp_path, seed=6, images_each=2)
    work(cutter, connection, 30)
    connection.close()
    assert cutter.lost > cutter.images / 4


def test_a_rolled_back_journal_needs_the_folders_sync(disk: Disk, tmp_path: Path) -> None:
    """With a rollback journal a transaction is undone by a journal that comes back, unless its deletion was synced."""
    lost = {}
    for mode in ("FULL", "EXTRA"):
        connection = opened(disk.folder, "journal_mode = DELETE", f"synchronous = {mode}")
        connection.execute("DELETE FROM entry")
        cutter = Cutter(disk, tmp_path, seed=3, images_each=3)
        work(cutter, connection, 40)
        connection.close()
        lost[mode] = cutter.lost
    assert lost["FULL"] > 0
    assert lost["EXTRA"] == 0


def test_a_full_disk_is_told_and_ends(disk: Disk, tmp_path: Path) -> None:
    """SQLite says that the disk is full, nothing acknowledged is lost, and it goes on once there is room."""
    connection = opened(disk.folder)
    add(connection, 1)
    disk.fill(10_000)
    with pytest.raises(sqlcipher.OperationalError, match="full") as refused:
        add(connection, 2, 50_000)
    assert refused.value.sqlite_errorcode == native.FULL
    disk.free()
    add(connection, 2, 50_000)
    disk.survive(random.Random(1), tmp_path / "image")
    assert numbers(tmp_path / "image") == [1, 2]
    connection.close()


def test_a_failed_sync_is_told_and_lost(disk: Disk, tmp_path: Path) -> None:
    """SQLite says that a sync failed; what is acknowledged after it is safe all the same."""
    connection = opened(disk.folder)
    add(connection, 1)
    disk.fail_syncs(1)
    with pytest.raises(sqlcipher.OperationalError, match="disk I/O error"):
        add(connection, 2)
    add(connection, 3)
    for seed in range(20):
        image = tmp_path / f"image-{seed}"
        disk.survive(random.Random(seed), image)
        assert numbers(image) == [1, 3]
    connection.close()


def test_a_sealed_disk_takes_nothing(disk: Disk, tmp_path: Path) -> None:
    """Once sealed it can be read and closed, and nothing is written, deleted or opened; its image stays what it was."""
    connection = opened(disk.folder)
    add(connection, 1)
    disk.seal()
    with pytest.raises(sqlcipher.OperationalError):
        add(connection, 2)
    assert connection.execute("SELECT number FROM entry").fetchall() == [(1,)]
    with pytest.raises(sqlcipher.OperationalError):
        sqlcipher.connect(str(disk.folder / DATABASE)).execute("SELECT 1 FROM entry")
    connection.close()
    disk.survive(random.Random(1), tmp_path / "image")
    assert numbers(tmp_path / "image") == [1]


@pytest.mark.parametrize("number", range(1, 12))
def test_a_cut_in_the_middle_of_a_commit(disk: Disk, tmp_path: Path, number: int) -> None:
    """A power cut at any write of a commit leaves a store that opens, with that transaction whole or not at all."""
    connection = opened(disk.folder)
    add(connection, 1)
    chance = random.Random(number)

    def cut() -> None:
        disk.survive(chance, tmp_path / "image")
        disk.seal()

    disk.cut_at_write(number, cut)
    with pytest.raises(sqlcipher.OperationalError):
        for added in range(2, 20):
            add(connection, added)
    connection.close()
    found = numbers(tmp_path / "image")
    assert found == list(range(1, len(found) + 1))
    assert found


def test_files_of_others_are_taken_as_they_are(disk: Disk, tmp_path: Path) -> None:
    """Keys and settings are in the image; a database that was renamed or overwritten while closed is what it is now."""
    (disk.folder / "key").write_text("secret")
    opened(disk.folder).close()
    connection = open_database(disk.folder / DATABASE, KEY)
    add(connection, 1)
    connection.close()
    (disk.folder / DATABASE).rename(disk.folder / "b.db")
    disk.survive(random.Random(1), tmp_path / "renamed")
    assert sorted(path.name for path in (tmp_path / "renamed").glob("[bk]*")) == ["b.db", "key"]
    (disk.folder / "b.db").write_bytes(b"another")
    disk.survive(random.Random(1), tmp_path / "overwritten")
    assert (tmp_path / "overwritten" / "b.db").read_bytes() == b"another"


def test_what_a_dead_process_had_not_synced_is_synced_before_it_is_read(disk: Disk, tmp_path: Path) -> None:
    """Who opens a store may tell others of all that it reads: a commit that was never synced is safe by then."""
    killed = opened(disk.folder)
    killed.execute("PRAGMA synchronous = OFF")  # as if it died before each sync
    for number in range(1, 10):
        add(killed, number)
    name = DATABASE + "-wal"
    assert disk.medium.files[name].pending
    found = open_database(disk.folder / DATABASE, KEY)
    assert not disk.medium.files[name].pending
    assert name not in disk.medium.before
    for seed in range(10):
        disk.survive(random.Random(seed), tmp_path / f"{seed}")
        assert numbers(tmp_path / f"{seed}") == list(range(1, 10))
    found.close()
    killed.close()


def test_a_store_is_not_read_where_it_cant_be_synced(disk: Disk) -> None:
    """Where the disk does not take what was not synced, the store is refused, and says why."""
    killed = opened(disk.folder)
    add(killed, 1)
    disk.fail_syncs(1)
    with pytest.raises(StoreError, match="can't be synced"):
        open_database(disk.folder / DATABASE, KEY)
    open_database(disk.folder / DATABASE, KEY).close()
    killed.close()


def test_a_copy_is_what_is_there(disk: Disk, tmp_path: Path) -> None:
    """An image taken of a running machine holds what its process sees, synced or not."""
    connection = opened(disk.folder, "synchronous = OFF")
    for number in range(1, 30):
        add(connection, number)
    disk.copy(tmp_path / "image")
    assert numbers(tmp_path / "image") == list(range(1, 30))
    connection.close()


def test_reads_are_sqlites_own(disk: Disk) -> None:
    """Only what changes a file passes through Python: reads, locks and shared memory do not."""
    connection = opened(disk.folder)
    add(connection, 1)
    connection.close()
    tables = disks()._vfs._tables
    assert tables
    for place, table in tables.items():
        own = native.Methods.from_address(place)
        ours = {name for name in native.METHODS if getattr(own, name) != getattr(table.patched, name)}
        assert ours == {"close", "write", "truncate", "sync"}


def numbers(image: Path) -> list[int]:
    connection = open_database(image / DATABASE, KEY)
    found = [number for (number,) in connection.execute("SELECT number FROM entry ORDER BY number")]
    connection.close()
    return found
