"""The log of a clinic in a PostgreSQL that it shares with other clinics, and with other relays that append to it too."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Protocol
from uuid import UUID

from medxz import limits
from medxz.clock import Clock
from medxz.errors import MedxzError
from medxz.have import Have
from medxz.scope import Scope
from medxz.store.base import (
    Append,
    EntityBatch,
    LetterRow,
    Outcome,
    Page,
    Position,
    ReviewRow,
    Standing,
    Verification,
)
from medxz.store.commits import ByGroupCommit, GroupCommit
from medxz.store.entity_index import Whose
from medxz.store.pages import Pages
from medxz.store.postgres.bodies import Bodies
from medxz.store.postgres.entities import EntityRows
from medxz.store.postgres.following import Following
from medxz.store.postgres.pool import Pool
from medxz.store.postgres.reading import LogRows
from medxz.store.postgres.writing import Writing
from medxz.store.tail import Committed, Tail
from medxz.store.waiting import Waiting

_VERIFY_ROWS: Final = 500


class ServerState(Protocol):
    """What all logs of a cloud have in common."""

    @property
    def server_id(self) -> str: ...

    @property
    def epoch(self) -> str:
        """As it is now."""
        ...

    async def begin(self, epoch: str) -> None:
        """Give all of them a new epoch, durably."""
        ...


@dataclass(frozen=True, slots=True)
class Shared:
    """What a relay gives to each of its logs."""

    server: ServerState
    pool: Pool
    bodies: Bodies
    clock: Clock
    tell: Callable[[str], None]
    """Lets other relays know that the log of this clinic has grown."""
    closed: Callable[[PostgresLog], None]
    writing: type[Writing]


class PostgresLog(ByGroupCommit):
    """A `LogStore` (medxz/store/base.py has the promises). A `Relay` opens it."""

    def __init__(self, clinic_id: str, cursor_key: bytes, shared: Shared) -> None:
        bodies, pool = shared.bodies, shared.pool
        self._shared: Final = shared
        self._pool: Final = pool
        self._cursor_key: Final = cursor_key
        self._following: Final = Following(clinic_id, bodies, self._show, self._forget)
        self._rows: Final = LogRows(clinic_id, bodies)
        self._entities: Final = EntityRows(clinic_id, bodies, self._damage_met)
        self._commits = GroupCommit(
            shared.writing(self._following, self._entities, pool, bodies, shared.clock),
            self._publish,
            limits.COMMIT_S_MAX,
        )
        self._pages = Pages(self._read_page, lambda: self._last_seq)
        self._tail = Tail()
        self._waiting: Final = Waiting()
        self._last_seq = 0
        self._opened_at: int | None = None
        self._watermarks: dict[str, int] = {}
        self._is_behind = False
        self._catching_up: asyncio.Task[None] | None = None
        self._checking: asyncio.Task[Verification] | None = None
        self.verification: Verification | None = None

    @property
    def clinic_id(self) -> str:
        return self._following.clinic_id

    @property
    def server_id(self) -> str:
        return self._shared.server.server_id

    @property
    def epoch(self) -> str:
        return self._shared.server.epoch

    @property
    def cursor_key(self) -> bytes:
        return self._cursor_key

    @property
    def last_seq(self) -> int:
        return self._last_seq

    @property
    def contended_seq(self) -> int:
        return min(max(self._following.touched.contended_seq, self._opened_at or 0), self._last_seq)

    @property
    def known_at(self) -> tuple[int, UUID | None]:
        """At which count of commits, and with which nonce, this relay knows the log."""
        return self._following.commits, self._following.nonce

    # Writing.

    async def append(self, batch: Append) -> list[Outcome]:
        return await self._commits.append(batch)

    def _publish(self, committed: Committed, _size: int) -> None:
        """What this relay has stored is durable."""
        self._show(committed)
        if committed.op_ids or committed.watermarks:
            self._shared.tell(self.clinic_id)

    def _show(self, committed: Committed) -> None:
        """Let readers see what is durable, whoever stored it."""
        self._watermarks.update(committed.watermarks)
        if committed.first_seq != self._last_seq + 1:  # a damaged row lies between, or the log has gone back
            self._tail = Tail()
        self._last_seq = committed.last_seq
        if committed.op_ids:
            self._tail.extend(committed)
        if committed.op_ids or committed.watermarks:
            self.wake()

    def _forget(self) -> None:
        """The database has gone back: what is there now is told anew."""
        self._tail = Tail()
        self._pages = Pages(self._read_page, lambda: self._last_seq)
        self._watermarks = {}
        self._last_seq = 0

    async def follow(self) -> None:
        """Take in what other relays have stored."""
        await self._commits.between(self._follow)
        if self._opened_at is None:
            self._opened_at = self._last_seq

    def follow_soon(self) -> None:
        """Somebody says that there is something to follow."""
        self._is_behind = True
        if self._catching_up is None or self._catching_up.done():
            self._catching_up = asyncio.create_task(self._catch_up(), name="follow")

    async def _catch_up(self) -> None:
        with suppress(MedxzError):  # whoever polls says so again
            while self._is_behind:
                self._is_behind = False
                await self.follow()

    async def _follow(self) -> None:
        async with self._pool.connection() as connection:
            await self._following.follow(connection)
        if self._following.held.damaged:
            self._damage_met()

    # Reading.

    async def page(self, after: Position, limit: int, scope: Scope) -> Page:
        if after.seq > self._last_seq:  # another relay has handed that place out
            await self.follow()
        page = self._tail.page(after, limit, scope)
        if page is not None:
            return page
        return await self._pages.page(after, limit, scope)

    async def _read_page(self, after: Position, limit: int, scope: Scope) -> Page:
        async with self._pool.connection() as connection:
            return await self._rows.page(connection, after, limit, scope)

    def wait_beyond(self, seq: int) -> Coroutine[object, object, None]:
        return self._waiting.until(lambda: self._last_seq > seq)

    def wake(self) -> None:
        """Let everybody who waits look again."""
        self._waiting.wake()

    async def locate(self, have: Have, scope: Scope) -> Position:
        held, through = self._following.held, self._last_seq
        first = await self._shared.bodies.run(held.first_block_with_more, have, scope, through)
        async with self._pool.connection() as connection:
            return await self._rows.locate(connection, first, have, set(held.shared), scope, through)

    def settled_through(self, device_id: str) -> int:
        return self._watermarks.get(device_id, 0)

    def settled(self) -> dict[str, int]:
        return dict(self._watermarks)

    async def ops_after(self, seq: int, limit: int) -> list[bytes]:
        through = self._last_seq
        while seq < through:
            recent = self._tail.ops_after(seq, limit)
            if recent is not None:
                return recent
            async with self._pool.connection() as connection:
                ops, damaged = await self._rows.ops_after(connection, seq, limit, through)
            if damaged:
                self._damage_met()
            if ops:
                return ops
            seq += damaged or limit  # all of them are damaged: what is behind them is sound
        return []

    # Reading by entity.

    async def entity_ops(
        self,
        entity_type: str,
        entity_id: str,
        *,
        after_seq: int = 0,
        limit: int | None = None,
        through: int | None = None,
    ) -> list[bytes]:
        async with self._pool.connection() as connection:
            return await self._entities.ops(
                connection, Whose(entity_type, entity_id), after_seq, limit, self._last(through)
            )

    async def entity_ops_of(self, entities: Sequence[Whose], through: int | None = None) -> list[list[bytes]]:
        async with self._pool.connection() as connection:
            return await self._entities.ops_of(connection, entities, self._last(through))

    async def entities(self, after: bytes | None, count: int, scope: Scope, through: int) -> EntityBatch:
        async with self._pool.connection() as connection:
            return await self._entities.entities(connection, after, count, scope, through)

    async def count_entities(self, scope: Scope, through: int) -> int:
        async with self._pool.connection() as connection:
            return await self._entities.count(connection, scope, through)

    async def standing(self, scope: Scope, through: int) -> Standing:
        blocks = self._following.held.blocks[: through // limits.BLOCK_OPS]
        async with self._pool.connection() as connection:
            return await self._rows.standing(connection, blocks, scope, through)

    async def index_now(self) -> int:
        return self._last_seq  # the index has every op that is stored

    async def reviews(self, after_id: int, limit: int) -> list[ReviewRow]:
        async with self._pool.connection() as connection:
            return await self._rows.reviews(connection, after_id, limit)

    async def dead_letters(self, after_id: int, limit: int) -> list[LetterRow]:
        async with self._pool.connection() as connection:
            return await self._rows.dead_letters(connection, after_id, limit)

    def _last(self, through: int | None) -> int:
        return self._last_seq if through is None else min(through, self._last_seq)

    # Its life.

    async def begin_epoch(self, epoch: str) -> None:
        await self._shared.server.begin(epoch)

    def _damage_met(self) -> None:
        """A row that was left out could not be read: a check names it by its seq, and /health tells."""
        if self.verification is None:
            self.verification = Verification(total=self._last_seq)
            self._checking = asyncio.create_task(self.verify(), name="verify")

    async def verify(self, progress: Callable[[Verification], None] | None = None) -> Verification:
        self.verification = found = Verification(total=self._last_seq)
        while not found.done:
            through = min(found.checked + _VERIFY_ROWS, self._last_seq)
            async with self._pool.connection() as connection:
                found.damaged += await self._rows.check(connection, found.checked, through)
            found.checked = through
            found.done = through == self._last_seq
            if progress is not None:
                progress(found)
        return found

    async def close(self) -> None:
        """Finish what waits. The pool is not closed with it."""
        self._shared.closed(self)
        tasks = [task for task in (self._checking, self._catching_up) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._commits.close()
        await self._pages.close()
