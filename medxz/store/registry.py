"""Who may write to the log, and how far the cloud has come: small tables, held in memory, written by the one writer.

On a hub that was claimed most of it is the cloud's directory, mirrored.

Reading is a look into a dictionary and never waits. A change is durable before it is seen.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, Protocol, TypeVar, TypeVarTuple

from sqlcipher3 import dbapi2 as sqlcipher

from medxz.scope import Scope
from medxz.store.cipher import failure, failure_to_open
from medxz.store.directory import ClinicConfig, DeviceEntry, Directory, HubEntry, User
from medxz.store.exchange import (
    NEIGHBOUR_KEEP,
    NEIGHBOUR_READ,
    READ,
    Exchange,
    Refusal,
    exchange_of,
    forgetting,
    keeping,
    marking,
    refusing,
)
from medxz.store.files import LogFile
from medxz.store.mirror import config_of, learning, mirroring
from medxz.store.shape import Shape, shape_of
from medxz.wire import ConfigAnswer, DirectoryAnswer, JwksAnswer

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


# a connection that met a damaged page says from then on that memory is short
_FAILURES: Final = (sqlcipher.Error, MemoryError)
_PUT_USER: Final = (
    "INSERT INTO user (user_id, roles, disabled) VALUES (?,?,?)"
    " ON CONFLICT DO UPDATE SET roles = excluded.roles, disabled = excluded.disabled"
)
_REVOKED: Final = (
    "SELECT session_id FROM session WHERE revoked = 1 UNION SELECT session_id FROM revoked_session"
)
_AUTHORS: Final = "SELECT device_id, user_id FROM session UNION SELECT device_id, user_id FROM author"


class Runs(Protocol):
    """Runs a function where the file is written, and gives what it returns: the log does, or a worker of its own."""

    async def run(self, fn: Callable[[*Ts], T], *args: *Ts) -> T: ...


class SqliteRegistry:
    """The registry in the log's file: a `Known` (medxz/store/directory.py).

    `config` is what the clinic decided: what the cloud said last, or else what the program puts there. `keys` are those
    of the cloud's tokens.
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
        self.keys = JwksAnswer(keys=[])
        self.after_secret: Callable[[], Awaitable[None]] | None = (
            None  # told of each secret that is kept or forgotten
        )
        try:
            self.directory = _read(self._connection)
            mirrored = self._connection.execute("SELECT keys, config FROM mirror").fetchall()
        except _FAILURES as error:
            raise failure_to_open(error, self._path) from None
        for keys, config in mirrored:
            self.keys = JwksAnswer.model_validate_json(keys)
            self.config = config_of(ConfigAnswer.model_validate_json(config))

    async def put_user(self, user_id: str, roles: Iterable[str], *, disabled: bool = False) -> None:
        await self._write((_PUT_USER, (user_id, ",".join(sorted(roles)), disabled)))

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
        """Wherever the session began."""
        await self._write(
            ("UPDATE session SET revoked = 1 WHERE session_id = ?", (session_id,)),
            ("INSERT OR IGNORE INTO revoked_session (session_id) VALUES (?)", (session_id,)),
        )

    async def revoke_device(self, device_id: str) -> None:
        await self._write(("UPDATE device SET revoked = 1 WHERE device_id = ?", (device_id,)))

    async def replace_directory(self, told: DirectoryAnswer) -> None:
        """Everything as the cloud said it last, at once: people, devices, sites, hubs, keys and configuration."""
        await self._write(*mirroring(self.directory, told), seen=lambda: self._take_over(told))

    async def learn(self, known: Directory) -> None:
        """People, devices, sites and ended sessions as this hub decided them itself. Who is not named stays."""
        statements = list(learning(self.directory, known))
        if statements:
            await self._write(*statements)

    async def forget_secret(self, name: str) -> None:
        await self._write(("DELETE FROM secret WHERE name = ?", (name,)))
        await self._tell_of_secret()

    def _take_over(self, told: DirectoryAnswer) -> None:
        self.keys, self.config = told.keys, config_of(told.config)

    async def set_cloud(self, epoch: str, marks: Mapping[str, int]) -> None:
        """What the cloud says it has; with a new epoch, only that."""
        await self._write(*marking(epoch, marks, anew=epoch != self.directory.cloud_epoch))

    async def add_cloud_refusal(self, op_id: str, device_id: str, code: str) -> None:
        await self._write(*refusing([(op_id, device_id, code)]))

    async def exchange(self) -> Exchange | None:
        """How far the exchange with the cloud was when it was last kept."""
        rows = await self._rows(READ)
        return exchange_of(rows[0]) if rows else None

    async def keep_exchange(
        self, exchange: Exchange, marks: Mapping[str, int], refusals: Sequence[Refusal] = ()
    ) -> None:
        """Where the exchange is, what the cloud has now and what it refused, in one transaction. Nobody is woken."""
        before = self.directory
        anew = exchange.epoch != before.cloud_epoch
        writes = [keeping(exchange), *marking(exchange.epoch, marks, anew=anew), *refusing(refusals)]
        await self._run(_write, writes)
        told: dict[str, dict[str, str]] = {}
        for op_id, device_id, code in refusals:
            told.setdefault(device_id, dict(self.directory.cloud_refusals.get(device_id, ())))[op_id] = code
        self.directory = replace(
            self.directory,
            cloud_epoch=exchange.epoch,
            cloud_marks=dict(marks) if anew else {**self.directory.cloud_marks, **marks},
            cloud_refusals={
                **self.directory.cloud_refusals,
                **{device_id: sorted(codes.items()) for device_id, codes in told.items()},
            },
        )

    async def neighbour_cursor(self, hub_id: str) -> tuple[str, str] | None:
        """How far another hub's log was read: in which epoch of it, and to which cursor."""
        rows = await self._rows(NEIGHBOUR_READ, hub_id)
        return rows[0] if rows else None

    async def keep_neighbour_cursor(self, hub_id: str, epoch: str, cursor: str) -> None:
        """Nobody is woken."""
        await self._run(_write, [(NEIGHBOUR_KEEP, (hub_id, epoch, cursor))])

    async def forget_neighbours(self, but: Iterable[str]) -> None:
        """All but these: no cursor of theirs is of use any more."""
        await self._run(_write, [forgetting(but)])

    async def get_secret(self, name: str) -> bytes | None:
        """A private key or other secret of the server; None where there is none of that name."""
        rows = await self._rows("SELECT bytes FROM secret WHERE name = ?", name)
        return rows[0][0] if rows else None

    async def secrets(self) -> dict[str, bytes]:
        """All of them, by their names."""
        return dict(await self._rows("SELECT name, bytes FROM secret"))

    async def put_secret(self, name: str, value: bytes) -> None:
        """Keep it under that name. Nobody is woken: no directory has secrets in it."""
        await self._run(_write, [("INSERT OR REPLACE INTO secret (name, bytes) VALUES (?,?)", (name, value))])
        await self._tell_of_secret()

    async def shape(self) -> Shape:
        """How the file is laid out."""
        return await self._worker.run(shape_of, self._connection)

    async def _tell_of_secret(self) -> None:
        if self.after_secret is not None:
            await self.after_secret()

    async def _rows(self, sql: str, *values: object) -> list[Any]:
        try:
            return await self._worker.run(lambda: self._connection.execute(sql, values).fetchall())
        except _FAILURES as error:
            raise failure(error, self._path) from None

    async def _write(
        self, *statements: tuple[str, tuple[object, ...]], seen: Callable[[], None] = lambda: None
    ) -> None:
        self.directory = await self._run(_write_and_read, statements)
        seen()
        self._changed()

    async def _run(
        self,
        write: Callable[[sqlcipher.Connection, Iterable[tuple[str, tuple[object, ...]]]], T],
        statements: Iterable[tuple[str, tuple[object, ...]]],
    ) -> T:
        try:
            return await self._worker.run(write, self._connection, statements)
        except _FAILURES as error:
            raise failure(error, self._path) from None


def _write_and_read(
    connection: sqlcipher.Connection, statements: Iterable[tuple[str, tuple[object, ...]]]
) -> Directory:
    _write(connection, statements)
    return _read(connection)


def _write(connection: sqlcipher.Connection, statements: Iterable[tuple[str, tuple[object, ...]]]) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        for statement, values in statements:
            connection.execute(statement, values)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _read(connection: sqlcipher.Connection) -> Directory:
    return Directory(
        users=_users(connection),
        devices=_devices(connection),
        sites=dict(connection.execute("SELECT site_id, name FROM site").fetchall()),
        hubs=_hubs(connection),
        revoked_sessions={session_id for (session_id,) in connection.execute(_REVOKED).fetchall()},
        revision=next(iter(connection.execute("SELECT revision FROM mirror").fetchall()), (0,))[0],
        cloud_epoch=next(iter(connection.execute("SELECT epoch FROM cloud").fetchall()), (None,))[0],
        cloud_marks=dict(connection.execute("SELECT device_id, through FROM cloud_mark").fetchall()),
        cloud_refusals=_grouped(
            connection.execute("SELECT device_id, op_id, code FROM cloud_refusal ORDER BY op_id").fetchall(),
            lambda row: (row[1], row[2]),
        ),
    )


def _users(connection: sqlcipher.Connection) -> dict[str, User]:
    rows = connection.execute("SELECT user_id, roles, disabled, name, email FROM user").fetchall()
    return {
        user_id: User(user_id, frozenset(filter(None, roles.split(","))), bool(disabled), name, email)
        for user_id, roles, disabled, name, email in rows
    }


def _hubs(connection: sqlcipher.Connection) -> dict[str, HubEntry]:
    rows = connection.execute("SELECT hub_id, site_id, name, public_key, revoked, url FROM hub").fetchall()
    return {
        hub_id: HubEntry(hub_id, site_id, name, public_key, bool(revoked), url)
        for hub_id, site_id, name, public_key, revoked, url in rows
    }


def _devices(connection: sqlcipher.Connection) -> dict[str, DeviceEntry]:
    keys = _grouped(
        connection.execute("SELECT device_id, public_key FROM device_key ORDER BY rowid").fetchall(),
        lambda row: row[1],
    )
    authors = _grouped(connection.execute(_AUTHORS).fetchall(), lambda row: row[1])
    rows = connection.execute("SELECT device_id, scope, revoked, name, site_id FROM device").fetchall()
    return {
        device_id: DeviceEntry(
            device_id,
            scope,
            bool(revoked),
            tuple(keys.get(device_id, ())),
            frozenset(authors.get(device_id, ())),
            name,
            site_id,
        )
        for device_id, scope, revoked, name, site_id in rows
    }


def _grouped(rows: Iterable[tuple[Any, ...]], value: Callable[[tuple[Any, ...]], T]) -> dict[str, list[T]]:
    groups: dict[str, list[T]] = {}
    for row in rows:
        groups.setdefault(row[0], []).append(value(row))
    return groups
