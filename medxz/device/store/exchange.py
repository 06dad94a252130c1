"""The device's side of a push and a pull: what is offered, what an answer settles, what is taken in.

A number that a log has settled is not offered to it again. One that was parked is offered once to each other log, so
that its watermark has no gap for ever; should that one take it, it is parked no longer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import orjson

from medxz import limits
from medxz.device.store import audit, heads, logs, rows
from medxz.device.store.changes import mark_stale
from medxz.device.store.drafts import sealed
from medxz.device.store.file import Connection
from medxz.device.store.identity import Identity, Kind, change_identity, read_identity
from medxz.have import Have, Numbers
from medxz.ids import uuid_bytes, uuid_text
from medxz.op import Operation
from medxz.replicate import LogId, Meeting, Outgoing
from medxz.rules import decode_op

if TYPE_CHECKING:
    from medxz import wire


def meet(
    connection: Connection, status: wire.StatusAnswer, url: str, kind: Kind | None, now_ms: int
) -> Meeting:
    """Take in how a server stands, and whether somebody else has written under this identity."""
    log = LogId(status.server_id, status.epoch)
    held = logs.meet_log(connection, log, url, kind, status.received_through, now_ms)
    held = logs.note_cloud(connection, held, status.cloud_through, status.cloud_epoch)
    logs.put_log(connection, held, now_ms)
    _note_refused(connection, [(op.op_id, op.code) for op in status.refused_upstream], now_ms)
    identity = read_identity(connection)
    through = status.received_through
    if through > identity.last_seq:
        identity_is_taken(connection, "numbers beyond its last", through, now_ms)
        return Meeting(log, identity_taken=True)
    doubtful = (
        outbox(connection, log, through - 1, 1, 0) if through > 0 and through not in held.settled else []
    )
    return Meeting(
        log,
        bool(identity.identity_taken),
        doubtful[0] if doubtful and doubtful[0].position == through else None,
        awaits_cloud=held.kind == "hub" and read_identity(connection).cloud_through < identity.last_seq,
    )


def waiting(connection: Connection, log: LogId) -> int:
    """How many ops that log has not settled."""
    return sum(last - first + 1 for first, last in _gaps(connection, read_identity(connection), log, 0))


def outbox(connection: Connection, log: LogId, after: int, ops_max: int, bytes_max: int) -> list[Outgoing]:
    """The next ops that log has not settled; at least one where there is any."""
    identity = read_identity(connection)
    batch: list[Outgoing] = []
    held_bytes = 0
    for first, last in _gaps(connection, identity, log, after):
        for number, op_id, body in connection.execute(
            "SELECT own_seq, op_id, body FROM op WHERE own_seq BETWEEN ? AND ? ORDER BY own_seq LIMIT ?",
            (first, last, ops_max - len(batch)),
        ).fetchall():
            held_bytes += len(body)
            if batch and held_bytes > bytes_max:
                return batch
            batch.append(Outgoing(number, uuid_text(op_id), _signed(body, identity)))
        if len(batch) >= ops_max:
            break
    return batch


def settle(
    connection: Connection, url: str, batch: Sequence[Outgoing], answer: wire.PushAnswer, now_ms: int
) -> bool:
    """Remember the results under the log that gave them; False where a number was somebody else's."""
    held = logs.get_log(connection, LogId(answer.server_id, answer.epoch), url)
    ours = True
    for op, result in zip(batch, answer.results, strict=True):
        if result.status in {"accepted", "duplicate", "conflict"}:
            _is_stored(connection, held, op.position, op.op_id, now_ms)
        elif result.code == "device_seq_reused":
            ours = False
            identity_is_taken(connection, "its number with another op", op.position, now_ms)
        elif result.status == "rejected":
            held.settled.add(op.position)
            _park(connection, held.id, op.op_id, result, now_ms)
    through = answer.cloud_through
    if isinstance(through, dict):
        through = through.get(read_identity(connection).device_id, 0)
    held = logs.note_cloud(connection, held, through, answer.cloud_epoch)
    logs.put_log(connection, held, now_ms)
    _note_refused(connection, [(op.op_id, op.code) for op in answer.refused_upstream], now_ms)
    return ours


def park(
    connection: Connection, held: logs.HeldLog, op: Outgoing, result: wire.PushResult, now_ms: int
) -> None:
    """Take out of the queue what that server will not even read."""
    held.settled.add(op.position)
    logs.put_log(connection, held, now_ms)
    _park(connection, held.id, op.op_id, result, now_ms)


def apply(
    connection: Connection, log: LogId, url: str, ops: Sequence[Operation], cursor: str, now_ms: int
) -> list[Operation]:
    """Take in a page and the cursor after it; returns the ops that were new here."""
    identity = read_identity(connection)
    held = logs.get_log(connection, log, url)
    new = []
    for op in ops:
        found = connection.execute(
            "SELECT own_seq, body FROM op WHERE op_id = ?", (uuid_bytes(op.op_id),)
        ).fetchall()
        if not found:
            new.append(op)
            rows.insert_op(connection, op, now_ms)
            is_alone = heads.arrive(connection, op)
            mark_stale(connection, (uuid_bytes(op.entity_id), op.entity_type), quiet=is_alone)
            if op.device_id == identity.device_id and op.device_seq not in identity.forgotten_numbers:
                identity_is_taken(connection, "an op that it never wrote", op.device_seq, now_ms)
        elif found[0][0] is not None and decode_op(found[0][1]).digest() == op.digest():
            _is_stored(connection, held, found[0][0], op.op_id, now_ms)
            rows.note_receipt(connection, op)
    read_to = rows.last_position(connection)
    logs.put_log(connection, replace(held, cursor=cursor, read_to=read_to), now_ms)
    return new


def have(connection: Connection) -> Have:
    """Which numbers of which devices are here, or were before they were forgotten."""
    found: dict[bytes, Numbers] = {}
    for device_id, number in connection.execute(
        "SELECT device_id, device_seq FROM op ORDER BY device_id, device_seq"
    ):
        found.setdefault(device_id, Numbers()).add(number)
    # to name fewer is lawful: the cursor is only earlier then
    held = {uuid_text(key): numbers for key, numbers in list(found.items())[: limits.HAVE_DEVICES_MAX - 1]}
    for device_id, numbers in told_by_snapshot(connection).items():
        if device_id in held or len(held) < limits.HAVE_DEVICES_MAX - 1:
            held.setdefault(device_id, Numbers()).update(numbers)
    identity = read_identity(connection)
    if forgotten := identity.forgotten_numbers:
        held.setdefault(identity.device_id, Numbers()).update(forgotten)
    return held


def told_by_snapshot(connection: Connection) -> Have:
    [(text,)] = connection.execute("SELECT have FROM snapshot").fetchall()
    return {device_id: Numbers.from_wire(numbers) for device_id, numbers in orjson.loads(text).items()}


def _gaps(connection: Connection, identity: Identity, log: LogId, after: int) -> list[tuple[int, int]]:
    held = logs.find_log(connection, log)
    done = identity.forgotten_numbers
    if held is not None:
        done.update(held.settled)
    return logs.gaps(done, after, identity.last_seq)


def _is_stored(connection: Connection, held: logs.HeldLog, number: int, op_id: str, now_ms: int) -> None:
    held.settled.add(number)
    held.stored.add(number)
    stored_after_all(connection, uuid_bytes(op_id), held.id, now_ms)


def stored_after_all(connection: Connection, key: bytes, log: LogId, now_ms: int) -> None:
    """A server has this op; was it parked, it is so no longer."""
    if connection.execute("DELETE FROM parked WHERE op_id = ? RETURNING 1", (key,)).fetchall():
        audit.append(connection, now_ms, "stored_after_all", op_id=uuid_text(key), server_id=log.server_id)
        _look_again(connection, key)


def _park(connection: Connection, log: LogId, op_id: str, result: wire.PushResult, now_ms: int) -> None:
    key = uuid_bytes(op_id)
    connection.execute(
        "INSERT OR REPLACE INTO parked (op_id, code, field, message, server_id, parked_ms)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        (key, result.code or "rejected", result.field, result.message or "", log.server_id, now_ms),
    )
    audit.append(connection, now_ms, "parked", op_id=op_id, code=result.code, server_id=log.server_id)
    _look_again(connection, key)


def _look_again(connection: Connection, op_key: bytes) -> None:
    """Whether this op counts has changed."""
    [key] = connection.execute("SELECT entity_id, entity_type FROM op WHERE op_id = ?", (op_key,)).fetchall()
    heads.forget_heads(connection, key)
    mark_stale(connection, key)


def _note_refused(connection: Connection, refused: Sequence[tuple[str, str]], now_ms: int) -> None:
    connection.executemany(
        "INSERT OR IGNORE INTO refused_upstream VALUES (?, ?, ?)",
        [(uuid_bytes(op_id), code, now_ms) for op_id, code in refused],
    )


def identity_is_taken(connection: Connection, why: str, number: int, now_ms: int) -> None:
    if not read_identity(connection).identity_taken:
        change_identity(connection, identity_taken=1)
        audit.append(connection, now_ms, "identity_taken", seen=why, device_seq=number)


def _signed(body: bytes, identity: Identity) -> bytes:
    """The clinic may have begun to ask for signatures after the op was recorded."""
    if not identity.require_signed_ops:
        return body
    op = decode_op(body)
    return sealed(op, op.digest(), identity).json()
