"""Reading a log by entity: every backend finds exactly the ops that are there, whatever the index holds yet."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from medxz import limits
from medxz.errors import RowCorrupt
from medxz.op import Operation
from medxz.scope import FRONT_DESK_TYPES, Scope
from medxz.store.base import LogStore
from medxz.store.cipher import open_database
from medxz.store.entity_index import Whose
from medxz.store.sqlite import Workers
from tests.making import batch, fixed_id, make_op
from tests.store.conftest import KEY, AnyBackend, Backend, inline_workers

TYPES = ("Patient", "Observation", "Condition")
Ids = dict[tuple[str, str], list[str]]


def some_ops(rng: random.Random, first: int, last: int, entities: int = 40) -> list[Operation]:
    """Ops of a few entities, some of whose ids are used under two types."""
    return [
        make_op(
            number,
            entity_type=rng.choice(TYPES),
            entity_id=fixed_id(rng.randrange(entities) << 64 | 1),
            op_type="amend",
        )
        for number in range(first, last + 1)
    ]


def grouped(ops: Sequence[Operation]) -> Ids:
    found: Ids = {}
    for op in ops:
        found.setdefault((op.entity_type, op.entity_id), []).append(op.op_id)
    return found


def told(entities: Sequence[Sequence[bytes]]) -> Ids:
    """The same of what a log says; each entity once, its ops in order."""
    found: Ids = {}
    for texts in entities:
        ops: list[dict[str, Any]] = [json.loads(text) for text in texts]
        seqs = [op["server_seq"] for op in ops]
        assert seqs == sorted(set(seqs))
        [key] = {(op["entity_type"], op["entity_id"]) for op in ops}
        assert key not in found
        found[key] = [op["op_id"] for op in ops]
    return found


async def all_entities(log: LogStore, scope: Scope, through: int, count: int = 7) -> Ids:
    found: list[list[bytes]] = []
    after: bytes | None = None
    while True:
        page = await log.entities(after, count, scope, through)
        found += page.entities
        if page.end is None:
            return told(found)
        assert after is None or page.end > after
        after = page.end
        await asyncio.sleep(0)


@pytest.mark.parametrize("how", ["as it is", "indexed", "reopened"])
async def test_each_entity_has_its_ops(
    backend: AnyBackend, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """Whether an op lies in the index or still in memory, its entity has it, in order; and no other's."""
    log = await backend.open()
    monkeypatch.setattr(limits, "INDEX_BLOCKS", 2)
    ops = some_ops(random.Random(5), 1, 2 * limits.BLOCK_OPS + 300)
    for first in range(0, len(ops), 90):
        await log.append(batch(*ops[first : first + 90]))
        if how == "indexed" and first % 270 == 0:
            assert await log.index_now() == log.last_seq
    if how == "reopened":
        log = await backend.reopen()
    expected = grouped(ops)
    assert {key: told([await log.entity_ops(*key)])[key] for key in expected} == expected
    assert await all_entities(log, "full", log.last_seq) == expected
    shown = {key: ids for key, ids in expected.items() if key[0] in FRONT_DESK_TYPES}
    assert await all_entities(log, "front_desk", log.last_seq) == shown
    assert await log.count_entities("full", log.last_seq) == len(expected)
    assert await log.count_entities("front_desk", log.last_seq) == len(shown)
    assert await log.entity_ops("Patient", fixed_id(0xBAD)) == []
    nobody = Whose("Patient", fixed_id(0xBAD))
    asked = [nobody, *(Whose(*key) for key in expected), nobody]
    together = await log.entity_ops_of(asked)
    assert together == [await log.entity_ops(one.entity_type, one.entity_id) for one in asked]
    early = [await log.entity_ops(one.entity_type, one.entity_id, through=700) for one in asked]
    assert await log.entity_ops_of(asked, through=700) == early
    assert await log.entity_ops_of([]) == []


async def test_an_entity_is_read_piece_by_piece(log: LogStore) -> None:
    """`after_seq`, `limit` and `through` cut an entity's ops as they lie in the log."""
    ops = [make_op(n, entity_id=fixed_id(n % 2 + 1), op_type="amend") for n in range(1, 301)]
    await log.append(batch(*ops))
    own = [op.op_id for op in ops if op.entity_id == fixed_id(1)]

    async def ids(**cut: int) -> list[str]:
        return [json.loads(op)["op_id"] for op in await log.entity_ops("Observation", fixed_id(1), **cut)]

    assert await ids() == own
    assert await ids(limit=3) == own[:3]
    assert await ids(after_seq=20) == own[10:]
    assert await ids(after_seq=20, limit=70, through=290) == own[10:80]
    assert await ids(through=10**9) == own


@pytest.mark.parametrize("reopened", [False, True])
async def test_ops_behind_a_place(backend: AnyBackend, *, reopened: bool) -> None:
    """`ops_after` walks through the whole log, whether that is in memory or not."""
    log = await backend.open()
    total = limits.TAIL_OPS_MAX + 200
    for first in range(1, total, 100):
        await log.append(batch(*(make_op(n) for n in range(first, min(first + 100, total + 1)))))
    if reopened:
        log = await backend.reopen()
    seqs: list[int] = []
    while ops := await log.ops_after(seqs[-1] if seqs else 0, 70):
        assert len(ops) <= 70
        seqs += [json.loads(op)["server_seq"] for op in ops]
    assert seqs == list(range(1, total + 1))


async def test_entities_as_they_were_while_pushes_go_on(log: LogStore) -> None:
    """Reading page by page gives the ops through a place, each entity once, though the index is written meanwhile."""
    rng = random.Random(8)
    before = some_ops(rng, 1, 950)
    await log.append(batch(*before))
    through = log.last_seq

    async def push() -> None:
        for first in range(951, 2_400, 25):
            await log.append(batch(*some_ops(rng, first, first + 24, entities=80)))

    pushing = asyncio.create_task(push())
    while not pushing.done():
        assert await all_entities(log, "full", through, count=3) == grouped(before)
        assert await log.count_entities("full", through) == len(
            {(op.entity_type, op.entity_id) for op in before}
        )
        await log.index_now()
    await pushing


async def test_what_was_undone_is_of_no_entity(backend: AnyBackend) -> None:
    """A transaction that has to begin again, or fails, leaves no op in the index that is not in the log."""
    log = await backend.open()
    first = make_op(1, entity_id=fixed_id(1))
    await log.append(batch(first))
    with pytest.raises(UnicodeEncodeError):
        await log.append(
            batch(make_op(2, entity_id=fixed_id(2)), reviews=[(0, "a lone \ud800 fits no column")])
        )
    reused = make_op(3, op_id=first.op_id, entity_id=fixed_id(3))
    await log.append(batch(make_op(2, entity_id=fixed_id(4)), reused))
    expected = {("Observation", fixed_id(1)): [first.op_id]}
    found = await all_entities(log, "full", log.last_seq)
    assert found.keys() == {*expected, ("Observation", fixed_id(4))}
    assert await log.entity_ops("Observation", fixed_id(2)) == []


async def test_a_log_older_than_its_index_is_taken_in(tmp_path: Path) -> None:
    """A file of an earlier schema is indexed when it is opened."""
    backend = Backend(tmp_path / "hub.db", KEY, Workers.threads)
    log = await backend.open()
    ops = some_ops(random.Random(2), 1, 9 * limits.BLOCK_OPS + 100, entities=3_000)
    for first in range(0, len(ops), 500):
        await log.append(batch(*ops[first : first + 500]))
    await backend.close()
    connection = open_database(backend.path, KEY)
    connection.execute("DELETE FROM entity_op")  # as the migration leaves it
    connection.execute("INSERT INTO block_to_index (number) SELECT number FROM block")
    connection.close()
    log = await backend.open()
    expected = grouped(ops)
    assert await all_entities(log, "full", log.last_seq) == expected
    assert await log.count_entities("full", log.last_seq) == len(expected)
    await backend.close()


@pytest.mark.parametrize("indexed", [False, True])
async def test_a_damaged_row_costs_its_entity_one_op(tmp_path: Path, *, indexed: bool) -> None:
    """What is derived goes on without it, and the check names it; a snapshot is refused rather than short of an op."""
    backend = Backend(tmp_path / "hub.db", None, inline_workers)
    log = await backend.open()
    ops = [make_op(n, entity_id=fixed_id(n % 3 + 1), op_type="amend") for n in range(1, 1_101)]
    await log.append(batch(*ops[:600]))
    await log.append(batch(*ops[600:]))
    if indexed:
        await log.index_now()
    await backend.close()
    connection = open_database(backend.path, None)
    [(body,)] = connection.execute("SELECT body FROM op WHERE seq = 9").fetchall()
    connection.execute(
        "UPDATE op SET body = ? WHERE seq = 9", (body[:20] + bytes([body[20] ^ 1]) + body[21:],)
    )
    connection.close()
    log = await backend.open()
    own = [op.op_id for op in ops if op.entity_id == fixed_id(1)]
    read = [json.loads(op)["op_id"] for op in await log.entity_ops("Observation", fixed_id(1))]
    assert read == [own[0], own[1], *own[3:]]
    assert [json.loads(op)["server_seq"] for op in await log.ops_after(7, 3)] == [8, 10, 11]
    assert log.verification is not None
    assert (await log.verify()).damaged == [9]
    with pytest.raises(RowCorrupt, match="server_seq 9"):
        await log.entities(None, 10, "full", log.last_seq)
    await backend.close()


async def test_a_batch_of_large_entities_ends_early(backend: AnyBackend) -> None:
    """A page of entities is as long as a page of ops, and an entity; who goes on gets the rest."""
    log = await backend.open()
    large = json.dumps({"text": "x" * (limits.OP_BYTES_MAX - 1_024)})
    for first in range(1, 193, 32):
        await log.append(batch(*(make_op(n, payload=large) for n in range(first, first + 32))))
    page = await log.entities(None, 500, "full", log.last_seq)
    assert len(page.entities) < 192
    assert page.end is not None
    assert sum(len(op) for ops in page.entities for op in ops) < 3 * limits.PULL_PAGE_BYTES_MAX
    assert len(await all_entities(log, "full", log.last_seq, count=500)) == 192
    assert len(await log.ops_after(0, 192)) < 192
    wanted = [Whose(*key) for key in await all_entities(log, "full", log.last_seq)]
    read: list[list[bytes]] = []
    while len(read) < len(wanted):
        some = await log.entity_ops_of(wanted[len(read) :])
        assert 1 <= len(some) < 192
        read += some
    assert {Whose(*key) for key in told(read)} == set(wanted)
