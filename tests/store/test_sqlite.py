"""What the SQLite backend promises beyond the contract: shared transactions, sound files, full disks, sameness."""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import FileIO
from pathlib import Path
from threading import Barrier

import pytest

from medxz import limits
from medxz.errors import RowCorrupt, SchemaTooNew, StorageFull, StoreError, StoreKeyWrong
from medxz.ids import SeededIds, uuid_bytes
from medxz.store.base import BEGINNING, Position, PositionLost
from medxz.store.cipher import open_database
from medxz.store.files import LogFile
from medxz.store.sqlite import SqliteLog, Workers, open_log
from tests.making import HandClock, batch, fixed_id, make_op, run_of
from tests.store.conftest import IDENTITY, KEY, Backend, inline_workers


async def test_an_encrypted_file_tells_nothing(tmp_path: Path) -> None:
    """No text of an op is in the files, and no other key opens them."""
    backend = Backend(tmp_path / "hub.db", KEY, Workers.threads)
    log = await backend.open()
    await log.append(batch(*(make_op(n, payload='{"note":"Wanjiru Otieno"}') for n in range(1, 50))))
    for name in ("hub.db", "hub.db-wal"):
        assert b"Wanjiru" not in (tmp_path / name).read_bytes()
        assert b"CREATE TABLE" not in (tmp_path / name).read_bytes()
    await backend.close()
    for wrong in (bytes(32), None):
        with pytest.raises(StoreKeyWrong):
            LogFile.open(tmp_path / "hub.db", wrong)


async def test_a_flipped_byte_is_never_handed_out(tmp_path: Path) -> None:
    """Reading a row whose bytes changed at rest fails and a full check names it; who is past it is served."""
    backend = Backend(tmp_path / "hub.db", None, Workers.threads)
    log = await backend.open()
    ops = run_of(1, 40)
    await log.append(batch(*ops))
    await backend.close()
    connection = open_database(tmp_path / "hub.db", None)
    [(body,)] = connection.execute("SELECT body FROM op WHERE seq = 17").fetchall()
    damaged = body[:20] + bytes([body[20] ^ 1]) + body[21:]
    connection.execute("UPDATE op SET body = ? WHERE seq = 17", (damaged,))
    connection.close()
    log = await backend.open()
    with pytest.raises(RowCorrupt, match="server_seq 17"):
        await log.page(BEGINNING, 100, "full")
    assert (await log.page(Position(17, uuid_bytes(ops[16].op_id)), 100, "full")).count == 23
    with pytest.raises(PositionLost):
        await log.page(Position(17, uuid_bytes(ops[15].op_id)), 100, "full")
    assert (await log.verify()).damaged == [17]
    [outcome] = await log.append(batch(make_op(41)))
    assert (outcome.kind, outcome.seq) == ("stored", 41)
    await backend.close()


async def test_a_damaged_row_is_found_by_the_check(tmp_path: Path) -> None:
    """After an unclean stop every row is read in the background; each damaged one is named."""
    backend = Backend(tmp_path / "hub.db", None, Workers.threads)
    log = await backend.open()
    await log.append(batch(*run_of(1, limits.BLOCK_OPS)))
    await log.append(batch(*run_of(limits.BLOCK_OPS + 1, limits.BLOCK_OPS + 5)))
    await backend.close()
    connection = open_database(tmp_path / "hub.db", None)
    [(body,)] = connection.execute("SELECT body FROM op WHERE seq = 23").fetchall()
    connection.execute("UPDATE op SET body = ? WHERE seq = 23", (body[:-1] + bytes([body[-1] ^ 128]),))
    connection.execute("UPDATE op_place SET op_id = randomblob(16) WHERE seq = 29")
    connection.execute("UPDATE log SET clean_stop = 0")
    connection.close()
    log = await backend.open()
    assert log.verification is not None
    found = await log.verify()
    assert found.damaged == [23, 29]
    with pytest.raises(RowCorrupt, match="server_seq 23"):
        await log.page(BEGINNING, 100, "full")
    await backend.close()


async def test_a_damaged_page_is_told_as_what_it_is(tmp_path: Path) -> None:
    """An encrypted file is damaged by pages: the check comes to its end and names the rows, or opening says why not."""
    backend = Backend(tmp_path / "hub.db", KEY, Workers.threads)
    log = await backend.open()
    for first in range(1, 1_502, 500):
        await log.append(batch(*run_of(first, first + 499)))
    await backend.close()
    whole = backend.path.read_bytes()
    named = refused = 0
    for page in range(2, len(whole) // 4096, 7):
        bad = bytearray(whole)
        bad[4096 * page + 100] ^= 1
        backend.path.write_bytes(bad)
        try:
            log = await backend.open()
        except StoreError:
            refused += 1
        else:
            found = await log.verify()
            assert (found.done, found.checked) == (True, 2_000)
            named += bool(found.damaged)
            await backend.close()
    assert named > 0
    assert refused > 0


async def test_what_is_sound_is_served_beside_a_damaged_page(tmp_path: Path) -> None:
    """Whoever met a damaged page reads on, with the same log, what lies elsewhere; the check names its rows alone."""
    backend = Backend(tmp_path / "hub.db", KEY, lambda: Workers.threads(readers=1))
    log = await backend.open()
    chance = random.Random(2)  # unlike each other: a page holds few of them, whatever the log has learned
    ops = [make_op(seq, payload=json.dumps({"text": chance.randbytes(40).hex()})) for seq in range(1, 2_001)]
    for first in range(0, 2_000, 500):
        await log.append(batch(*ops[first : first + 500]))
    await backend.close()
    whole = backend.path.read_bytes()
    starts = [BEGINNING] + [Position(seq, uuid_bytes(ops[seq - 1].op_id)) for seq in range(40, 2_000, 40)]
    met = 0
    for page in (50, 80, 110):
        bad = bytearray(whole)
        bad[4096 * page + 100] ^= 1
        backend.path.write_bytes(bad)
        log = await backend.open()
        served = [await served_of(log, after, 40) for after in starts * 2]
        assert served[:50] == served[50:]
        damaged = (await log.verify()).damaged
        assert damaged == list(range(damaged[0], damaged[0] + len(damaged)))
        if sum(served) < 4_000:  # else it holds ids: no page of the log lies in it
            assert served.count(0) <= 4
            assert len(damaged) < 40
            met += 1
        await backend.close()
    assert met


async def served_of(log: SqliteLog, after: Position, limit: int) -> int:
    """How many ops a page has; none where it cannot be read."""
    try:
        return (await log.page(after, limit, "full")).count
    except StoreError:
        return 0


async def test_a_checkpoint_that_the_last_commit_begins_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Closing beside a push ends both the commit and what follows it before the file is let go."""
    monkeypatch.setattr(limits, "CHECKPOINT_BYTES", 1)
    backend = Backend(tmp_path / "hub.db", KEY, Workers.threads)
    log = await backend.open()
    push = asyncio.create_task(log.append(batch(make_op(1))))
    await asyncio.sleep(0)
    await backend.close()
    assert (await push)[0].kind == "stored"
    assert log._checkpoint is not None
    assert log._checkpoint.done()
    assert log._checkpoint.exception() is None


async def test_a_missing_row_is_found_by_the_check(tmp_path: Path) -> None:
    """The log counts without gaps: a row that is gone is damage too."""
    backend = Backend(tmp_path / "hub.db", None, Workers.threads)
    log = await backend.open()
    await log.append(batch(*run_of(1, limits.BLOCK_OPS + 2)))
    await backend.close()
    connection = open_database(tmp_path / "hub.db", None)
    connection.execute("DELETE FROM op WHERE seq = 23")
    connection.close()
    log = await backend.open()
    assert (await log.verify()).damaged == [23]
    await backend.close()


async def test_only_an_unclean_stop_starts_a_check(tmp_path: Path) -> None:
    """A log that was closed is trusted; one that was not is read through."""
    backend = Backend(tmp_path / "hub.db", KEY, Workers.threads)
    log = await backend.open()
    assert log.verification is None
    log = await backend.reopen()
    assert log.verification is None
    await backend.close()
    connection = open_database(tmp_path / "hub.db", KEY)
    connection.execute("UPDATE log SET clean_stop = 0")
    connection.close()
    log = await backend.open()
    found = await log.verify()
    assert found.done
    await backend.close()


async def test_two_runs_of_one_seed_write_the_same_bytes(tmp_path: Path) -> None:
    """With the inline worker, a given clock and given ids, nothing in the file depends on anything else."""
    files = []
    for run in ("one", "two"):
        (tmp_path / run).mkdir()
        path = tmp_path / run / "hub.db"
        clock = HandClock()
        ids = SeededIds(clock, seed=11)
        LogFile.create(path, None, IDENTITY)
        workers = inline_workers()
        log, _ = await open_log(path, None, clock, workers)
        for number in range(1, 40):
            clock.time_ms += 7
            op = make_op(number, op_id=ids.uuid7(), entity_id=ids.uuid7())
            await asyncio.gather(log.append(batch(op)), log.append(batch(op)))
        await log.close()
        files.append(path.read_bytes())
    assert files[0] == files[1]


def test_a_newer_schema_is_refused_untouched(tmp_path: Path) -> None:
    """A file that a newer version has written so that this one can't read it is not opened, and not changed."""
    path = tmp_path / "hub.db"
    LogFile.create(path, None, IDENTITY)
    connection = open_database(path, None)
    connection.execute("PRAGMA user_version = 999")
    connection.execute("PRAGMA application_id = 999")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    connection.close()
    before = path.read_bytes()
    with pytest.raises(SchemaTooNew, match="999"):
        LogFile.open(path, None)
    assert path.read_bytes() == before


def test_a_store_is_made_once(tmp_path: Path) -> None:
    """Making one where there is one is refused, and so is opening one where there is none."""
    LogFile.create(tmp_path / "hub.db", KEY, IDENTITY)
    with pytest.raises(StoreError, match="already"):
        LogFile.create(tmp_path / "hub.db", KEY, IDENTITY)
    with pytest.raises(StoreError, match="no store"):
        LogFile.open(tmp_path / "other.db", KEY)


def test_the_durable_mode_is_on(tmp_path: Path) -> None:
    """WAL, synchronous=FULL and foreign keys, on every connection."""
    connection = open_database(tmp_path / "x.db", KEY, create=True)
    modes = [
        connection.execute(f"PRAGMA {name}").fetchall()[0][0]
        for name in ("journal_mode", "synchronous", "foreign_keys")
    ]
    assert modes == ["wal", 2, 1]
    connection.close()


def test_whoever_opens_a_new_file_at_the_same_moment_gets_it(tmp_path: Path) -> None:
    """Connections that turn the write-ahead log on at once, which SQLite does not let wait for each other, all open."""
    together = Barrier(6)

    def open_it(path: Path) -> str:
        together.wait(10)
        connection = open_database(path, KEY, create=True)
        mode = str(connection.execute("PRAGMA journal_mode").fetchall()[0][0])
        connection.close()
        return mode

    with ThreadPoolExecutor(together.parties) as pool:
        for number in range(150):
            assert set(pool.map(open_it, [tmp_path / f"{number}.db"] * together.parties)) == {"wal"}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    mount = tmp_path / "disk"
    mount.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(mount)], check=True)
    yield mount
    subprocess.run(["umount", str(mount)], check=True)


def _fill(file: FileIO) -> None:
    while True:
        file.write(bytes(4096))


@pytest.mark.root
async def test_a_full_disk_refuses_writing_goes_on_reading_and_recovers(small_disk: Path) -> None:
    """507, with nothing of the push stored and everything readable; once there is room it goes on by itself."""
    backend = Backend(small_disk / "hub.db", KEY, Workers.threads)
    log = await backend.open()
    await log.append(batch(*run_of(1, 200)))
    ballast = small_disk / "ballast"
    with ballast.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
        _fill(file)

    async def push_on() -> None:
        for first in range(201, 100_000, 200):
            await log.append(batch(*run_of(first, first + 199)))

    with pytest.raises(StorageFull) as refused:
        await push_on()
    assert refused.value.retry_after_s
    stored = log.last_seq
    assert (await log.page(BEGINNING, 1_000, "full")).count == min(stored, 1_000)
    assert log.settled_through(make_op(1).device_id) == stored
    ballast.unlink()
    [outcome] = await log.append(batch(make_op(stored + 1)))
    assert (outcome.kind, outcome.seq) == ("stored", stored + 1)
    log = await backend.reopen()
    assert log.last_seq == stored + 1
    await backend.close()


async def test_a_failing_statement_loses_the_batch_and_nothing_else(tmp_path: Path) -> None:
    """An error of the database is told to those in the transaction; the next one goes through."""
    backend = Backend(tmp_path / "hub.db", None, Workers.threads)
    log = await backend.open()
    await log.append(batch(*run_of(1, 3)))
    other = open_database(tmp_path / "hub.db", None)
    other.execute("CREATE TRIGGER broken BEFORE INSERT ON op BEGIN SELECT RAISE(FAIL, 'cut'); END")
    with pytest.raises(StoreError):
        await log.append(batch(make_op(4)))
    other.execute("DROP TRIGGER broken")
    other.close()
    [outcome] = await log.append(batch(make_op(4)))
    assert (outcome.kind, outcome.seq) == ("stored", 4)
    await backend.close()


async def test_a_damaged_row_blocks_only_who_meets_it(tmp_path: Path) -> None:
    """A push that meets a damaged row fails; those that shared its transaction are stored."""
    backend = Backend(tmp_path / "hub.db", None, Workers.threads)
    log = await backend.open()
    ops = run_of(1, limits.BLOCK_OPS)
    await log.append(batch(*ops))
    await backend.close()
    connection = open_database(tmp_path / "hub.db", None)
    connection.execute("UPDATE op SET body = zeroblob(40) WHERE seq = 23")
    connection.close()
    log = await backend.open()
    answers = await asyncio.gather(
        log.append(batch(ops[5])),
        log.append(batch(ops[22])),
        log.append(batch(make_op(1, device_id=fixed_id(2)))),
        return_exceptions=True,
    )
    assert isinstance(answers[1], RowCorrupt)
    assert [answer[0].kind for answer in answers if isinstance(answer, list)] == ["duplicate", "stored"]
    await backend.close()


async def test_a_check_that_was_cut_short_begins_again(tmp_path: Path) -> None:
    """Only a check that came to its end, and found nothing, makes the next start trust the file."""
    backend = Backend(tmp_path / "hub.db", None, inline_workers)
    log = await backend.open()
    await log.append(batch(*run_of(1, 3)))
    await backend.close()
    connection = open_database(tmp_path / "hub.db", None)
    connection.execute("UPDATE log SET clean_stop = 0")
    connection.close()
    await backend.open()  # and closed before its check has run
    log = await backend.reopen()
    assert log.verification is not None
    await log.verify()
    log = await backend.reopen()
    assert log.verification is None
    await backend.close()
