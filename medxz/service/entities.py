"""Entities as they stand, their ops and their history, for whoever's roles read their type.

An entity is worked out from its ops when it is asked for; which entities there are, the derived tables say, once they
have caught up with the log. States pass through as the texts that they were written in.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

import msgspec

from medxz import limits
from medxz.errors import NotFound
from medxz.merge.change import Change
from medxz.merge.entity import Entity
from medxz.merge.history import history_of, merge_json
from medxz.merge.view import view_of
from medxz.roles import require_reading
from medxz.service.changes import entity_and_changes
from medxz.service.gate import Caller, require
from medxz.service.list_cursor import ListCursors, list_json
from medxz.service.noting import Noting, Subject
from medxz.service.wanted import Wanted
from medxz.store.base import LogStore
from medxz.store.entity_index import Whose
from medxz.store.views import Found
from medxz.store.views.follower import Follower
from medxz.work import Worker

_READ_OPS: Final = 32  # of the largest: 8 MiB


class _Numbered(msgspec.Struct, gc=False):
    server_seq: int


_NUMBER: Final = msgspec.json.Decoder(_Numbered)


class Entities:
    """The use case. One instance a server."""

    def __init__(
        self, log: LogStore, follower: Follower, cursors: ListCursors, noting: Noting, worker: Worker
    ) -> None:
        self._log: Final = log
        self._follower: Final = follower
        self._cursors: Final = cursors
        self._noting: Final = noting
        self._worker: Final = worker
        self._large: Final = asyncio.Semaphore(limits.LARGE_ENTITIES_MAX)

    async def one(self, caller: Caller, entity_type: str, entity_id: str) -> bytes:
        """The entity as it stands, as JSON."""
        _require(caller, entity_type)
        async with self._changes_of(entity_type, entity_id) as (entity, changes):
            told, subject = await self._worker.run(_view, entity, changes)
        self._noting.read(caller, subject, "state")
        return told

    async def page(self, caller: Caller, wanted: Wanted, cursor: str | None, limit: int) -> bytes:
        """A page of the entities that are wanted, as JSON; it also ends at PULL_PAGE_BYTES_MAX."""
        _require(caller, wanted.entity_type)
        wanted.check()
        named = wanted.named()
        after = self._cursors.read(cursor, *named)
        while True:
            portion = await self._follower.ask(partial(wanted.portion, after=after, limit=limit))
            items, read = await self._items(portion.rows)
            if read == len(portion.rows):
                self._note_list(caller, wanted, portion.rows)
                return list_json("entities", items, self._cursors.following(portion.after, *named))
            limit = read  # they are long: as many as fit, and the place behind those

    async def ops(
        self, caller: Caller, entity_type: str, entity_id: str, cursor: str | None, limit: int
    ) -> bytes:
        """A page of the entity's ops, whole, as JSON; it also ends at PULL_PAGE_BYTES_MAX."""
        _require(caller, entity_type)
        named = ("ops", entity_type, entity_id)
        after = int(self._cursors.read(cursor, *named) or 0)
        ops = await self._some_ops(entity_type, entity_id, after, limit + 1)
        if not ops and not after:
            raise _not_here()
        page = ops[: min(limit, _fitting(ops))]
        self._noting.read(caller, await self._worker.run(_subject_of_ops, page), "ops")
        end = str(_NUMBER.decode(page[-1]).server_seq) if len(page) < len(ops) else None
        return list_json("ops", page, self._cursors.following(end, *named))

    async def history(
        self, caller: Caller, entity_type: str, entity_id: str, cursor: str | None, limit: int
    ) -> bytes:
        """A page of what was done to the entity, as JSON. The cursor names the op that the page before ended with."""
        _require(caller, entity_type)
        named = ("history", entity_type, entity_id)
        after = self._cursors.read(cursor, *named)
        async with self._changes_of(entity_type, entity_id) as (entity, changes):
            items, end, merged = await self._worker.run(_history, entity, changes, after, limit)
            subject = await self._worker.run(_subject, entity, changes)
        self._noting.read(caller, subject, "history")
        following = self._cursors.following(end, *named)
        return list_json("history", items, following, b'"merged":%b,' % merged)

    def _note_list(self, caller: Caller, wanted: Wanted, rows: Sequence[Found]) -> None:
        event = "searched" if wanted.words is not None else "read"
        ids = [row.entity_id for row in rows]
        self._noting.listed(caller, event, wanted.entity_type, ids, wanted.patient_id)

    @asynccontextmanager
    async def _changes_of(
        self, entity_type: str, entity_id: str
    ) -> AsyncIterator[tuple[Entity, list[Change]]]:
        """The entity and its changes, to be used at once: of entities of many ops there are few at a time."""
        ops = await self._log.entity_ops(entity_type, entity_id, limit=_READ_OPS)
        if not ops:
            raise _not_here()
        if len(ops) < _READ_OPS:
            yield await self._worker.run(entity_and_changes, ops)
            return
        del ops  # who waits here holds nothing
        async with self._large:
            yield await self._many_changes_of(entity_type, entity_id)

    async def _many_changes_of(self, entity_type: str, entity_id: str) -> tuple[Entity, list[Change]]:
        """Read a few ops at a time, whose texts are let go of before the next ones."""
        ops = await self._log.entity_ops(entity_type, entity_id, limit=_READ_OPS)
        entity, changes = await self._worker.run(entity_and_changes, ops)
        while len(ops) == _READ_OPS:
            last_seq = _NUMBER.decode(ops[-1]).server_seq
            ops = await self._log.entity_ops(entity_type, entity_id, after_seq=last_seq, limit=_READ_OPS)
            if ops:
                changes += (await self._worker.run(entity_and_changes, ops))[1]
        return entity, changes

    async def _some_ops(self, entity_type: str, entity_id: str, after: int, count: int) -> list[bytes]:
        """The next ops, read a few at a time, until there are so many of them or so many bytes."""
        ops: list[bytes] = []
        size = 0
        while len(ops) < count and size <= limits.PULL_PAGE_BYTES_MAX:
            wanted = min(_READ_OPS, count - len(ops))
            more = await self._log.entity_ops(entity_type, entity_id, after_seq=after, limit=wanted)
            ops += more
            if len(more) < wanted:
                break
            size += sum(map(len, more))
            after = _NUMBER.decode(more[-1]).server_seq
        return ops

    async def _items(self, rows: Sequence[Found]) -> tuple[list[bytes], int]:
        """The entities of these rows, and of how many rows they are: a page's bytes are bounded."""
        items: list[bytes] = []
        size = read = 0
        while read < len(rows) and size <= limits.PULL_PAGE_BYTES_MAX:
            wanted = [Whose(row.entity_type, row.entity_id) for row in rows[read:]]
            ops = await self._log.entity_ops_of(wanted)
            told = await self._worker.run(_told, [own for own in ops if own])
            items += told
            size += sum(map(len, told))
            read += len(ops)
        return items, read


def _require(caller: Caller, entity_type: str) -> None:
    require(caller, "device_or_hub")
    require_reading(caller.roles, entity_type)


def _view(entity: Entity, changes: Sequence[Change]) -> tuple[bytes, Subject]:
    view = view_of(entity, changes)
    return view.to_wire_json(), Subject.of(entity, view.state)


def _subject(entity: Entity, changes: Sequence[Change]) -> Subject:
    """Of whom an entity is: its first ops say that."""
    return Subject.of(entity, view_of(entity, changes[:_READ_OPS]).state)


def _subject_of_ops(ops: Sequence[bytes]) -> Subject:
    return _subject(*entity_and_changes(ops[:_READ_OPS]))


def _told(entities: Sequence[Sequence[bytes]]) -> list[bytes]:
    """Entities as they stand, each from its ops."""
    return [view_of(*entity_and_changes(ops)).to_wire_json() for ops in entities]


def _history(
    entity: Entity, changes: Sequence[Change], after: str | None, limit: int
) -> tuple[list[bytes], str | None, bytes]:
    """Some items behind an op, the op to go on behind, and what merged over the present heads."""
    history = history_of(entity, changes)
    entries = history.entries
    first = 0
    if after is not None:
        first = 1 + next(
            (at for at, entry in enumerate(entries) if entry.change.op_id == after), len(entries)
        )
    texts = [entry.to_wire_json() for entry in entries[first : first + limit]]
    items = texts[: _fitting(texts)]
    last = first + len(items)
    end = entries[last - 1].change.op_id if last < len(entries) else None
    return items, end, merge_json(history.merged)


def _fitting(texts: Sequence[bytes]) -> int:
    """How many of the first of these a page holds: at least one."""
    size = 0
    for count, text in enumerate(texts):
        size += len(text)
        if size > limits.PULL_PAGE_BYTES_MAX:
            return max(1, count)
    return len(texts)


def _not_here() -> NotFound:
    return NotFound("there is no entity of this type and id here")
