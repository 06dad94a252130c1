"""Ops as rows: writing one, reading pages of them."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from medxz.device.store.file import Connection
from medxz.ids import uuid_bytes
from medxz.op import Operation

_decode = msgspec.json.Decoder(Operation).decode


@dataclass(frozen=True, slots=True)
class HeldOp:
    """An op and its place in the order in which ops came to be here."""

    position: int
    op: Operation
    mine: bool
    own_seq: int | None


def insert_op(connection: Connection, op: Operation, held_ms: int, *, own_seq: int | None = None) -> None:
    connection.execute(
        "INSERT INTO op (op_id, entity_type, entity_id, device_id, device_seq, own_seq, mine, held_ms, body,"
        " server_seq, server_received_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            uuid_bytes(op.op_id), op.entity_type, uuid_bytes(op.entity_id), uuid_bytes(op.device_id),
            op.device_seq, own_seq, own_seq is not None, held_ms, op.json(),
            op.server_seq, op.server_received_at,
        ),
    )  # fmt: skip


def note_receipt(connection: Connection, op: Operation) -> None:
    """When and where a server took in an op that was here before."""
    connection.execute(
        "UPDATE op SET server_seq = ?, server_received_at = ? WHERE op_id = ?",
        (op.server_seq, op.server_received_at, uuid_bytes(op.op_id)),
    )


def read_page(connection: Connection, after: int, limit: int, *, arrived_only: bool) -> list[HeldOp]:
    rows = connection.execute(
        "SELECT position, body, mine, own_seq FROM op WHERE position > ? AND mine <= ? ORDER BY position LIMIT ?",
        (after, 0 if arrived_only else 1, limit),
    ).fetchall()
    return [HeldOp(position, _decode(body), bool(mine), own_seq) for position, body, mine, own_seq in rows]


def last_position(connection: Connection) -> int:
    [(position,)] = connection.execute("SELECT coalesce(max(position), 0) FROM op").fetchall()
    return int(position)
