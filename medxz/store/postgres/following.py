"""What a relay holds in memory of a clinic's log, and how it follows what other relays append.

Nothing of it is trusted beyond the count of commits, and the nonce of that commit, at which it was read: whoever appends
does so at both, or follows first. Who follows goes on from there only where the database says that this is its own past;
one that was restored has forgotten it, however far it has come since, and is read anew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final
from uuid import UUID

import msgspec

from medxz.errors import StoreError
from medxz.limits import BLOCK_OPS, PULL_PAGE_BYTES_MAX
from medxz.merge.entity import Entity
from medxz.store.drafting import Draft
from medxz.store.held import Held
from medxz.store.postgres import statements
from medxz.store.postgres.bodies import Bodies
from medxz.store.record import op_json_of
from medxz.store.tail import Committed
from medxz.store.touched import Touched

if TYPE_CHECKING:
    import asyncpg

    from medxz.store.postgres.pool import Connection

_PORTION_OPS: Final = 1_000
_PORTION_BLOCKS: Final = 100


class _Numbered(msgspec.Struct, frozen=True, gc=False):
    """As much of an op as has to be known of it."""

    clinic_id: str
    device_id: str
    device_seq: int
    entity_type: str
    entity_id: str


_numbered: Final = msgspec.json.Decoder(_Numbered).decode


class Following:
    """One log, as far as this relay knows it."""

    def __init__(
        self,
        clinic_id: str,
        bodies: Bodies,
        publish: Callable[[Committed], None],
        begin_anew: Callable[[], None],
    ) -> None:
        """`publish` is told of what others have stored, in order; `begin_anew` before all of it is told once more."""
        self.clinic_id: Final = clinic_id
        self._bodies: Final = bodies
        self._publish: Final = publish
        self._begin_anew: Final = begin_anew
        self.touched: Touched[str] = Touched()
        self._restart()

    def _restart(self) -> None:
        self.held = Held()
        self.commits = -1
        self.nonce: UUID | None = None
        self.last_letter = self.last_review = 0
        self.touched.forget()

    async def follow(self, connection: Connection) -> bool:
        """Take in what was committed since this last looked; whether there was anything."""
        row = await connection.fetchrow(statements.STANDING, self.clinic_id, self.commits, self.nonce)
        if row is None:
            raise StoreError(f"the log of clinic {self.clinic_id} is no longer there")
        if (row["commits"], row["nonce"]) == (self.commits, self.nonce):
            return False
        if row["commits"] <= self.commits or not row["is_past"]:
            self._restart()  # the database has gone back: nothing that is known of it is true
            self._begin_anew()
        try:
            await self._take_in(connection, row)
        except BaseException:
            self.nonce = None  # what is known is of no commit: nobody appends to it, and it is read anew
            raise
        return True

    async def _take_in(self, connection: Connection, standing: asyncpg.Record) -> None:
        last_seq, last_letter = standing["last_seq"], standing["last_letter"]
        if self.commits < 0:
            await self._follow_blocks(connection, last_seq // BLOCK_OPS)
        await self._follow_ops(connection, last_seq)
        for device_id, number in await connection.fetch(
            statements.SETTLING, self.clinic_id, self.last_letter, last_letter
        ):
            self.held.settle(device_id, number)
        self.held.shared.update(
            map(tuple, await connection.fetch(statements.SHARED, self.clinic_id, self.commits))
        )
        self.commits, self.nonce = standing["commits"], standing["nonce"]
        self.last_letter, self.last_review = last_letter, standing["last_review"]
        self.held.last_ms = standing["last_ms"]
        self.touched.contended_seq = last_seq  # what others wrote may have begun a conflict
        self._publish(Committed(last_seq + 1, [], [], [], self.held.take_changed_watermarks()))

    def take_own(self, draft: Draft, nonce: UUID | None) -> Committed:
        """A transaction of this relay is durable, and nobody else's came before it. No nonce: it had nothing to store."""
        if nonce is not None:
            self.commits, self.nonce = self.commits + 1, nonce
        self.last_letter += len(draft.letters)
        self.last_review += len(draft.reviews)
        self.touched.remember(draft.first_seq, draft.ops)
        return draft.settle_in()

    async def _follow_blocks(self, connection: Connection, count: int) -> None:
        """The summaries of the full blocks, few at a time."""
        held = self.held
        while len(held.blocks) < count:
            rows = await connection.fetch(
                statements.BLOCKS,
                self.clinic_id,
                len(held.blocks),
                min(_PORTION_BLOCKS, count - len(held.blocks)),
            )
            if not rows:
                raise StoreError(f"block {len(held.blocks)} of clinic {self.clinic_id} is missing")
            await self._bodies.run(_take_blocks, held, [text for (text,) in rows])
        held.last_seq = count * BLOCK_OPS

    async def _follow_ops(self, connection: Connection, through: int) -> None:
        held = self.held
        while held.last_seq < through:
            rows = await connection.fetch(
                statements.PORTION["full"],
                self.clinic_id,
                held.last_seq,
                through,
                _PORTION_OPS,
                PULL_PAGE_BYTES_MAX,
            )
            if not rows:
                raise StoreError(f"server_seq {held.last_seq + 1} of clinic {self.clinic_id} is missing")
            first, end = held.last_seq + 1, held.last_seq + 1 + len(rows)
            if [row["seq"] for row in rows] != list(range(first, end)):
                raise StoreError(
                    f"of clinic {self.clinic_id} an op behind server_seq {held.last_seq} is missing"
                )
            records, damaged = await self._bodies.sound(range(first, end), [row["body"] for row in rows])
            for seq in [*damaged, end]:
                self._take(rows[first - end + len(rows) : seq - end + len(rows)], records)
                if seq < end:
                    held.take_damaged(seq)
                first = seq + 1

    def _take(self, rows: Sequence[asyncpg.Record], records: Mapping[int, bytes]) -> None:
        """Ops that follow in the log, none of them damaged."""
        held = self.held
        first_seq, own = held.last_seq + 1, [records[row["seq"]] for row in rows]
        front_desk = [row["front_desk"] for row in rows]
        run: list[bool] = []
        device_id, first = "", 0
        for record, seen in zip(own, front_desk, strict=True):
            op = _numbered(op_json_of(record))
            self.touched.drop(Entity(op.clinic_id, op.entity_type, op.entity_id))
            if op.device_id != device_id or op.device_seq != first + len(run):
                if run:
                    held.take_run(device_id, first, run)
                device_id, first, run = op.device_id, op.device_seq, []
            run.append(seen)
        if run:
            held.take_run(device_id, first, run)
            self._publish(
                Committed(
                    first_seq,
                    [row["op_id"].bytes for row in rows],
                    front_desk,
                    own,
                    held.take_changed_watermarks(),
                )
            )


def _take_blocks(held: Held, texts: Sequence[bytes]) -> None:
    for text in texts:
        held.take_block(text)
