"""What each server's log holds of this device's numbers, where reading it goes on, and how far the cloud has got.

One row for each log (server and epoch). A server that shows a new epoch, or another server at the same address, has
none of what its predecessor acknowledged: that row goes, and what it said counts no more.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from medxz.device.store import audit, rows
from medxz.device.store.file import Connection
from medxz.device.store.identity import Kind, change_identity, read_identity, read_numbers, write_numbers
from medxz.have import Numbers
from medxz.replicate import LogId

# from so many ops on that came from elsewhere, to tell a server what is here costs less than to be sent them again
RESUME_OPS_MIN: Final = 16


@dataclass(frozen=True, slots=True)
class HeldLog:
    """A row of the table `log`. `kind` is None until the server was met; `read_to` is the last op here at `cursor`."""

    id: LogId
    url: str
    kind: Kind | None
    settled: Numbers
    stored: Numbers
    cursor: str | None
    cloud_epoch: str | None
    read_to: int = 0


_COLUMNS = "server_id, epoch, url, kind, settled, stored, cursor, cloud_epoch, read_to"


def all_logs(connection: Connection) -> list[HeldLog]:
    rows = connection.execute(f"SELECT {_COLUMNS} FROM log ORDER BY seen_ms").fetchall()  # noqa: S608
    return [_held(row) for row in rows]


def find_log(connection: Connection, log: LogId) -> HeldLog | None:
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM log WHERE server_id = ? AND epoch = ?",  # noqa: S608
        (log.server_id, log.epoch),
    ).fetchall()
    return _held(rows[0]) if rows else None


def get_log(connection: Connection, log: LogId, url: str) -> HeldLog:
    """That log's row, or an empty one for a log that is not known yet."""
    return find_log(connection, log) or HeldLog(log, url, None, Numbers(), Numbers(), None, None)


def put_log(connection: Connection, held: HeldLog, now_ms: int) -> None:
    connection.execute(
        f"INSERT OR REPLACE INTO log ({_COLUMNS}, seen_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
        (
            held.id.server_id, held.id.epoch, held.url, held.kind, write_numbers(held.settled),
            write_numbers(held.stored), held.cursor, held.cloud_epoch, held.read_to, now_ms,
        ),
    )  # fmt: skip


def put_cursor(connection: Connection, log: LogId, url: str, cursor: str, now_ms: int) -> None:
    held = replace(get_log(connection, log, url), cursor=cursor, read_to=rows.last_position(connection))
    put_log(connection, held, now_ms)


def cursor_of(connection: Connection, log: LogId) -> str | None:
    """Where reading that log goes on; None where what is here tells better, as after a time with other servers."""
    held = find_log(connection, log)
    if held is None or held.cursor is None:
        return None
    [(come_since,)] = connection.execute(
        "SELECT count(*) FROM (SELECT 1 FROM op WHERE position > ? LIMIT ?)", (held.read_to, RESUME_OPS_MIN)
    ).fetchall()
    return held.cursor if come_since < RESUME_OPS_MIN else None


def later_cursor(connection: Connection, log: LogId) -> str | None:
    """A cursor of a later epoch of that server, which proves that its log has gone back."""
    return next(
        (
            held.cursor
            for held in all_logs(connection)
            if held.cursor and held.id.server_id == log.server_id and held.id.epoch > log.epoch
        ),
        None,
    )


def meet_log(
    connection: Connection, log: LogId, url: str, kind: Kind | None, received_through: int, now_ms: int
) -> HeldLog:
    """The row of a server that has shown itself, with what its own watermark tells.

    Of one that is met for the first time that is taken over. The last of the numbers that it says to have is left out:
    it is offered first, and `duplicate` is the proof that they are this device's and not those of a copy of it. Later it
    is believed of numbers that another server took: they came there by that one. Of others the answer may have been
    lost, and it may have been a rejection.
    """
    held = get_log(connection, log, url)
    if held.kind is None:
        dropped = connection.execute(
            "DELETE FROM log WHERE (server_id = ? OR url = ?) AND NOT (server_id = ? AND epoch = ?)"
            " RETURNING server_id, epoch",
            (log.server_id, url, log.server_id, log.epoch),
        ).fetchall()
        if received_through > 1:
            held.settled.add(1, received_through - 1)
        audit.append(
            connection, now_ms, "met", server_id=log.server_id, epoch=log.epoch, received_through=received_through,
            instead_of=[list(row) for row in dropped],
        )  # fmt: skip
    for other in all_logs(connection):
        for first, last in other.stored if other.id != log else ():
            if first <= received_through:
                held.settled.add(first, min(last, received_through))
    held = replace(held, url=url, kind=held.kind or kind)
    put_log(connection, held, now_ms)
    return held


def note_cloud(connection: Connection, held: HeldLog, through: int, epoch: str | None) -> HeldLog:
    """How far the cloud has got, by what this server says; returns the server's row with that epoch.

    Within an epoch it only rises: a hub that heard later knows more. Another epoch may lower it, unless it is one
    that a server has been seen to leave: then the sayer has not heard yet.
    """
    if epoch is None:
        return held
    if held.cloud_epoch is not None and held.cloud_epoch != epoch:
        connection.execute("INSERT OR IGNORE INTO past_cloud_epoch VALUES (?)", (held.cloud_epoch,))
        connection.execute("DELETE FROM past_cloud_epoch WHERE epoch = ?", (epoch,))
    past = connection.execute("SELECT 1 FROM past_cloud_epoch WHERE epoch = ?", (epoch,)).fetchall()
    known = read_identity(connection)
    if not past:
        higher = max(through, known.cloud_through) if known.cloud_epoch == epoch else through
        if (higher, epoch) != (known.cloud_through, known.cloud_epoch):
            change_identity(connection, cloud_through=higher, cloud_epoch=epoch)
        if epoch != known.cloud_epoch:
            # a hub that began alone tells of the clinic's CA and its other hubs only once it was claimed
            change_identity(connection, configured_ms=None)
    return replace(held, cloud_epoch=epoch)


def gaps(settled: Numbers, after: int, last: int) -> list[tuple[int, int]]:
    """The ranges of after+1 … last that are not settled."""
    found, first = [], after + 1
    for begins, ends in settled:
        if begins > last:
            break
        if begins > first:
            found.append((first, begins - 1))
        first = max(first, ends + 1)
    if first <= last:
        found.append((first, last))
    return found


def _held(row: tuple[str, str, str, Kind | None, str, str, str | None, str | None, int]) -> HeldLog:
    server_id, epoch, url, kind, settled, stored, cursor, cloud_epoch, read_to = row
    return HeldLog(
        LogId(server_id, epoch), url, kind, read_numbers(settled), read_numbers(stored), cursor, cloud_epoch, read_to
    )  # fmt: skip
