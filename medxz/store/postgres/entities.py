"""A clinic's log on PostgreSQL, read by entity: for `Touched` inside a transaction, and for everybody else.

What an entity has may be long: it is read in portions, and worked through in a worker. A damaged row counts as absent
where others can go on without it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Final
from uuid import UUID

from medxz.limits import PULL_PAGE_BYTES_MAX
from medxz.merge.change import Change, change_of
from medxz.merge.entity import Entity
from medxz.scope import Scope
from medxz.store.base import EntityBatch
from medxz.store.entity_index import Whose
from medxz.store.postgres import statements
from medxz.store.postgres.bodies import Bodies
from medxz.store.record import op_json_of, stored_op
from medxz.store.touched import Asking, Conflicts, Latest, Loaded, Present, Whole

if TYPE_CHECKING:
    import asyncpg

    from medxz.store.postgres.pool import Connection

_PORTION_OPS: Final = 1_000
_INLINE_CHANGES: Final = 32
_NO_END: Final = (1 << 63) - 1
_LAST_ID: Final = (1 << 128) - 1


class EntityRows:
    """Reads on the connections that it is given."""

    def __init__(self, clinic_id: str, bodies: Bodies, damage_met: Callable[[], None]) -> None:
        """`damage_met` is told that a row was left out."""
        self._clinic_id: Final = clinic_id
        self._bodies: Final = bodies
        self._damage_met: Final = damage_met

    # For those who append.

    async def answer(
        self, connection: Connection, asking: Asking[str], new: Collection[str]
    ) -> Conflicts[str]:
        """Answer what is asked until it is known; what follows a long answer is worked out in the worker.

        `new` are ids of entities that are taken to be so: whoever writes has to see to it.
        """
        answer: object = None
        is_long = False
        while True:
            step = await self._bodies.run(_step, asking, answer) if is_long else _step(asking, answer)
            is_long = False
            match step:
                case Present(keys):
                    answer = await self._present(connection, [key for key in keys if key not in new])
                case Latest(entities):
                    answer, is_long = await self._latest(connection, entities)
                case Whole(entity):
                    answer, is_long = await self._changes(connection, entity), True
                case Conflicts():
                    return step

    async def _present(self, connection: Connection, keys: Sequence[str]) -> set[str]:
        if not keys:
            return set()
        rows = await connection.fetch(statements.PRESENT, self._clinic_id, keys)
        return {keys[place - 1] for (place,) in rows}

    async def _latest(
        self, connection: Connection, entities: Sequence[Entity]
    ) -> tuple[dict[Entity, Loaded], bool]:
        """The bases of these entities and their changes behind those; and whether that is much."""
        ids, types = [entity.entity_id for entity in entities], [entity.entity_type for entity in entities]
        rows = await connection.fetch(statements.BASES, self._clinic_id, ids, types)
        bases, damaged = await self._bodies.sound(
            [row["place"] for row in rows], [row["base"] for row in rows]
        )  # a damaged one is none
        through = {row["place"]: row["seq"] for row in rows if row["place"] not in damaged}
        after = [through.get(place, 0) for place in range(1, len(entities) + 1)]
        asked = [Whose(entity.entity_type, entity.entity_id) for entity in entities]
        ops = await self._ops_of(connection, asked, after, _NO_END, whole=False)
        loaded = {
            entity: Loaded(bases.get(place), list(map(_change, own)))
            for place, (entity, own) in enumerate(zip(entities, ops, strict=True), 1)
        }
        return loaded, sum(map(len, ops)) > _INLINE_CHANGES

    async def _changes(self, connection: Connection, entity: Entity) -> list[Change]:
        ops = await self.ops(connection, Whose(entity.entity_type, entity.entity_id), 0, None, _NO_END)
        return await self._bodies.run(lambda: list(map(_change, ops)))

    # For everybody.

    async def ops(
        self, connection: Connection, entity: Whose, after: int, limit: int | None, through: int
    ) -> list[bytes]:
        """The ops of an entity between two places, at most `limit`, without those that are damaged."""
        ops: list[bytes] = []
        while limit is None or len(ops) < limit:
            wanted = _PORTION_OPS if limit is None else min(_PORTION_OPS, limit - len(ops))
            rows = await connection.fetch(
                statements.OF_ENTITY, self._clinic_id, entity.entity_id, entity.entity_type, after, through, wanted,
                PULL_PAGE_BYTES_MAX,
            )  # fmt: skip
            if not rows:
                break
            records = await self._sound(rows)
            ops += [op_json_of(records[row["seq"]]) for row in rows if row["seq"] in records]
            after = rows[-1]["seq"]
            if len(rows) == rows[0]["there"] < wanted:
                break
        return ops

    async def ops_of(
        self, connection: Connection, entities: Sequence[Whose], through: int
    ) -> list[list[bytes]]:
        """The ops of each of these, or of the first of them, where those are PULL_PAGE_BYTES_MAX already."""
        return await self._ops_of(connection, entities, [0] * len(entities), through, whole=True)

    async def _ops_of(
        self,
        connection: Connection,
        entities: Sequence[Whose],
        after: Sequence[int],
        through: int,
        *,
        whole: bool,
    ) -> list[list[bytes]]:
        """The same, each from behind a place; not `whole`, of all of them however long that is."""
        found: list[list[bytes]] = []
        while len(found) < len(entities):
            asked = entities[len(found) :]
            rows = await connection.fetch(
                statements.OF_ENTITIES, self._clinic_id, [entity.entity_id for entity in asked],
                [entity.entity_type for entity in asked], after[len(found) :], through, PULL_PAGE_BYTES_MAX,
            )  # fmt: skip
            records = await self._sound(rows)
            own: dict[int, list[bytes]] = {}
            size = 0
            for row in rows:
                size += row["size"]
                if row["seq"] in records:
                    own.setdefault(row["place"], []).append(op_json_of(records[row["seq"]]))
            is_cut = size >= PULL_PAGE_BYTES_MAX
            told = rows[-1]["place"] if is_cut else len(asked)
            found += [own.get(place, []) for place in range(1, told + 1)]
            if is_cut and whole:
                break
        return found

    async def entities(
        self, connection: Connection, after: bytes | None, count: int, scope: Scope, through: int
    ) -> EntityBatch:
        """The next entities behind an id, each with its ops through a seq. RowCorrupt rather than an op too few."""
        start = int.from_bytes(after, "big") + 1 if after is not None else 0
        if start > _LAST_ID:
            return EntityBatch([], None)
        keys = await connection.fetch(
            statements.KEYS[scope], self._clinic_id, UUID(int=start), through, count
        )
        chosen: list[UUID] = []
        size = 0
        for entity_id, its_size in keys:
            if size >= PULL_PAGE_BYTES_MAX:
                break
            chosen.append(entity_id)
            size += its_size
        rows = await connection.fetch(statements.UNDER[scope], self._clinic_id, chosen, through)
        records = await self._bodies.inflate([row["seq"] for row in rows], [row["body"] for row in rows])
        whose = ((row["entity_id"], row["entity_type"]) for row in rows)
        entities = [
            [op_json_of(record) for _, record in own]
            for _, own in groupby(zip(whose, records, strict=True), key=itemgetter(0))
        ]
        is_end = len(chosen) == len(keys) < count
        return EntityBatch(entities, None if is_end else chosen[-1].bytes)

    async def count(self, connection: Connection, scope: Scope, through: int) -> int:
        return int(await connection.fetchval(statements.ENTITIES[scope], self._clinic_id, through))

    async def _sound(self, rows: Sequence[asyncpg.Record]) -> dict[int, bytes]:
        records, damaged = await self._bodies.sound(
            [row["seq"] for row in rows], [row["body"] for row in rows]
        )
        if damaged:
            self._damage_met()
        return records


def _step(asking: Asking[str], answer: object) -> Present[str] | Latest | Whole | Conflicts[str]:
    """What is asked next, or what it has come to."""
    try:
        return asking.send(answer)
    except StopIteration as end:
        conflicts: Conflicts[str] = end.value
        return conflicts


def _change(op: bytes) -> Change:
    return change_of(stored_op(op))
