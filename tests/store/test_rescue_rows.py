"""Rows out of pages, held against what the library reads: of every type and size, of trees and tables of every kind."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from medxz.store.cipher import open_database
from medxz.store.dictionaries import shipped_dictionary
from medxz.store.rescue.ops import Found, find_dictionaries, find_ops
from medxz.store.rescue.pages import PAGE_BYTES, DamagedFile, PageCheck, PageCipher
from medxz.store.rescue.tables import copy_every_table, copy_into, roots_of
from medxz.store.rescue.trees import INDEX_INNER, TABLE_INNER, TABLE_LEAF, Lost, Row, kind_of, rows_of_tree
from medxz.store.shape import Shape, shape_of
from tests.store.conftest import KEY
from tests.store.test_rescue import flip

SEED = 7_531
ROWS = 900
SCHEMA = (
    "CREATE TABLE person (number INTEGER PRIMARY KEY, name TEXT, seen ANY)",
    """CREATE TABLE visit (
        place TEXT, at INTEGER, person INTEGER REFERENCES person (number), note BLOB, PRIMARY KEY (at, place)
    ) WITHOUT ROWID""",
    "CREATE TABLE word (text TEXT PRIMARY KEY, count INTEGER)",
    "CREATE TABLE secret (name TEXT PRIMARY KEY, bytes BLOB) WITHOUT ROWID",
)
VALUES: tuple[Any, ...] = (
    None, 0, 1, -1, 127, -128, 128, 32_767, -32_768, 8_388_607, -8_388_608, 2**31 - 1, -(2**31), 2**47 - 1, -(2**47), 2**63 - 1,
    -(2**63), 0.5, -1e300, "", "é", "x" * 50, b"", b"\0\xff", b"\x01" * 3_000, "y" * 20_000, b"z" * 200_000,
)  # fmt: skip


def made(path: Path, *, foreign_keys: bool = True) -> Path:
    """An empty file with these tables."""
    with closing(open_database(path, KEY, create=True)) as connection:
        if not foreign_keys:
            connection.execute("PRAGMA foreign_keys = OFF").fetchall()
        for statement in SCHEMA:
            connection.execute(statement)
    return path


def filled(path: Path) -> Path:
    """Rows of every type, so many that trees have inner pages, and keys so long that they lie in further pages."""
    made(path)
    choose = random.Random(SEED)
    with closing(open_database(path, KEY)) as connection:
        connection.execute("BEGIN")
        for number, value in enumerate(VALUES):
            connection.execute("INSERT INTO person VALUES (?,?,?)", (number - 3, f"n{number}", value))
        for number in range(100, 100 + ROWS):
            connection.execute("INSERT INTO person VALUES (?,?,?)", (number, "m" * (number % 300), number))
            connection.execute(
                "INSERT INTO visit VALUES (?,?,?,?)",
                ("p" * (number % 1_500), -number, number, choose.randbytes(number % 70)),
            )
        connection.execute("INSERT INTO word VALUES ('w', 5)")
        connection.execute("INSERT INTO secret VALUES ('one', x'01')")
        connection.execute("COMMIT")
    return path


@contextmanager
def reading(path: Path) -> Iterator[DamagedFile]:
    file = DamagedFile(path, KEY)
    try:
        yield file
    finally:
        file.close()


def rows_in(path: Path, table: str, order: str) -> list[tuple[Any, ...]]:
    with closing(open_database(path, KEY)) as connection:
        return list(connection.execute(f"SELECT * FROM {table} ORDER BY {order}").fetchall())


def shape(path: Path) -> Shape:
    with closing(open_database(path, KEY)) as connection:
        return shape_of(connection)


def told(row: Row) -> tuple[Any, ...]:
    """As the library tells a row whose first column is its own number."""
    return (row.rowid, *row.values[1:])


def test_values_of_every_type_are_read(tmp_path: Path) -> None:
    """Numbers of every width, real ones, texts and bytes from none to many pages: each as it was written, in order."""
    path = filled(tmp_path / "a.db")
    wanted, lost = rows_in(path, "person", "number"), Lost()
    root = shape(path).roots["person"]
    with reading(path) as file:
        page = file.page(root)
        assert page is not None
        assert kind_of(root, page) == TABLE_INNER
        read = [told(row) for row in rows_of_tree(file, root, lost)]
    assert read == wanted
    assert [type(row[2]) for row in read] == [type(row[2]) for row in wanted]
    assert lost == Lost()


def test_a_tree_of_keys_is_read(tmp_path: Path) -> None:
    """A table without rowids has rows in its inner pages too, and its columns in the order of its key."""
    path = filled(tmp_path / "a.db")
    root, lost = shape(path).roots["visit"], Lost()
    with reading(path) as file:
        page = file.page(root)
        assert page is not None
        assert kind_of(root, page) == INDEX_INNER
        rows = list(rows_of_tree(file, root, lost))
    assert {row.rowid for row in rows} == {None}
    assert sorted(tuple(row.values) for row in rows) == [
        (at, place, person, note) for place, at, person, note in rows_in(path, "visit", "at")
    ]
    assert lost == Lost()


def test_a_damaged_page_of_a_tree_costs_what_is_below_it(tmp_path: Path) -> None:
    """A leaf costs its rows, and is counted; a page that a long row goes on in costs that row; the others are read."""
    path = filled(tmp_path / "a.db")
    root = shape(path).roots["person"]
    with reading(path) as file:
        leaves = [
            n for n in range(1, file.count + 1) if kind_of(n, file.page(n) or b"\0" * 200) == TABLE_LEAF
        ]
        every = {row.rowid for row in rows_of_tree(file, root, Lost())}
        mine = [
            n for n in leaves if any(row.rowid in range(300, 320) for row in rows_of_tree(file, n, Lost()))
        ]
        long = max(
            n
            for n in range(1, file.count + 1)
            if n not in leaves and (page := file.page(n)) is not None and page[4:].count(b"z") > 3_000
        )
    flip(path, (mine[0] - 1) * PAGE_BYTES + 70)
    flip(path, (long - 1) * PAGE_BYTES + 70)
    lost = Lost()
    with reading(path) as file:
        left = {row.rowid for row in rows_of_tree(file, root, lost)}
        assert file.page(mine[0]) is None
    gone = every - left
    assert lost == Lost(pages=1, rows=1)
    assert len(VALUES) - 4 in gone
    assert 5 < len(gone) < 60


def test_what_points_nowhere_is_not_followed(tmp_path: Path) -> None:
    """A root behind the file's end, and none at all, are pages that are lost: nothing hangs, nothing is read."""
    path = filled(tmp_path / "a.db")
    with reading(path) as file:
        for root in (0, file.count + 1, 2**31):
            lost = Lost()
            assert list(rows_of_tree(file, root, lost)) == []
            assert lost == Lost(pages=1)


def test_roots_are_read_or_taken_as_kept(tmp_path: Path) -> None:
    """Where each table begins stands on the first page; where that is damaged, what was kept holds."""
    path = filled(tmp_path / "a.db")
    kept = shape(path)
    assert set(kept.roots) == {"person", "visit", "word", "secret"}
    assert bytes.fromhex(kept.salt) == path.read_bytes()[:16]
    with reading(path) as file:
        assert roots_of(file, {"person": 9_999, "old": 7}) == {**kept.roots, "old": 7}
    flip(path, 60)
    with reading(path) as file:
        assert roots_of(file, {"person": 9_999}) == {"person": 9_999}


def test_every_table_is_copied(tmp_path: Path) -> None:
    """Into a new file of the same schema, in the order in which tables were made: row by row the same."""
    path, new = filled(tmp_path / "a.db"), made(tmp_path / "b.db")
    with reading(path) as file:
        copied, lost = copy_every_table(new, KEY, file, roots_of(file, {}))
    assert lost == Lost()
    assert copied == len(VALUES) + 2 * ROWS + 2
    for table, order in (("person", "number"), ("visit", "at"), ("word", "text"), ("secret", "name")):
        assert rows_in(new, table, order) == rows_in(path, table, order), table


def test_what_it_refers_to_is_lost(tmp_path: Path) -> None:
    """A row whose other end is gone is counted as lost, and the rest is there; a table without a root is a page."""
    path, new = filled(tmp_path / "a.db"), made(tmp_path / "b.db")
    with reading(path) as file:
        roots = roots_of(file, {})
        copied, lost = copy_into(new, KEY, file, roots, ("visit", "nothing"), {"one": b"2", "two": b"3"})
    assert (copied, lost) == (0, Lost(pages=1, rows=ROWS))
    assert rows_in(new, "secret", "name") == [("one", b"2"), ("two", b"3")]
    with reading(path) as file:
        copied, lost = copy_into(new, KEY, file, roots, ("person", "visit", "secret"), {"two": b"9"})
    assert (copied, lost) == (len(VALUES) + 2 * ROWS + 1, Lost())
    assert rows_in(new, "secret", "name") == [("one", b"\x01"), ("two", b"3")], (
        "what was read, then what was there"
    )


def test_a_page_is_proved_by_its_place(tmp_path: Path) -> None:
    """A page is what was written there, and nowhere else; a shorter one is nothing; an empty one was never written."""
    path = filled(tmp_path / "a.db")
    data = path.read_bytes()
    cipher = PageCipher(KEY, data[:16])
    second = data[PAGE_BYTES : 2 * PAGE_BYTES]
    assert cipher.proves(2, second)
    assert not cipher.proves(3, second)
    assert not cipher.proves(2, second[:-1])
    assert cipher.open(2, second[:-1]) is None
    opened = cipher.open(1, data[:PAGE_BYTES])
    assert opened is not None
    assert opened.startswith(b"SQLite format 3\0")
    count = len(data) // PAGE_BYTES
    with path.open("ab") as grown:
        grown.write(bytes(PAGE_BYTES))
    flip(path, PAGE_BYTES + 9)
    check = PageCheck(path, KEY)
    try:
        assert check.count == count + 1
        assert check.damaged(range(1, count + 2)) == [2]
    finally:
        check.close()


@pytest.mark.parametrize("root", [None, "kept", "wrong"])
def test_dictionaries_are_found(tmp_path: Path, root: str | None) -> None:
    """From their table's root, and where that leads nowhere out of every page; nothing else is taken for one."""
    path, mine = tmp_path / "a.db", shipped_dictionary() + b"of my own" * 40
    with closing(open_database(path, KEY, create=True)) as connection:
        connection.execute("CREATE TABLE dictionary (id INTEGER PRIMARY KEY, bytes BLOB)")
        connection.execute("INSERT INTO dictionary VALUES (7, ?)", (mine,))
        connection.execute("INSERT INTO dictionary VALUES (8, ?)", (b"no dictionary",))
    begins = {None: None, "kept": shape(path).roots["dictionary"], "wrong": 77}[root]
    with reading(path) as file:
        found = find_dictionaries(file, begins)
        assert found._first_seqs == [1, 7]
    assert found._newest_data == mine


def test_what_is_no_op_is_counted(tmp_path: Path) -> None:
    """A row that looks like an op's and is none is damaged; pages are counted, and those of no table's leaf hold nothing."""
    path = tmp_path / "a.db"
    with closing(open_database(path, KEY, create=True)) as connection:
        connection.execute("CREATE TABLE op (seq INTEGER PRIMARY KEY, front_desk INTEGER, body BLOB)")
        connection.execute("INSERT INTO op VALUES (5, 1, x'0102'), (6, 2, x'03'), (7, 0, 'text')")
    found = Found()
    with reading(path) as file:
        batches = list(find_ops(file, find_dictionaries(file), found))
        assert found.pages == file.count
        some = Found()
        assert not any(find_ops(file, find_dictionaries(file), some, numbers=[1]))
    assert not any(batches)
    assert (found.ops, found.rows_damaged, found.pages_damaged, found.through) == (0, 1, 0, 0)
    assert (some.pages, some.rows_damaged) == (1, 0)
