"""Taking in a snapshot: lines first, in transactions of a bounded size, and belief with the last of them.

One that is interrupted leaves lines that nobody looks at; the next that is begun clears them away. What the device
wrote itself is never touched: what a server tells comes beside it. What a device of this scope may not hold goes, but
for what it wrote itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final, Literal, TypeAlias

import msgspec
import orjson

from medxz.clock import Clock
from medxz.device.store import audit, logs
from medxz.device.store.changes import FORGOTTEN, NEVER_QUIET, Key, mark_stale
from medxz.device.store.exchange import identity_is_taken, stored_after_all
from medxz.device.store.file import Connection, StoreFile
from medxz.device.store.heads import forget_heads
from medxz.device.store.identity import read_identity
from medxz.errors import PeerUnreachable
from medxz.have import Numbers
from medxz.ids import UUID_PATTERN, uuid_bytes, uuid_text
from medxz.merge.line import changes_of_line, line_of
from medxz.op import ENTITY_TYPE_PATTERN
from medxz.replicate import LogId, SnapshotHead
from medxz.scope import FRONT_DESK_TYPES, Scope
from medxz.store.cipher import Blob

TRIES_MAX: Final = 3
ROWS_AT_ONCE: Final = 2_000
JOINED_AT_ONCE: Final = 200
# With a statement a row, the driver lets the interpreter lock go at each, and whoever receives the next lines takes it.
_STATEMENT_ROWS: Final = 50
_PUT: Final = "INSERT OR REPLACE INTO entity_line (entity_id, entity_type, snapshot, quiet, line) VALUES "

_FRONT_DESK: Final = ", ".join(f"'{name}'" for name in sorted(FRONT_DESK_TYPES))

OpType: TypeAlias = Literal["create", "update", "amend", "retract", "resolve"]
Uuid: TypeAlias = Annotated[str, msgspec.Meta(pattern=f"^{UUID_PATTERN}$")]


class _Told(msgspec.Struct, gc=False):
    """One op of a line."""

    op_id: Uuid
    parents: list[Uuid]
    op_type: OpType
    fields: list[str]
    user_id: str
    device_id: str
    device_time: str
    schema_version: int
    server_seq: int | None = None
    server_received_at: str | None = None
    values: dict[str, msgspec.Raw] = {}


class _Line(msgspec.Struct, gc=False):
    """What has to be known of a line to put it away, and to know that it can be read again."""

    entity_type: Annotated[str, msgspec.Meta(pattern=f"^{ENTITY_TYPE_PATTERN}$")]
    entity_id: Uuid
    heads: list[Uuid]
    state: dict[str, msgspec.Raw]
    conflicts: list[msgspec.Raw]
    graph: list[_Told]


_decode = msgspec.json.Decoder(_Line).decode


class Snapshots:
    """The snapshots that a store takes in, one at a time; each method is one transaction, or several that may stop."""

    def __init__(self, file: StoreFile, clock: Clock) -> None:
        self._file = file
        self._clock = clock

    def are_wanted(self) -> bool:
        """Whether nothing of others was ever read, and snapshots have not been broken off time and again.

        Who has read one server to its end, and found nothing there but his own, need not be told it all by the next.
        """
        with self._file.reading() as connection:
            [(complete, reading)] = connection.execute("SELECT complete, reading FROM snapshot").fetchall()
            has_read = connection.execute(
                "SELECT 1 WHERE EXISTS (SELECT 1 FROM op WHERE mine = 0)"
                " OR EXISTS (SELECT 1 FROM log WHERE cursor != '')"
            ).fetchall()
            return complete == 0 and not has_read and reading < TRIES_MAX

    def begin(self, head: SnapshotHead) -> int | None:
        """Clear the way for its lines; the number under which they come. None after too many that never ended."""
        with self._file.transaction() as connection:
            [(complete, reading)] = connection.execute("SELECT complete, reading FROM snapshot").fetchall()
            if reading - complete >= TRIES_MAX:
                connection.execute("UPDATE snapshot SET reading = complete")
                return None
        while self._clear():
            pass
        if head.scope is not None:
            self.hold_only(head.scope)
        with self._file.transaction() as connection:
            [(last,)] = connection.execute("SELECT coalesce(max(number), 0) FROM entity_line").fetchall()
            [(number,)] = connection.execute(
                "UPDATE snapshot SET reading = reading + 1, first_line = ? RETURNING reading", (last + 1,)
            ).fetchall()
            return int(number)

    def hold_only(self, scope: Scope) -> None:
        """Let go of what a device of this scope may not hold, once it has become that. Begins again if it was cut off."""
        with self._file.reading() as connection:
            [(held,)] = connection.execute("SELECT scope FROM snapshot").fetchall()
        if held == scope:
            return
        if scope == "front_desk":
            with self._file.transaction() as connection:  # what is dropped is not here to be claimed
                connection.execute("UPDATE snapshot SET have = '{}'")
            for table, place in (("op", "position"), ("entity_line", "number")):
                self._drop_what_front_desks_may_not_hold(table, place)
        with self._file.transaction() as connection:
            connection.execute("UPDATE snapshot SET scope = ?", (scope,))
            audit.append(connection, self._clock.now_ms(), "scope", scope=scope)

    def take(self, number: int, lines: Sequence[bytes]) -> None:
        """Put these lines away."""
        for first in range(0, len(lines), ROWS_AT_ONCE):
            rows = [_row(line, number) for line in lines[first : first + ROWS_AT_ONCE]]
            with self._file.transaction() as connection:
                _must_be_the_last(connection, number)
                for start in range(0, len(rows), _STATEMENT_ROWS):
                    part = rows[start : start + _STATEMENT_ROWS]
                    values = [value for row in part for value in row]
                    connection.execute(_PUT + ",".join(["(?,?,?,?,?)"] * len(part)), values)

    def end(self, number: int, head: SnapshotHead, url: str) -> bool:
        """Believe its lines, and go on from its cursor; False where somebody else has written under our identity."""
        now_ms = self._clock.now_ms()
        log = LogId(head.server_id, head.epoch)
        with self._file.transaction() as connection:
            _must_be_the_last(connection, number)
            have = orjson.dumps(head.have).decode()
            connection.execute("UPDATE snapshot SET complete = reading, have = ?", (have,))
            _have_looked_at(connection, number)
            _unpark(connection, number, log, now_ms)
            logs.put_cursor(connection, log, url, head.cursor, now_ms)
            audit.append(
                connection, now_ms, "snapshot", server_id=head.server_id, epoch=head.epoch, entities=head.entities
            )  # fmt: skip
            identity = read_identity(connection)
            ours = Numbers.from_wire(head.have.get(identity.device_id, 0))
            if ours.highest() > identity.last_seq:
                identity_is_taken(connection, "numbers beyond its last", ours.highest(), now_ms)
                return False
            return True

    def tidy(self) -> None:
        """Join lines of earlier snapshots to those of the last one, a few at a time."""
        while self._join_some():
            pass

    def _clear(self) -> bool:
        """Remove some of the lines that were never believed; whether there may be more."""
        with self._file.transaction() as connection:
            removed = connection.execute(
                "DELETE FROM entity_line WHERE number IN (SELECT number FROM entity_line, snapshot"
                " WHERE number >= first_line AND snapshot > complete LIMIT ?) RETURNING 1",
                (ROWS_AT_ONCE,),
            ).fetchall()
            return len(removed) == ROWS_AT_ONCE

    def _drop_what_front_desks_may_not_hold(self, table: str, place: str) -> None:
        """Rows of others, and lines. What this device wrote stays until `forget` lets it go."""
        theirs = "mine = 0" if table == "op" else "1"
        where = f"{place} > ? AND {place} <= ? AND entity_type NOT IN ({_FRONT_DESK}) AND {theirs}"
        with self._file.reading() as connection:
            [(last,)] = connection.execute(
                f"SELECT coalesce(max({place}), 0) FROM {table}"  # noqa: S608
            ).fetchall()
        for first in range(0, last, ROWS_AT_ONCE):
            with self._file.transaction() as connection:
                keys = connection.execute(
                    f"DELETE FROM {table} WHERE {where} RETURNING entity_id, entity_type",  # noqa: S608
                    (first, first + ROWS_AT_ONCE),
                ).fetchall()
                for key in set(keys):
                    mark_stale(connection, key)
                    forget_heads(connection, key)

    def _join_some(self) -> bool:
        """Make one line of two for some entities; whether there may be more."""
        with self._file.transaction() as connection:
            [(complete, first_line)] = connection.execute(
                "SELECT complete, first_line FROM snapshot"
            ).fetchall()
            clinic_id = read_identity(connection).clinic_id
            older = connection.execute(
                "SELECT number, entity_id, entity_type, line FROM entity_line"
                " WHERE number < ? AND snapshot > ? AND snapshot < ? LIMIT ?",
                (first_line, FORGOTTEN, complete, JOINED_AT_ONCE),
            ).fetchall()
            for number, *key, line in older:
                _join(connection, clinic_id, complete, number, (key[0], key[1]), line)
            return len(older) == JOINED_AT_ONCE


def _row(line: bytes, number: int) -> tuple[bytearray, str, int, int, bytearray]:
    try:
        told = _decode(line)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        raise PeerUnreachable("a line of the snapshot is not in this protocol") from None
    is_quiet = not told.conflicts and told.entity_type not in NEVER_QUIET
    return Blob(uuid_bytes(told.entity_id)), told.entity_type, number, int(is_quiet), Blob(line)


def _must_be_the_last(connection: Connection, number: int) -> None:
    [(reading,)] = connection.execute("SELECT reading FROM snapshot").fetchall()
    if reading != number:
        raise PeerUnreachable("another snapshot was begun meanwhile: this one counts no more")


def _have_looked_at(connection: Connection, number: int) -> None:
    """The entities that the snapshot tells of are to be worked out anew."""
    same = "e.entity_id = told.entity_id AND e.entity_type = told.entity_type"
    connection.execute(
        "INSERT INTO stale SELECT entity_id, entity_type, quiet"  # noqa: S608
        f" AND NOT EXISTS (SELECT 1 FROM op e WHERE {same})"
        f" AND NOT EXISTS (SELECT 1 FROM entity_line e WHERE {same} AND e.snapshot < told.snapshot)"
        " FROM entity_line told WHERE number >= (SELECT first_line FROM snapshot) AND snapshot = ?"
        " ON CONFLICT (entity_id, entity_type) DO UPDATE SET quiet = min(quiet, excluded.quiet)",
        (number,),
    )
    connection.execute(
        "DELETE FROM head WHERE EXISTS (SELECT 1 FROM entity_line WHERE snapshot = ?"
        " AND entity_line.entity_id = head.entity_id AND entity_line.entity_type = head.entity_type)",
        (number,),
    )


def _unpark(connection: Connection, number: int, log: LogId, now_ms: int) -> None:
    """What the server tells of has been taken after all."""
    for op_id, line in connection.execute(
        "SELECT op_id, line FROM parked JOIN op USING (op_id) JOIN entity_line USING (entity_id, entity_type)"
        " WHERE snapshot = ?",
        (number,),
    ).fetchall():
        if b'"op_id":"' + uuid_text(op_id).encode() in line:
            stored_after_all(connection, op_id, log, now_ms)


def _join(connection: Connection, clinic_id: str, complete: int, number: int, key: Key, line: bytes) -> None:
    newer = connection.execute(
        "SELECT number, line FROM entity_line WHERE entity_id = ? AND entity_type = ? AND snapshot = ?",
        (*key, complete),
    ).fetchall()
    if not newer:  # the last one does not tell of it: what was told before stays
        connection.execute("UPDATE entity_line SET snapshot = ? WHERE number = ?", (complete, number))
        return
    entity, changes = changes_of_line(clinic_id, line)
    joined = line_of(entity, [*changes, *changes_of_line(clinic_id, newer[0][1])[1]])
    connection.execute("DELETE FROM entity_line WHERE number = ?", (number,))
    connection.execute("UPDATE entity_line SET line = ? WHERE number = ?", (joined, newer[0][0]))
