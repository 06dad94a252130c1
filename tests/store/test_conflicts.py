"""What a push is told of conflicts is what the ops that are stored amount to, whatever happened on the way."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar, TypeVarTuple

import msgspec
import pytest

from medxz import limits
from medxz.errors import StoreError
from medxz.ids import SeededIds
from medxz.merge.change import Change, change_of
from medxz.merge.entity import Entity
from medxz.merge.growing import Growing
from medxz.merge.view import view_of
from medxz.op import Operation
from medxz.store import touched
from medxz.store.base import Conflicting, DeadLetter, Outcome
from medxz.store.cipher import open_database
from medxz.store.sqlite import Workers
from medxz.work import ThreadWorker
from tests.making import CLINIC, NOON_MS, HandClock, batch, fixed_id, make_op
from tests.store.conftest import KEY, AnyBackend, Backend, inline_workers

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

TYPES = ("Patient", "Condition", "Observation")
FIELDS = ("name", "phone", "note")
UNWRITABLE = DeadLetter(fixed_id(0xD9), 9, None, "invalid", "a lone \ud800 fits no column", settles=True)


@dataclass(slots=True)
class World:
    """Devices that write at entities which all of them know a part of, and what a log has said to them."""

    rng: random.Random
    entities: int = 6
    written: dict[tuple[str, str], list[Operation]] = field(default_factory=dict)
    numbers: dict[str, int] = field(default_factory=dict)
    said: dict[int, tuple[Operation, Conflicting | None]] = field(default_factory=dict)
    ids: SeededIds = field(init=False)

    def __post_init__(self) -> None:
        self.ids = SeededIds(HandClock(), self.rng.randrange(2**32))

    def op(self) -> Operation:
        rng = self.rng
        # an id may be used under two types
        key = rng.choice(TYPES), fixed_id(0xE0000 + rng.randrange(self.entities))
        earlier = self.written.setdefault(key, [])
        op_type, parents = "create", tuple[str, ...]()
        if earlier and rng.random() < 0.95:
            op_type = rng.choice(("update", "update", "amend", "resolve", "retract"))
            if op_type == "update" and key[0] == "Observation":
                op_type = "amend"
            several = op_type == "resolve" or key[0] == "Patient"
            chosen = rng.choices(
                earlier[-4:] if rng.random() < 0.8 else earlier, k=rng.randint(1, 3 if several else 1)
            )
            parents = tuple(sorted({op.op_id for op in chosen}))
        device_id = fixed_id(0xD0 + rng.randrange(4))
        number = self.numbers[device_id] = self.numbers.get(device_id, 0) + 1
        op = make_op(
            number, device_id=device_id, op_id=self.ids.uuid7(), entity_type=key[0], entity_id=key[1],
            op_type=op_type, parents=parents, payload=json.dumps(self.payload(op_type), separators=(",", ":")),
        )  # fmt: skip
        earlier.append(op)
        return op

    def payload(self, op_type: str) -> dict[str, object]:
        if op_type == "retract":
            return {"reason": "mistaken"}
        names = self.rng.sample(FIELDS, self.rng.randint(1, 3))
        payload: dict[str, object] = {name: self.rng.choice((1, 2, None)) for name in names}
        return payload | ({"_resolve": {"reason": "checked"}} if op_type == "resolve" else {})

    def note(self, ops: list[Operation], outcomes: list[Outcome]) -> None:
        for op, outcome in zip(ops, outcomes, strict=True):
            if outcome.kind == "stored":
                assert outcome.seq not in self.said
                self.said[outcome.seq] = op, outcome.conflict
            else:
                assert outcome.conflict is None

    def check(self) -> int:
        """Hold what was said against the view of what was stored just then; how many conflicts there were."""
        stored: dict[Entity, list[Change]] = {}
        conflicts = 0
        for seq, (op, said) in sorted(self.said.items()):
            entity = Entity(CLINIC, op.entity_type, op.entity_id)
            changes = stored.setdefault(entity, [])
            changes.append(change_of(op))
            assert said == expected(entity, changes), f"server_seq {seq}"
            conflicts += said is not None
        return conflicts


def expected(entity: Entity, changes: list[Change]) -> Conflicting | None:
    found = sorted(view_of(entity, changes).conflicts, key=lambda conflict: conflict.kind != "retract")
    return Conflicting(found[0].conflict_id, found[0].fields) if found else None


async def push_all(world: World, backend: AnyBackend, ops: list[Operation]) -> None:
    """In parts of any size, some at once, among them what breaks a transaction, what is here already; with restarts."""
    rng, log = world.rng, await backend.open()
    pushed: list[Operation] = []
    while ops:
        parts = []
        for _ in range(rng.choice((1, 1, 2, 3))):
            size = rng.choice((1, 1, 2, 5, 30))
            part, ops = ops[:size], ops[size:]
            if part and rng.random() < 0.1:
                part.append(part[0])  # the same one twice in a push
            if pushed and rng.random() < 0.2:
                part.append(rng.choice(pushed))
            if (
                pushed and rng.random() < 0.1
            ):  # an id that is used again under a new number: found by the index
                device_id = fixed_id(0xD0)
                number = world.numbers[device_id] = world.numbers[device_id] + 1
                copy = msgspec.structs.replace(rng.choice(pushed), device_id=device_id, device_seq=number)
                part.insert(rng.randint(0, len(part)), copy)
            parts.append(part)
        appends = [log.append(batch(*part)) for part in parts]
        if rng.random() < 0.1:
            broken = make_op(9, device_id=fixed_id(0xD9), entity_id=fixed_id(0xE0000))
            appends.append(log.append(batch(broken, dead_letters=[UNWRITABLE])))
        for part, outcomes in zip(
            parts, await asyncio.gather(*appends, return_exceptions=True), strict=False
        ):
            assert not isinstance(outcomes, BaseException), outcomes
            world.note(part, outcomes)
            pushed += part
        if rng.random() < 0.05:
            log = await backend.reopen()
        elif rng.random() < 0.1:
            await log.index_now()


@pytest.mark.parametrize("seed", range(12))
async def test_a_push_is_told_what_the_stored_ops_amount_to(
    backend: AnyBackend, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """For random histories in any order: every conflict that the ops through this one make, and no other."""
    rng = random.Random(seed)
    monkeypatch.setattr(limits, "ENTITY_BASE_OPS", rng.choice((2, 5, 64)))
    monkeypatch.setattr(limits, "ENTITIES_KNOWN_BYTES_MAX", rng.choice((1, 5_000, limits.MIB)))
    world = World(rng, entities=rng.choice((2, 6, 20)))
    ops = [world.op() for _ in range(250)]
    if seed % 3 == 1:  # nearly in order
        ops = [op for _, op in sorted(enumerate(ops), key=lambda item: item[0] + rng.randrange(12))]
    elif seed % 3 == 2:
        rng.shuffle(ops)
    await push_all(world, backend, ops)
    assert len(world.said) == 250
    assert world.check() > 20


async def test_a_long_entity_takes_an_op_without_being_read(tmp_path: Path) -> None:
    """After a restart too, an update reads the base and what came after it; a late fork reads everything, once."""
    backend = Backend(tmp_path / "hub.db", KEY, inline_workers)
    log = await backend.open()
    before: tuple[str, ...] = ()
    ops = []
    for number in range(1, 1_501):
        op = make_op(
            number, entity_type="Patient", entity_id=fixed_id(1), op_type="update" if before else "create",
            parents=before, payload=json.dumps({f"f{number % 7}": number}),
        )  # fmt: skip
        before = (op.op_id,)
        ops.append(op)
    for first in range(0, 1_500, 100):
        assert not any(outcome.conflict for outcome in await log.append(batch(*ops[first : first + 100])))
    log = await backend.reopen()
    entity = Entity(CLINIC, "Patient", fixed_id(1))
    changes = [change_of(op) for op in ops]
    update = make_op(1_501, entity_type="Patient", entity_id=fixed_id(1), op_type="update", parents=before)
    [outcome] = await log.append(batch(update))
    assert outcome.conflict is None
    assert log._writer.entities.ops_read < 200
    changes.append(change_of(update))
    for number, parent in ((1_502, ops[3]), (1_503, ops[1_400])):
        late = make_op(
            number, entity_type="Patient", entity_id=fixed_id(1), op_type="update", parents=(parent.op_id,),
            payload='{"f1":"late"}',
        )  # fmt: skip
        changes.append(change_of(late))
        [outcome] = await log.append(batch(late))
        assert outcome.conflict is not None
        assert outcome.conflict == expected(entity, changes)
    await backend.close()


async def test_a_push_that_reaches_far_back_is_one_walk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many late forks of a long entity in one push build it once; children before parents, a few times at most."""
    walks: list[int] = []
    whole = Growing.whole

    def counted(entity: Entity, changes: list[Change], named: Iterable[str]) -> Growing:
        walks.append(len(changes))
        return whole(entity, changes, named)

    monkeypatch.setattr(Growing, "whole", counted)
    monkeypatch.setattr(touched, "_WALKED_OPS_MAX", 1_000)
    backend = Backend(tmp_path / "hub.db", KEY, inline_workers)
    log = await backend.open()
    own = {"entity_type": "Patient", "entity_id": fixed_id(1)}
    ops = [make_op(1, **own)]
    for number in range(2, 301):
        ops.append(make_op(number, op_type="update", parents=(ops[-1].op_id,), **own))
    await log.append(batch(*ops))
    changes = [change_of(op) for op in ops]
    forks = [
        make_op(301 + n, op_type="update", parents=(ops[n].op_id,), payload='{"phone":"%d"}' % n, **own)
        for n in range(100)
    ]
    for fork, outcome in zip(forks, await log.append(batch(*forks)), strict=True):
        changes.append(change_of(fork))
        assert outcome.conflict == expected(Entity(CLINIC, "Patient", fixed_id(1)), changes)
    assert walks == [301]
    chain = [forks[-1]]
    for number in range(401, 451):
        chain.append(make_op(number, op_type="update", parents=(chain[-1].op_id,), **own))
    outcomes = await log.append(batch(*reversed(chain[1:])))
    end = expected(Entity(CLINIC, "Patient", fixed_id(1)), [*changes, *map(change_of, chain[1:])])
    assert {outcome.kind for outcome in outcomes} == {"stored"}
    assert outcomes[-1].conflict == end
    assert len(walks) < 6
    [outcome] = await log.append(
        batch(again := make_op(451, op_type="update", parents=(chain[-1].op_id,), **own))
    )
    assert len(walks) < 6
    changes += map(change_of, [*chain[1:], again])
    assert outcome.conflict == expected(Entity(CLINIC, "Patient", fixed_id(1)), changes)
    await backend.close()


async def test_a_parent_that_never_comes_makes_no_long_reading(tmp_path: Path) -> None:
    """An entity whose first parent was refused has a base, and when that parent comes after all it is counted."""
    backend = Backend(tmp_path / "hub.db", KEY, inline_workers)
    log = await backend.open()
    own = {"entity_type": "Patient", "entity_id": fixed_id(1)}
    first = make_op(1, **own)
    ops = [make_op(2, op_type="update", parents=(first.op_id,), **own)]
    for number in range(3, 1_003):
        ops.append(make_op(number, op_type="update", parents=(ops[-1].op_id,), **own))
    for start in range(0, len(ops), 100):
        await log.append(batch(*ops[start : start + 100]))
    log = await backend.reopen()
    ops.append(make_op(1_003, op_type="update", parents=(ops[-1].op_id,), **own))
    assert [outcome.conflict for outcome in await log.append(batch(ops[-1]))] == [None]
    assert log._writer.entities.ops_read < 200
    [outcome] = await log.append(batch(first))
    assert outcome.conflict == expected(
        Entity(CLINIC, "Patient", fixed_id(1)), [change_of(op) for op in [*ops, first]]
    )
    assert log._writer.entities.ops_read > 800
    await backend.close()


class Noting(ThreadWorker):
    """A writer's thread that notes what it is given."""

    def __init__(self) -> None:
        super().__init__("noting")
        self.given: list[str] = []

    async def run(self, fn: Callable[[*Ts], T], *args: *Ts) -> T:
        self.given.append(getattr(fn, "__name__", ""))
        return await super().run(fn, *args)


async def test_a_long_entity_is_never_read_on_the_event_loop(tmp_path: Path) -> None:
    """A short push is written where it arrives, unless it may have many ops read: then it is the writer's thread's."""
    writers: list[Noting] = []

    def workers() -> Workers:
        writers.append(Noting())
        return Workers(writers[-1], ThreadWorker("checkpointer"), [ThreadWorker("reader")])

    backend = Backend(tmp_path / "hub.db", KEY, workers)
    log = await backend.open()
    own = {"entity_type": "Patient", "entity_id": fixed_id(1), "op_type": "update"}
    ops: list[Operation] = []
    for number in range(1, 301):
        ops.append(make_op(number, **own, parents=(ops[-1].op_id,) if ops else ()))
    for first in range(0, 300, 100):
        await log.append(batch(*ops[first : first + 100]))

    async def pushed(parent: Operation, number: int) -> tuple[Operation, list[str]]:
        op = make_op(number, **own, parents=(parent.op_id,))
        writers[-1].given.clear()
        await log.append(batch(op))
        return op, list(writers[-1].given)

    last, given = await pushed(ops[-1], 301)
    assert given == ["commit"]
    log = await backend.reopen()
    last, given = await pushed(last, 302)
    assert given == ["write", "commit"]
    last, given = await pushed(last, 303)
    assert given == ["commit"]
    _, given = await pushed(ops[3], 304)
    assert given == ["write", "commit"]
    await backend.close()


async def test_new_entities_take_no_graph_work(tmp_path: Path) -> None:
    """Ops that are alone in their entity are looked for in the index, and nothing of the log is read for them."""
    backend = Backend(tmp_path / "hub.db", KEY, inline_workers)
    log = await backend.open()
    for first in range(1, 3_001, 500):
        await log.append(batch(*(make_op(n, entity_type="Patient") for n in range(first, first + 500))))
    assert log._writer.entities.ops_read == 0
    await backend.close()


@pytest.mark.parametrize("damaged", ["op", "base"])
async def test_a_damaged_row_stops_no_push(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damaged: str
) -> None:
    """The op counts as absent, pushes to its entity go on, and the check names it."""
    monkeypatch.setattr(limits, "ENTITY_BASE_OPS", 4)
    backend = Backend(tmp_path / "hub.db", None, Workers.threads)
    log = await backend.open()
    own = {"entity_type": "Patient", "entity_id": fixed_id(1)}
    ops = [make_op(1, **own)]
    for number in range(2, 1_101):
        parent = ops[0 if number == 3 and damaged == "op" else -1].op_id
        ops.append(make_op(number, op_type="amend", parents=(parent,), **own))
    await log.append(batch(*ops))
    await backend.close()
    connection = open_database(backend.path, None)
    table, column, seq = ("op", "body", 1_100) if damaged == "op" else ("entity_base", "base", 0)
    [(body,)] = connection.execute(f"SELECT {column} FROM {table} WHERE seq >= ?", (seq,)).fetchall()
    body = body[:20] + bytes([body[20] ^ 1]) + body[21:]
    connection.execute(f"UPDATE {table} SET {column} = ? WHERE seq >= ?", (body, seq))
    connection.close()
    log = await backend.open()
    fork = make_op(1_101, op_type="amend", parents=(ops[-2].op_id,), payload='{"status":"other"}', **own)
    [outcome] = await log.append(batch(fork))
    changes = [change_of(op) for op in (ops[:-1] if damaged == "op" else ops)]
    assert outcome.kind == "stored"
    assert outcome.conflict == expected(Entity(CLINIC, "Patient", fixed_id(1)), [*changes, change_of(fork)])
    if damaged == "op":
        assert log.verification is not None
        assert (await log.verify()).damaged == [1_100]
    await backend.close()


async def test_a_damaged_page_stops_no_push_to_what_lies_in_it(tmp_path: Path) -> None:
    """An encrypted file is damaged by pages: entities whose ops cannot be read take new ones, and others too."""
    backend = Backend(tmp_path / "hub.db", KEY, Workers.threads)
    log = await backend.open()
    ops = [make_op(n, entity_type="Patient", entity_id=fixed_id(n)) for n in range(1, 1_051)]
    await log.append(batch(*ops[:1_000]))
    await log.append(batch(*ops[1_000:]))
    await log.index_now()
    await backend.close()
    whole = backend.path.read_bytes()
    met = 0
    for page in range(3, len(whole) // 4096, 6):
        bad = bytearray(whole)
        bad[4096 * page + 100] ^= 1
        backend.path.write_bytes(bad)
        try:
            log = await backend.open()
        except StoreError:
            continue  # it lies where every start reads
        later = [
            make_op(
                1_050 + n,
                entity_type="Patient",
                entity_id=op.entity_id,
                op_type="update",
                parents=(op.op_id,),
            )
            for n, op in enumerate(ops[:1_000:10], start=1)
        ]
        try:
            outcomes = await log.append(batch(*later))
        except StoreError:
            assert not log._writer.entities.damaged, "it is where the new ops go"
        else:
            assert {outcome.kind for outcome in outcomes} == {"stored"}
            met += bool(log._writer.entities.damaged)
            if log._writer.entities.damaged:
                assert log.verification is not None
        await backend.close()
        for ending in ("-wal", "-shm"):
            backend.path.with_name(backend.path.name + ending).unlink(missing_ok=True)
    assert met > 3


async def test_two_runs_of_one_seed_write_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The index, the bases and what is found with them hang on the ops and their order alone."""
    monkeypatch.setattr(limits, "ENTITY_BASE_OPS", 8)
    files = []
    for run in ("one", "two"):
        (tmp_path / run).mkdir()
        world = World(random.Random(4))
        ops = [world.op() for _ in range(1_200)]
        backend = Backend(tmp_path / run / "hub.db", None, inline_workers)
        assert backend.clock.time_ms == NOON_MS
        log = await backend.open()
        for first in range(0, len(ops), 50):
            await log.append(batch(*ops[first : first + 50]))
        await backend.close()
        files.append(backend.path.read_bytes())
    assert files[0] == files[1]
