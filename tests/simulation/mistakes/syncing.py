"""Mistakes between two logs: places in a log that are told by the wrong thing, or noted too early, or kept too long."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import msgspec

from hub.uplink.queue import Queue
from hub.uplink.side import CloudSide
from medxz.device.store import DeviceStore, exchange, forgetting, identity, logs
from medxz.device.store.logs import all_logs
from medxz.ids import uuid_bytes
from medxz.op import Operation
from medxz.replicate import LogId, Outgoing
from medxz.scope import Scope
from medxz.service.plan import Plan
from medxz.service.pull import Pull
from medxz.store.base import Page, Position
from medxz.store.sqlite import SqliteLog
from tests.simulation.mistakes.planting import Mistake, Plant

_decode = msgspec.json.Decoder(Operation).decode
_AT_ONCE = 500


def cursor_by_time(plant: Plant) -> None:
    page = SqliteLog.page

    async def later_than(self: SqliteLog, after: Position, limit: int, scope: Scope) -> Page:
        if after.seq:
            [last, *behind] = map(_decode, await self.ops_after(after.seq - 1, _AT_ONCE))
            for op in behind:
                if (op.server_received_at or "") > (last.server_received_at or ""):
                    break
                after = Position(op.server_seq or 0, uuid_bytes(op.op_id))
        return await page(self, after, limit, scope)

    plant.put(SqliteLog, "page", later_than)


def epoch_not_renewed(plant: Plant) -> None:
    async def same_as_ever(self: Pull, epoch: str, *, later_than: str = "") -> None: ...

    plant.put(Pull, "_begin_epoch_after", same_as_ever)


def settled_over_epochs(plant: Plant) -> None:
    meet = logs.meet_log

    def by_server(
        connection: Any, log: LogId, url: str, kind: Any, through: int, now_ms: int
    ) -> logs.HeldLog:
        before = [held for held in all_logs(connection) if held.id.server_id == log.server_id]
        found = meet(connection, log, url, kind, through, now_ms)
        for held in before:
            found.settled.update(held.settled)
        logs.put_log(connection, found, now_ms)
        return found

    plant.put(logs, "meet_log", by_server)


def forget_at_hub_level(plant: Plant) -> None:
    read = identity.read_identity

    def anywhere(connection: Any) -> Any:
        ours = read(connection)
        acknowledged = [held.settled.through() for held in all_logs(connection)]
        return replace(ours, cloud_through=max([ours.cloud_through, *acknowledged]))

    plant.put(forgetting, "read_identity", anywhere)


def cursor_before_ops(plant: Plant) -> None:
    def in_two_steps(
        self: DeviceStore, log: LogId, url: str, ops: Sequence[Operation], cursor: str
    ) -> list[Operation]:
        now_ms = self._clock.now_ms()
        with self._file.transaction() as connection:
            logs.put_cursor(connection, log, url, cursor, now_ms)
        with self._file.transaction() as connection:
            return exchange.apply(connection, log, url, ops, cursor, now_ms)

    plant.put(DeviceStore, "apply", in_two_steps)


def uplink_before_answer(plant: Plant) -> None:
    hand_out = Queue._hand_out

    def done_with(self: Queue, batch: list[Outgoing], seq: int) -> list[Outgoing]:
        self.through = max(self.through, seq)
        return hand_out(self, batch, seq)

    plant.put(Queue, "_hand_out", done_with)


def downlink_before_store(plant: Plant) -> None:
    apply = CloudSide.apply

    async def noted_first(
        self: CloudSide, log: LogId, ops: Sequence[Operation], cursor: str
    ) -> Sequence[Operation]:
        if log == self._with:
            self._cursor = cursor
            await self.keep()
        return await apply(self, log, ops, cursor)

    plant.put(CloudSide, "apply", noted_first)


def refused_further_up(plant: Plant) -> None:
    plant.put(Plan, "_is_kept_anyway", lambda self, verdict: False)


MISTAKES = (
    Mistake(
        "cursor_by_time",
        "a reader goes on behind the time at which its last op was received",
        "a reader that follows its cursor sees every op",
        cursor_by_time,
    ),
    Mistake(
        "epoch_not_renewed",
        "a log that is found to have gone back keeps its epoch",
        "after a restore everybody gives again what was lost",
        epoch_not_renewed,
    ),
    Mistake(
        "settled_over_epochs",
        "a device keeps what a server has acknowledged by the server's id, over its epochs",
        "after a restore everybody gives again what was lost",
        settled_over_epochs,
    ),
    Mistake(
        "forget_at_hub_level",
        "a device lets go of what a hub has",
        "a device lets go only of what the cloud has",
        forget_at_hub_level,
    ),
    Mistake(
        "cursor_before_ops",
        "a device notes the cursor, and takes in the page in the next transaction",
        "a crash between two transactions skips nothing",
        cursor_before_ops,
    ),
    Mistake(
        "uplink_before_answer",
        "a hub counts as handed up what it has sent, before the cloud has answered",
        "what a hub has acknowledged comes to the cloud",
        uplink_before_answer,
    ),
    Mistake(
        "downlink_before_store",
        "a hub writes down how far it has read in the cloud before it has stored the page",
        "a crash between two transactions skips nothing",
        downlink_before_store,
    ),
    Mistake(
        "refused_further_up",
        "the cloud refuses from a hub what it would refuse from a device: it knows of a revocation by now",
        "what a hub has acknowledged is never dropped further up",
        refused_further_up,
    ),
)
