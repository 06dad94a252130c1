"""Rows of a damaged file's tables, put into a new and empty file of the same schema."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from sqlcipher3 import dbapi2 as sqlcipher

from medxz.store.cipher import open_database
from medxz.store.rescue.pages import DamagedFile
from medxz.store.rescue.trees import Lost, Row, Value, rows_of_tree

_SCHEMA_ROOT = 1


@dataclass(frozen=True, slots=True)
class _Table:
    """The columns in the order in which a row has them; whether the first integer key is the row's own number."""

    names: tuple[str, ...]
    rowid: str | None


def roots_of(file: DamagedFile, kept: Mapping[str, int]) -> dict[str, int]:
    """Where each table begins: as the file says, and as far as it can't, as it was kept."""
    roots = dict(kept)
    for row in rows_of_tree(file, _SCHEMA_ROOT, Lost()):
        match row.values:
            case ["table", str(name), _, int(root), *_]:
                roots[name] = root
    return roots


def copy_into(
    new: Path,
    key: bytes,
    file: DamagedFile,
    roots: Mapping[str, int],
    tables: Sequence[str],
    secrets: Mapping[str, bytes],
) -> tuple[int, Lost]:
    """What can be read of these tables of a log's file, and those of the secrets that it has no more.

    A row that the new file has already is replaced: what is read is never older.
    """
    with closing(open_database(new, key)) as connection:
        copied = _copy(file, roots, connection, tables)
        for name, value in secrets.items():
            connection.execute("INSERT OR IGNORE INTO secret (name, bytes) VALUES (?,?)", (name, value))
    return copied


def copy_every_table(new: Path, key: bytes, file: DamagedFile, roots: Mapping[str, int]) -> tuple[int, Lost]:
    """What can be read of all tables that the new file has."""
    with closing(open_database(new, key)) as connection:
        return _copy(file, roots, connection, _table_names(connection))


def _copy(
    file: DamagedFile, roots: Mapping[str, int], new: sqlcipher.Connection, tables: Sequence[str]
) -> tuple[int, Lost]:
    """What can be read of these tables, in one transaction; how many rows that are, and what can't be read."""
    lost, copied = Lost(), 0
    new.execute("BEGIN IMMEDIATE")
    for name in tables:
        if name not in roots:
            lost.pages += 1
            continue
        table = _table(new, name)
        for row in rows_of_tree(file, roots[name], lost):
            copied += _insert(new, name, table, row, lost)
    new.execute("COMMIT")
    return copied, lost


def _table_names(connection: sqlcipher.Connection) -> list[str]:
    """Every table of a file, in the order in which they were made: what a row refers to comes before it."""
    rows = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY rowid").fetchall()
    return [name for (name,) in rows if not name.startswith("sqlite_")]


def _table(connection: sqlcipher.Connection, name: str) -> _Table:
    columns = connection.execute("SELECT name, type, pk FROM pragma_table_info(?)", (name,)).fetchall()
    [(has_no_rowid,)] = connection.execute(
        "SELECT wr FROM pragma_table_list WHERE name = ? AND schema = 'main'", (name,)
    ).fetchall()
    names = [column for column, _, _ in columns]
    keys = [column for column, _, pk in sorted(columns, key=lambda each: each[2]) if pk]
    if has_no_rowid:
        return _Table((*keys, *(column for column in names if column not in keys)), None)
    numbers = [column for column, kind, pk in columns if pk and kind == "INTEGER" and len(keys) == 1]
    return _Table(tuple(names), numbers[0] if numbers else None)


def _insert(connection: sqlcipher.Connection, name: str, table: _Table, row: Row, lost: Lost) -> int:
    values: dict[str, Value] = dict(zip(table.names, row.values, strict=False))
    if table.rowid is not None:
        values[table.rowid] = row.rowid
    columns, places = ",".join(values), ",".join("?" * len(values))
    try:
        connection.execute(
            f"INSERT OR REPLACE INTO {name} ({columns}) VALUES ({places})",
            tuple(values.values()),
        )
    except sqlcipher.IntegrityError:  # what it refers to is lost
        lost.rows += 1
        return 0
    return 1
