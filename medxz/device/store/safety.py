"""How safe each of the device's own ops is. Three levels, never one: here, on a hub, in the cloud. Or parked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from medxz.clock import format_time
from medxz.device.store.file import Connection
from medxz.device.store.identity import read_identity
from medxz.device.store.logs import all_logs
from medxz.have import Numbers
from medxz.ids import uuid_bytes, uuid_text

Level = Literal["here", "hub", "cloud", "parked"]


@dataclass(frozen=True, slots=True)
class Parked:
    """An op that a server has rejected for good. It is kept here, and nowhere else."""

    op_id: str
    entity_type: str
    entity_id: str
    device_seq: int
    code: str
    field: str | None
    message: str
    at: str


@dataclass(frozen=True, slots=True)
class RefusedUpstream:
    """An op that a hub keeps and the cloud would not take."""

    op_id: str
    code: str


@dataclass(frozen=True, slots=True)
class Levels:
    """Which of the device's numbers have reached which place."""

    hub: Numbers
    cloud: Numbers
    parked: frozenset[str]
    refused: frozenset[str]

    def of(self, op_id: str, *, own_seq: int | None) -> Level:
        """An op without a number of ours is one that a server gave us, or took from our former identity."""
        if op_id in self.parked:
            return "parked"
        if own_seq is None:
            return "hub"
        if own_seq in self.cloud and op_id not in self.refused:
            return "cloud"
        return "hub" if own_seq in self.hub or own_seq in self.cloud else "here"


def read_levels(connection: Connection) -> Levels:
    identity = read_identity(connection)
    hub, cloud = Numbers(), Numbers()
    if identity.cloud_through:
        cloud.add(1, identity.cloud_through)
    for held in all_logs(connection):
        (cloud if held.kind == "cloud" else hub).update(held.settled)
    return Levels(
        hub, cloud, _op_ids(connection, "parked"), frozenset(op.op_id for op in refused_ops(connection))
    )


def count_levels(connection: Connection) -> dict[Level, int]:
    """Each op that this device wrote under its present identity, once; and all that is parked."""
    identity, levels = read_identity(connection), read_levels(connection)
    set_apart: dict[int, str] = {
        own_seq: uuid_text(op_id)
        for own_seq, op_id in connection.execute(
            "SELECT own_seq, op_id FROM op WHERE own_seq IS NOT NULL AND (op_id IN (SELECT op_id FROM parked)"
            " OR op_id IN (SELECT op_id FROM refused_upstream))"
        ).fetchall()
    }
    somewhere = levels.cloud.copy()
    somewhere.update(levels.hub)
    cloud, reached = (_up_to(numbers, identity.last_seq) for numbers in (levels.cloud, somewhere))
    counts: dict[Level, int] = {
        "here": identity.last_seq - reached,
        "hub": reached - cloud,
        "cloud": cloud,
        "parked": len(levels.parked),
    }
    for own_seq, op_id in set_apart.items():
        plain: Level = "cloud" if own_seq in levels.cloud else "hub" if own_seq in levels.hub else "here"
        true = levels.of(op_id, own_seq=own_seq)
        counts[plain] -= 1
        counts[true] += true != "parked"
    return counts


def parked_ops(connection: Connection) -> list[Parked]:
    rows = connection.execute(
        "SELECT op_id, entity_type, entity_id, device_seq, code, field, message, parked_ms"
        " FROM parked JOIN op USING (op_id) ORDER BY position"
    ).fetchall()
    return [
        Parked(
            uuid_text(op_id), kind, uuid_text(entity_id), seq, code, field, message, format_time(parked_ms)
        )
        for op_id, kind, entity_id, seq, code, field, message, parked_ms in rows
    ]


def refused_ops(connection: Connection) -> list[RefusedUpstream]:
    rows = connection.execute("SELECT op_id, code FROM refused_upstream ORDER BY seen_ms, op_id").fetchall()
    return [RefusedUpstream(uuid_text(op_id), code) for op_id, code in rows]


def safety_of(connection: Connection, op_id: str) -> Level | None:
    """None for an op that is not here."""
    rows = connection.execute("SELECT own_seq FROM op WHERE op_id = ?", (uuid_bytes(op_id),)).fetchall()
    return read_levels(connection).of(op_id, own_seq=rows[0][0]) if rows else None


def _op_ids(connection: Connection, table: str) -> frozenset[str]:
    rows = connection.execute(f"SELECT op_id FROM {table}").fetchall()  # noqa: S608
    return frozenset(uuid_text(op_id) for (op_id,) in rows)


def _up_to(numbers: Numbers, last: int) -> int:
    return sum(min(ends, last) - begins + 1 for begins, ends in numbers if begins <= last)
