"""Bytes of a hub's files, flipped: where a region of a file lies, and one bit of it turned over."""

from __future__ import annotations

import random
from pathlib import Path

from medxz.store.cipher import open_database
from medxz.store.rescue.ops import Found, find_dictionaries, find_ops
from medxz.store.rescue.pages import PAGE_BYTES, DamagedFile
from medxz.store.rescue.wal import read_wal


def flip(path: Path, at: int) -> None:
    with path.open("r+b") as opened:
        opened.seek(at)
        [byte] = opened.read(1)
        opened.seek(at)
        opened.write(bytes([byte ^ 0x20]))


def in_page(page: int, choose: random.Random) -> int:
    """A place in a page, wherever: its MAC is over all of it."""
    return (page - 1) * PAGE_BYTES + choose.randrange(16 if page == 1 else 0, PAGE_BYTES)


def pages_of(path: Path) -> int:
    return path.stat().st_size // PAGE_BYTES


def pages_with_ops(path: Path, key: bytes, device_id: str) -> list[int]:
    """The pages in which this device's ops lie, in their order."""
    file = DamagedFile(path, key)
    try:
        dictionaries = find_dictionaries(file)
        return [
            number
            for number in range(1, file.count + 1)
            for ops in find_ops(file, dictionaries, Found(), [number])
            if any(op.device_id == device_id for op in ops)
        ]
    finally:
        file.close()


def make_free_pages(path: Path, key: bytes) -> list[int]:
    """Pages that were used and are no more: those that a table had which is gone."""
    before = pages_of(path)
    connection = open_database(path, key)
    connection.execute("CREATE TABLE gone (text TEXT)")
    connection.executemany("INSERT INTO gone VALUES (?)", [("x" * 3_000,)] * 8)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    connection.execute("DROP TABLE gone")
    connection.close()
    return list(range(before + 3, pages_of(path) - 2))


def in_wal(path: Path, *, last: bool) -> int:
    """A place in a page of its last transaction, or of one long before that."""
    wal = read_wal(path)
    assert wal is not None, "something waits to be copied"
    commits = [at for at, frame in enumerate(wal.frames) if frame.commits]
    assert len(commits) > 4
    return wal.frames[commits[-1] if last else commits[len(commits) // 2]].offset + 77
