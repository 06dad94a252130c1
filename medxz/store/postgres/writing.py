"""Appending to a clinic's log on PostgreSQL, beside other relays that append to the same one.

The draft of a transaction is made on what this relay knows at a count of commits and its nonce, and stored by one
statement which first changes the clinic's counter, where both are still those. Where somebody else came before, the counter's row
is locked, what they stored is read, and the draft is made anew: so, for a while, from the start.

What became of a transaction whose COMMIT was not answered nobody here needs to know: nothing was taken in, and whoever
appends next finds another count.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from itertools import repeat
from typing import TYPE_CHECKING, Final
from uuid import UUID

import asyncpg

from medxz.clock import Clock
from medxz.ids import uuid_bytes
from medxz.op import Operation
from medxz.store.base import Append, DeadLetter, Outcome
from medxz.store.drafting import DeadKey, Draft, Found, with_conflicts
from medxz.store.postgres import statements
from medxz.store.postgres.bodies import Bodies
from medxz.store.postgres.entities import EntityRows
from medxz.store.postgres.following import Following
from medxz.store.postgres.pool import Pool
from medxz.store.tail import Committed
from medxz.store.touched import Base, Conflicts

if TYPE_CHECKING:
    from medxz.store.postgres.pool import Connection

_COPIED_OPS_MIN: Final = 100
"""So many are copied in, which is faster and takes a transaction of several messages."""
_LOCK_FIRST: Final = 64
"""Transactions that lock first after somebody else came before one of ours."""

_Written = tuple[list[list[Outcome]], Committed]


class _NotAsItWas(Exception):  # not an error: it is drafted anew
    """The log is at another commit, or an entity is not new: nothing was stored."""


@dataclass(frozen=True, slots=True)
class _Care:
    """What is made sure of beforehand, rather than found out by a transaction that stores nothing."""

    locked: bool
    """Nobody else appends meanwhile."""
    careful: bool = False
    """Every op_id is looked for."""
    new_asked: bool = False
    """Entities that look new are looked for."""


@dataclass(frozen=True, slots=True)
class _Plan:
    """All that one transaction is to write."""

    draft: Draft
    outcomes: list[list[Outcome]]
    frames: asyncio.Future[list[bytearray]]
    """The records, compressed: it goes on while the database is asked for other things."""
    blocks: Sequence[tuple[int, bytes]]
    bases: Sequence[Base]
    new: Collection[str]
    """Entities that are taken to have no op yet."""

    @property
    def is_ops_alone(self) -> bool:
        draft = self.draft
        return not (self.blocks or self.bases or draft.letters or draft.reviews or draft.shared)

    @property
    def is_long(self) -> bool:
        return len(self.draft.ops) >= _COPIED_OPS_MIN


class Writing:
    """`Transactions` (medxz/store/commits.py) of one log."""

    def __init__(
        self, following: Following, entities: EntityRows, pool: Pool, bodies: Bodies, clock: Clock
    ) -> None:
        self._following: Final = following
        self._entities: Final = entities
        self._clinic_id: Final = following.clinic_id
        self._pool: Final = pool
        self._bodies: Final = bodies
        self._clock: Final = clock
        self._lock_first = 0

    async def write(self, batches: Sequence[Append], _size: int, /) -> _Written:
        care = _Care(locked=self._lock_first > 0)
        async with self._pool.connection() as connection:
            while True:
                try:
                    return await self._attempt(connection, batches, care)
                except _NotAsItWas:  # behind a lock only because of an entity that is not new
                    care = replace(care, locked=True, new_asked=care.new_asked or care.locked)
                except asyncpg.UniqueViolationError:  # an op_id is there already
                    if care.careful:
                        raise
                    care = replace(care, locked=True, careful=True)
                except BaseException:
                    self._following.touched.forget()
                    raise
                self._following.touched.forget()

    async def _attempt(self, connection: Connection, batches: Sequence[Append], care: _Care) -> _Written:
        if care.locked:
            async with connection.transaction():
                await connection.execute(statements.LOCK, self._clinic_id)
                others_came = await self._following.follow(connection)
                self._lock_first = _LOCK_FIRST if others_came else max(0, self._lock_first - 1)
                plan = await self._plan(connection, batches, care)
                nonce = await self._put(connection, plan)
        else:
            plan = await self._plan(connection, batches, care)
            if plan.is_ops_alone and not plan.is_long:  # one statement, which is a transaction by itself
                nonce = await self._put(connection, plan)
            else:
                async with connection.transaction():
                    nonce = await self._put(connection, plan)
        return plan.outcomes, self._following.take_own(plan.draft, nonce)

    async def _plan(self, connection: Connection, batches: Sequence[Append], care: _Care) -> _Plan:
        following = self._following
        draft = Draft(following.held, self._clock.now_ms())
        suspects = draft.suspects(batches, careful=care.careful)
        found = await self._find(connection, suspects) if suspects else Found()
        outcomes = [draft.take(batch, found, careful=care.careful) for batch in batches]
        frames = self._bodies.compress(draft.records)
        try:
            keys = [op.entity_id for op in draft.ops]
            asking = following.touched.conflicts(draft.first_seq, draft.ops, keys)
            new = set() if care.new_asked else {op.entity_id for op in draft.ops if self._is_new(op)}
            conflicts = await self._entities.answer(connection, asking, new) if keys else Conflicts[str]()
        except BaseException:
            frames.cancel()
            raise
        if conflicts.found:
            outcomes = [with_conflicts(conflicts.found, each) for each in outcomes]
        return _Plan(draft, outcomes, frames, draft.blocks(), conflicts.bases, new)

    def _is_new(self, op: Operation) -> bool:
        """Whether an op looks like the first of its entity."""
        return op.op_type == "create" and not op.parents and self._following.touched.takes(op) is None

    async def _find(self, connection: Connection, ops: Sequence[Operation]) -> Found:
        """Of these ops, those that are stored; and of the others, those that were rejected."""
        rows = await connection.fetch(statements.FIND, self._clinic_id, [op.op_id for op in ops])
        seqs = [row["seq"] for row in rows]
        records = await self._bodies.inflate(seqs, [row["body"] for row in rows])
        stored = {
            row["op_id"].bytes: (seq, record) for row, seq, record in zip(rows, seqs, records, strict=True)
        }
        others = [op for op in ops if uuid_bytes(op.op_id) not in stored]
        dead: dict[DeadKey, DeadLetter] = {}
        for place, code, where, message in await connection.fetch(
            statements.FIND_DEAD, self._clinic_id, [op.device_id for op in others],
            [op.device_seq for op in others], [op.op_id for op in others],
        ):  # fmt: skip
            op = others[place - 1]
            key = op.device_id, op.device_seq, op.op_id
            dead.setdefault(key, DeadLetter(*key, code, message, where))
        return Found(stored, dead)

    async def _put(self, connection: Connection, plan: _Plan) -> UUID | None:
        """Write it all, if there is anything; the nonce of the log then.

        _NotAsItWas where the log is not as it was when this was planned.
        """
        draft = plan.draft
        if draft.is_empty:
            return None
        try:
            if plan.is_long:
                nonce = await self._count(connection, statements.COUNT, plan)
                await self._copy(connection, draft, await plan.frames)
            else:
                nonce = await self._count(
                    connection, statements.APPEND, plan, *_columns(draft, await plan.frames)
                )
        finally:
            plan.frames.cancel()
        await self._put_beside(connection, plan)
        return nonce

    async def _count(self, connection: Connection, statement: str, plan: _Plan, *values: object) -> UUID:
        draft, following = plan.draft, self._following
        nonce: UUID | None = await connection.fetchval(
            statement, self._clinic_id, following.commits, following.nonce, len(draft.ops), draft.now_ms,
            len(draft.letters), len(draft.reviews), list(plan.new), *values,
        )  # fmt: skip
        if nonce is None:
            raise _NotAsItWas
        return nonce

    async def _copy(self, connection: Connection, draft: Draft, frames: Sequence[bytearray]) -> None:
        seqs = range(draft.first_seq, draft.last_seq + 1)
        await connection.copy_records_to_table(
            "op",
            columns=statements.OP_COLUMNS,
            records=zip(repeat(self._clinic_id, len(seqs)), seqs, *_columns(draft, frames), strict=True),
        )

    async def _put_beside(self, connection: Connection, plan: _Plan) -> None:
        """What a transaction rarely has beside its ops."""
        if plan.is_ops_alone:
            return
        draft, clinic_id = plan.draft, self._clinic_id
        bases = await self._bodies.compress([base.base for base in plan.bases])
        for statement, rows in (
            (statements.PUT_BLOCK, [(clinic_id, *block) for block in plan.blocks]),
            (statements.PUT_LETTER, self._letters(draft)),
            (statements.PUT_REVIEW, self._reviews(draft)),
            (
                statements.PUT_SHARED,
                [(clinic_id, *numbers, self._following.commits + 1) for numbers in draft.shared],
            ),
            (
                statements.PUT_BASE,
                [
                    (clinic_id, base.entity.entity_id, base.entity.entity_type, base.seq, frame)
                    for base, frame in zip(plan.bases, bases, strict=True)
                ],
            ),
        ):
            if rows:
                await connection.executemany(statement, rows)

    def _letters(self, draft: Draft) -> list[tuple[object, ...]]:
        return [
            (
                self._clinic_id, number, _text(letter.device_id), letter.device_seq, _text(letter.op_id),
                letter.settles, letter.code, _text(letter.field), _text(letter.message), draft.now_ms,
            )
            for number, letter in enumerate(draft.letters, self._following.last_letter + 1)
        ]  # fmt: skip

    def _reviews(self, draft: Draft) -> list[tuple[object, ...]]:
        return [
            (
                self._clinic_id, number, op.op_id, op.device_id, op.user_id, op.entity_type, op.entity_id,
                _text(review.code), draft.now_ms,
            )
            for number, review in enumerate(draft.reviews, self._following.last_review + 1)
            for op in (review.op,)
        ]  # fmt: skip


def _columns(draft: Draft, frames: Sequence[bytearray]) -> tuple[Sequence[object], ...]:
    """What the rows of the ops hold, behind their numbers."""
    ops = draft.ops
    return (
        [op.op_id for op in ops],
        [op.entity_id for op in ops],
        [len(record) for record in draft.records],
        draft.front_desk,
        [op.entity_type for op in ops],
        frames,
    )


def _text(value: str | None) -> str | None:
    """As a column takes it, which holds no NUL; UnicodeEncodeError where it is no text at all."""
    if value is not None:
        value.encode()
        return value.replace("\0", "\N{REPLACEMENT CHARACTER}")
    return None
