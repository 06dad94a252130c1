"""What is read of a damaged file, page by page: rows of every size, out of the file and out of its write-ahead log."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from medxz.store.cipher import open_database
from medxz.store.rescue.ops import Found, find_dictionaries, find_ops
from medxz.store.rescue.pages import PAGE_BYTES, DamagedFile
from medxz.store.rescue.trees import Lost, rows_of_tree
from medxz.store.rescue.verdict import judge
from medxz.store.rescue.wal import read_wal
from medxz.store.sqlite import Workers
from tests.making import batch, make_op
from tests.store.conftest import KEY, Backend

OPS = 1_100
SEED = 8_642


async def written(folder: Path, *, close: bool) -> Path:
    """A log of ops of many sizes, and a copy of its files: as they lie after a stop, or after a power cut."""
    backend = Backend(folder / "hub.db", KEY, Workers.threads)
    log = await backend.open()
    sizes = random.Random(SEED)
    for first in range(1, OPS, 100):
        ops = [
            make_op(
                number, payload=f'{{"note":"{sizes.randbytes(sizes.choice((8, 60, 900, 9_000))).hex()}"}}'
            )
            for number in range(first, first + 100)
        ]
        await log.append(batch(*ops))
        if first == 601:
            await log.checkpoint()
    if close:
        await backend.close()
    copy = folder / "copy.db"
    for ending in ("", "-wal"):
        if Path(f"{folder / 'hub.db'}{ending}").exists():
            shutil.copy(f"{folder / 'hub.db'}{ending}", f"{copy}{ending}")
    if not close:
        await backend.close()
    return copy


def found_in(path: Path, salt: bytes | None = None) -> tuple[Found, set[int]]:
    file = DamagedFile(path, KEY, salt)
    try:
        found = Found()
        seqs = {op.device_seq for ops in find_ops(file, find_dictionaries(file), found) for op in ops}
    finally:
        file.close()
    return found, seqs


def flip(path: Path, at: int) -> None:
    with path.open("r+b") as opened:
        opened.seek(at)
        [byte] = opened.read(1)
        opened.seek(at)
        opened.write(bytes([byte ^ 0x10]))


@pytest.mark.parametrize("close", [True, False])
async def test_every_op_of_a_sound_file_is_found(tmp_path: Path, *, close: bool) -> None:
    """All rows are found, the long ones too, whether they lie in the file or in its write-ahead log still."""
    found, seqs = found_in(await written(tmp_path, close=close))
    assert seqs == set(range(1, OPS + 1))
    assert (found.pages_damaged, found.rows_damaged, found.through) == (0, 0, OPS)


async def test_one_page_costs_what_lies_in_it(tmp_path: Path) -> None:
    """Wherever a page is damaged, a few ops are lost and no more; the first page, or an inner one, costs none."""
    copy = await written(tmp_path, close=True)
    flip(copy, 5)  # the salt: without the one that was kept nothing opens
    assert found_in(copy)[1] == set()
    with (tmp_path / "hub.db").open("rb") as opened:
        salt = opened.read(16)
    assert found_in(copy, salt)[1] == set(range(1, OPS + 1))
    flip(copy, 5)
    choose = random.Random(SEED)
    for page in [0, *choose.sample(range(1, copy.stat().st_size // PAGE_BYTES), 5)]:
        at = page * PAGE_BYTES + choose.randrange(16, PAGE_BYTES)
        flip(copy, at)
        found, seqs = found_in(copy)
        assert found.pages_damaged == 1
        assert len(seqs) >= OPS - 60, (page, len(seqs))
        flip(copy, at)


async def test_rows_of_other_tables_are_found_from_their_roots(tmp_path: Path) -> None:
    """A tree is read from its root down: the same rows, of tables with a rowid and without, as the library reads."""
    copy = await written(tmp_path, close=True)
    connection = open_database(copy, KEY)
    roots = dict(
        connection.execute("SELECT name, rootpage FROM sqlite_master WHERE type = 'table'").fetchall()
    )
    wanted = {
        "op": connection.execute("SELECT seq, front_desk, body FROM op ORDER BY seq").fetchall(),
        "block": connection.execute("SELECT number, held FROM block ORDER BY number").fetchall(),
        "op_place": connection.execute("SELECT op_id, seq FROM op_place ORDER BY op_id").fetchall(),
        "log": connection.execute("SELECT * FROM log").fetchall(),
    }
    connection.close()
    file, lost = DamagedFile(copy, KEY), Lost()
    try:
        for table, rows in wanted.items():
            read = [
                tuple(row.rowid if value is None else value for value in row.values)
                for row in rows_of_tree(file, roots[table], lost)
            ]
            assert sorted(read) == sorted(rows), table
    finally:
        file.close()
    assert (lost.pages, lost.rows) == (0, 0)


async def test_a_write_ahead_log_is_judged_as_what_it_is(tmp_path: Path) -> None:
    """A flip before later transactions is damage; in the last one it may have been a power cut; cut short it is whole."""
    copy = await written(tmp_path, close=False)
    wal_path = Path(f"{copy}-wal")
    whole = wal_path.read_bytes()
    wal = read_wal(wal_path)
    assert wal is not None
    commits = [at for at, frame in enumerate(wal.frames) if frame.commits]

    def judged(at: int | None = None, *, length: int | None = None) -> str:
        changed = bytearray(whole[:length])
        if at is not None:
            changed[at] ^= 4
        wal_path.write_bytes(changed)
        file = DamagedFile(copy, KEY)
        try:
            return judge(file)
        finally:
            file.close()

    last = wal.frames[commits[-1]].offset
    middle = wal.frames[commits[-4] + 1].offset
    assert judged() == "whole"
    assert judged(length=last + 100) == "whole", "its last transaction has no end: nobody was told of it"
    assert judged(middle + 50) == judged(middle - 10) == "damaged", "in a page, and before one"
    assert judged(3) == "damaged", "the header"
    assert judged(last + 50) == "torn"
