"""Who may write to the log, and how far the cloud has come: small tables, held in memory, written by the one writer.

Reading is a look into a dictionary and never waits. A change is durable before it is seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Protocol, TypeVar, TypeVarTuple

from sqlcipher3 import dbapi2 as sqlcipher

from medxz.scope import Scope
from medxz.store.cipher import failure
from medxz.store.directory import ClinicConfig, DeviceEntry, Directory, User
from medxz.store.files import LogFile

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Runs(Protocol):
    """Runs a function where the file is written, and gives what it returns: the log does, or a worker of its own."""

    async def run(self, fn: Callable[[*Ts], T], *args: *Ts) -> T: ...


class SqliteRegistry:
    """The registry in the log's file: a `Known` (medxz/store/directory.py).

    `config` is what the clinic decided, as far as the program that runs on this registry has heard: it puts a new one
    there when it hears of another.
    """

    def __init__(self, file: LogFile, worker: Runs, changed: Callable[[], None] = lambda: None) -> None:
        """`worker` must not run it within a transaction of the log. `changed` is called after every change: whoever
        waits may have to go.
        """
        self._connection: Final = file.writing
        self._path: Final = file.path
        self._worker: Final = worker
        self._changed: Final = changed
        self.clinic_id: Final = file.identity.clinic_id
        self.config = ClinicConfig()
        self.directory = _read(self._connection)

    async def put_user(self, user_id: str, roles: Iterable[str], *, disabled: bool = False) -> None:
        await self._write(
            ("INSERT OR REPLACE INTO user (user_id, roles, disabled) VALUES (?,?,?)",
             (user_id, ",".join(sorted(roles)), disabled)),
        )  # fmt: skip

    async def put_device(self, device_id: str, scope: Scope, public_key: bytes | None = None) -> None:
        """Know a device, or another key of one that is known; its scope becomes the one given."""
        writes: list[tuple[str, tuple[object, ...]]] = [
            (
                "INSERT INTO device (device_id, scope) VALUES (?,?) ON CONFLICT DO UPDATE SET scope = excluded.scope",
                (device_id, scope),
            )
        ]
        if public_key is not None:
            writes.append(
                (
                    "INSERT OR IGNORE INTO device_key (device_id, public_key) VALUES (?,?)",
                    (device_id, public_key),
                )
            )
        await self._write(*writes)

    async def put_session(self, session_id: str, user_id: str, device_id: str | None) -> None:
        """A user has a session on a device, and is an author of its ops from then on."""
        await self._write(
            ("INSERT OR IGNORE INTO session (session_id, user_id, device_id) VALUES (?,?,?)",
             (session_id, user_id, device_id)),
        )  # fmt: skip

    async def revoke_session(self, session_id: str) -> None:
        await self._write(("UPDATE session SET revoked = 1 WHERE session_id = ?", (session_id,)))

    async def revoke_device(self, device_id: str) -> None:
        await self._write(("UPDATE device SET revoked = 1 WHERE device_id = ?", (device_id,)))

    async def set_cloud(self, epoch: str, marks: Mapping[str, int]) -> None:
        """What the cloud says it has; with a new epoch, only that."""
        writes: list[tuple[str, tuple[object, ...]]] = []
        if epoch != self.directory.cloud_epoch:
            writes.append(("DELETE FROM cloud_mark", ()))
        writes.append(("INSERT OR REPLACE INTO cloud (only_row, epoch) VALUES (1,?)", (epoch,)))
        writes += [
            ("INSERT OR REPLACE INTO cloud_mark (device_id, through) VALUES (?,?)", (device_id, through))
            for device_id, through in marks.items()
        ]
        await self._write(*writes)

    async def add_cloud_refusal(self, op_id: str, device_id: str, code: str) -> None:
        await self._write(
            (
                "INSERT OR REPLACE INTO cloud_refusal (op_id, device_id, code) VALUES (?,?,?)",
                (op_id, device_id, code),
            )
        )

    async def get_secret(self, name: str) -> bytes | None:
        """A private key or other secret of the server; None where there is none of that name."""
        return await self._worker.run(_get_secret, self._connection, name)

    async def put_secret(self, name: str, value: bytes) -> None:
        await self._write(("INSERT OR REPLACE INTO secret (name, bytes) VALUES (?,?)", (name, value)))

    async def _write(self, *statements: tuple[str, tuple[object, ...]]) -> None:
        try:
            self.directory = await self._worker.run(_write_and_read, self._connection, statements)
        except sqlcipher.Error as error:
            raise failure(error, self._path) from None
        self._changed()


def _get_secret(connection: sqlcipher.Connection, name: str) -> bytes | None:
    rows = connection.execute("SELECT bytes FROM secret WHERE name = ?", (name,)).fetchall()
    return rows[0][0] if rows else None


def _write_and_read(
    connection: sqlcipher.Connection, statements: Iterable[tuple[str, tuple[object, ...]]]
) -> Directory:
    connection.execute("BEGIN IMMEDIATE")
    try:
        for statement, values in statements:
            connection.execute(statement, values)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return _read(connection)


def _read(connection: sqlcipher.Connection) -> Directory:
    return Directory(
        users=_users(connection),
        devices=_devices(connection),
        revoked_sessions={
            sid
            for (sid,) in connection.execute("SELECT session_id FROM session WHERE revoked = 1").fetchall()
        },
        cloud_epoch=next(iter(connection.execute("SELECT epoch FROM cloud").fetchall()), (None,))[0],
        cloud_marks=dict(connection.execute("SELECT device_id, through FROM cloud_mark").fetchall()),
        cloud_refusals=_grouped(
            connection.execute("SELECT device_id, op_id, code FROM cloud_refusal ORDER BY op_id").fetchall(),
            lambda row: (row[1], row[2]),
        ),
    )


def _users(connection: sqlcipher.Connection) -> dict[str, User]:
    rows = connection.execute("SELECT user_id, roles, disabled FROM user").fetchall()
    return {user_id: User(user_id, frozenset(roles.split(",")), bool(off)) for user_id, roles, off in rows}


def _devices(connection: sqlcipher.Connection) -> dict[str, DeviceEntry]:
    keys = _grouped(
        connection.execute("SELECT device_id, public_key FROM device_key ORDER BY rowid").fetchall(),
        lambda row: row[1],
    )
    authors = _grouped(
        connection.execute("SELECT DISTINCT device_id, user_id FROM session").fetchall(), lambda row: row[1]
    )
    rows = connection.execute("SELECT device_id, scope, revoked FROM device").fetchall()
    return {
        device_id: DeviceEntry(
            device_id,
            scope,
            bool(revoked),
            tuple(keys.get(device_id, ())),
            frozenset(authors.get(device_id, ())),
        )
        for device_id, scope, revoked in rows
    }


def _grouped(rows: Iterable[tuple[Any, ...]], value: Callable[[tuple[Any, ...]], T]) -> dict[str, list[T]]:
    groups: dict[str, list[T]] = {}
    for row in rows:
        groups.setdefault(row[0], []).append(value(row))
    return groups
