"""The follower on a real log and a real file: what is durable is found, whatever happened to the file."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlcipher3 import dbapi2 as sqlcipher

from medxz.clock import SystemClock
from medxz.errors import Overloaded
from medxz.op import Operation
from medxz.store.base import LogStore
from medxz.store.cipher import open_database
from medxz.store.views import Follower, Views, ViewsFile, ViewsLost, prepare
from medxz.store.views import follower as follower_module
from medxz.work import ThreadWorker
from tests.making import DEVICE, OTHER_DEVICE, batch, fixed_id, make_op, run_of
from tests.store.conftest import KEY, AnyBackend, Backend
from tests.store.viewing import PEOPLE, of_ops, told

TYPES = ("Patient", "Encounter", "Condition", "Observation")


@asynccontextmanager
async def following(log: LogStore, path: Path, key: bytes | None = KEY) -> AsyncIterator[Follower]:
    worker = ThreadWorker("views")
    follower = Follower(log, ViewsFile(path, key, worker), SystemClock())
    follower.start()
    try:
        yield follower
    finally:
        await follower.close()
        worker.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "views.db"


class Writers:
    """Two devices that write to a few entities, often beside each other."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)
        self._numbers = {DEVICE: 0, OTHER_DEVICE: 0}
        self.ops: dict[tuple[str, str], list[Operation]] = {}

    def next(self) -> Operation:
        rng = self._rng
        entity_type, entity_id = rng.choice(TYPES), rng.choice(PEOPLE[:8])
        own = self.ops.setdefault((entity_type, entity_id), [])
        device = rng.choice([DEVICE, OTHER_DEVICE])
        self._numbers[device] += 1
        most = 1 if entity_type == "Observation" else rng.choice([1, 1, 2])
        parents = sorted({op.op_id for op in rng.sample(own, min(len(own), most))})
        payload = {
            "name": [{"family": rng.choice(["Silva", "Müller"]), "given": ["Anna"]}], "birthDate": "1980-02-03",
            "subject": {"reference": f"Patient/{rng.choice(PEOPLE[:4])}"}, "date": f"2026-0{rng.randrange(1, 9)}-01",
        }  # fmt: skip
        chosen = dict(rng.sample(sorted(payload.items()), rng.randrange(1, 4))) if parents else payload
        op_type = (
            "create"
            if not parents
            else "resolve"
            if len(parents) > 1
            else "amend"
            if entity_type == "Observation"
            else "update"
        )
        if len(parents) == 1 and rng.random() < 0.15:
            op_type, chosen = "retract", {"reason": "wrong"}
        op = make_op(
            self._numbers[device], device_id=device, entity_type=entity_type, entity_id=entity_id, op_type=op_type,
            parents=tuple(parents), payload=json.dumps(chosen),
        )  # fmt: skip
        own.append(op)
        return op

    def some(self, count: int) -> list[Operation]:
        return [self.next() for _ in range(count)]


def expected(writers: Writers) -> dict[str, Any]:
    """What the tables say of all that was written, filled at once."""
    views = Views(sqlcipher.connect(":memory:", isolation_level=None))
    prepare(views._connection)
    made = [of_ops(*ops) for ops in writers.ops.values()]
    views.put([view for view, _ in made], resolved={view.entity: resolved for view, resolved in made})
    return told(views)


async def test_what_was_written_is_found_at_once(log: LogStore, path: Path) -> None:
    """Who asks sees all that was durable before, also while more is written."""
    async with following(log, path) as follower:
        for number in range(1, 20):
            op = make_op(number, entity_type="Patient", payload=f'{{"name":[{{"family":"Silva{number}"}}]}}')
            await log.append(batch(op))
            found = await follower.ask(partial(Views.patients, text=f"silva{number}", after=None, limit=9))
            assert [row.entity_id for row in found.rows] == [op.entity_id]
        assert await follower.ask(lambda views: views.count_entities()) == 19


@pytest.mark.parametrize("seed", range(4))
async def test_the_tables_follow_from_the_log_alone(backend: AnyBackend, path: Path, seed: int) -> None:
    """However the log grew, and wherever the follower was stopped, its tables are those of all ops at once."""
    writers = Writers(seed)
    rng = random.Random(seed)
    for _ in range(4):
        log = await backend.reopen()
        async with following(log, path) as follower:
            for _ in range(8):
                await log.append(batch(*writers.some(rng.choice([1, 3, 20]))))
                if rng.random() < 0.3:
                    await follower.ask(lambda views: views.through)
            if rng.random() < 0.7:
                assert await follower.ask(told) == expected(writers)
    async with following(await backend.reopen(), path) as follower:
        assert await follower.ask(told) == expected(writers)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    for at in range(4_096 * 2 + 50, len(data), 4_096):
        data[at] ^= 0xFF
    path.write_bytes(data)


def halve(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def fill(byte: int) -> Callable[[Path], None]:
    def harm(path: Path) -> None:
        path.write_bytes(bytes([byte]) * path.stat().st_size)

    return harm


def other_schema(path: Path) -> None:
    connection = open_database(path, KEY)
    connection.execute("UPDATE view_about SET made_by = '0.older'")
    connection.execute("DROP TABLE view_type")
    connection.close()


def ahead(path: Path) -> None:
    connection = open_database(path, KEY)
    connection.execute("UPDATE view_about SET through = 1000000")
    connection.execute("DELETE FROM view_entity")
    connection.close()


def other_op(path: Path) -> None:
    connection = open_database(path, KEY)
    connection.execute("UPDATE view_about SET last_op = ?", (bytes(16),))
    connection.execute("DELETE FROM view_entity")
    connection.close()


def other_key(path: Path) -> None:
    path.unlink()
    connection = open_database(path, bytes(32), create=True)
    prepare(connection, "somebody else's")
    connection.close()


@pytest.mark.parametrize(
    "harm",
    [
        Path.unlink, halve, flip, fill(0), fill(0x41), other_schema, ahead, other_op, other_key,
        lambda path: os.truncate(path, 0),
    ],
    ids=["missing", "half", "flipped", "zeros", "garbage", "schema", "ahead", "other op", "other key", "empty"],
)  # fmt: skip
@pytest.mark.parametrize("backend", ["sqlite-encrypted"], indirect=True)
async def test_a_file_that_is_not_what_it_should_be_is_made_anew(
    backend: Backend, path: Path, harm: Callable[[Path], None]
) -> None:
    """Missing, damaged, older, ahead of the log or of another one: never an error, always the same tables in the end."""
    writers = Writers(1)
    log = await backend.open()
    async with following(log, path) as follower:
        await log.append(batch(*writers.some(200)))
        assert await follower.ask(told) == expected(writers)
    harm(path)
    async with following(log, path) as follower:
        assert await asked_until_answered(follower, told) == expected(writers)


async def asked_until_answered(follower: Follower, query: Callable[[Views], Any]) -> Any:
    for _ in range(20):
        try:
            return await follower.ask(query)
        except Overloaded as refused:
            assert refused.retry_after_s  # noqa: PT017  it says when to come again
    pytest.fail("never answered")


def written_down(views: Views) -> None:
    """All is in the file, and nothing of it in memory."""
    for statement in ("COMMIT", "PRAGMA wal_checkpoint(TRUNCATE)", "PRAGMA shrink_memory"):
        views._connection.execute(statement).fetchall()


async def test_damage_under_a_running_follower_heals(backend: AnyBackend, path: Path) -> None:
    """A page that is damaged while the file is open costs an Overloaded at most; then all is there again."""
    writers = Writers(2)
    log = await backend.open()
    async with following(log, path) as follower:
        await log.append(batch(*writers.some(300)))
        assert await follower.ask(told) == expected(writers)
        await follower._file.run(follower._name(), written_down)
        flip(path)
        await log.append(batch(*writers.some(50)))
        assert await asked_until_answered(follower, told) == expected(writers)


def kept(path: Path) -> int:
    """Up to where the file would be believed after a power cut."""
    with open_database(path, KEY) as connection:
        return Views(connection).through


async def test_what_is_asked_often_is_written_down_once(
    log: LogStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A question after each op writes nothing; many ops, or the end, are written down together."""
    monkeypatch.setattr(follower_module, "KEEP_OPS", 40)
    async with following(log, path) as follower:
        for number in range(1, 31):
            await log.append(batch(make_op(number)))
            await follower.ask(lambda views: views.count_entities())
        assert kept(path) == 0
        await log.append(batch(*run_of(31, 50)))
        await follower.ask(lambda views: views.count_entities())
        assert kept(path) == 50
        await log.append(batch(make_op(51)))
        await follower.ask(lambda views: views.count_entities())
        assert kept(path) == 50
    assert kept(path) == 51


async def test_a_count_of_conflicts_waits_for_conflicts_alone(log: LogStore, path: Path) -> None:
    """What began or ended no conflict is not taken in for the sake of counting them."""
    first = make_op(1, entity_type="Coverage", payload='{"status":"draft"}')

    def following_it(number: int, status: str, *parents: str, op_type: str = "update") -> Operation:
        return make_op(
            number, op_type=op_type, payload=json.dumps({"status": status}), parents=parents,
            entity_type="Coverage", entity_id=first.entity_id,
        )  # fmt: skip

    sides = [following_it(2, "active", first.op_id), following_it(3, "cancelled", first.op_id)]
    await log.append(batch(first, sides[0]))
    assert log.contended_seq == 0
    await log.append(batch(sides[1], make_op(4)))
    assert log.contended_seq == 3
    heads = tuple(sorted(side.op_id for side in sides))
    settled = following_it(5, "cancelled", *heads, op_type="resolve")
    await log.append(batch(settled, make_op(6)))
    assert log.contended_seq == 5
    await log.append(batch(make_op(7, entity_type="Patient"), make_op(8)))
    assert log.contended_seq == 7, "two patients may be one"


async def test_a_new_epoch_begins_anew(log: LogStore, path: Path) -> None:
    """When the log says that it has gone back, nothing that was derived before is believed."""
    writers = Writers(3)
    async with following(log, path) as follower:
        await log.append(batch(*writers.some(50)))
        await follower.ask(lambda views: views._connection.execute("DELETE FROM view_entity").fetchall())
        await log.begin_epoch(fixed_id(0xEEE))
        log.wake()
        assert await asked_until_answered(follower, told) == expected(writers)


async def test_nothing_is_answered_from_a_file_that_lags(log: LogStore, path: Path) -> None:
    """A query that would be answered from less than what was durable is refused as overloaded."""
    await log.append(batch(make_op(1)))
    worker = ThreadWorker("views")
    idle = Follower(log, ViewsFile(path, KEY, worker), SystemClock())  # never started
    with pytest.raises(Overloaded):
        await idle.ask(lambda views: views.count_entities(), within_s=0.05)
    await idle.close()
    worker.close()


async def test_a_batch_is_never_put_into_an_emptied_file(log: LogStore, path: Path) -> None:
    """A file that was thrown away between reading and putting stays at its beginning."""
    from medxz.store.views.taking import Batch

    await log.append(batch(*Writers(1).some(10)))
    ops = await log.ops_after(5, 10)
    worker = ThreadWorker("views")
    file = ViewsFile(path, KEY, worker)
    with pytest.raises(ViewsLost):
        await file.run("a log", lambda views: Batch(ops).look_up(views).put_all(views, 5))
    assert await file.run("a log", lambda views: (views.through, views.count_entities())) == (0, 0)
    await file.close()
    worker.close()


async def test_damaged_ops_are_passed_by(file_backend: Backend, path: Path) -> None:
    """An op that can't be read any more holds nothing up: what is sound is found."""
    log = await file_backend.open()
    kept = make_op(1, entity_type="Patient", payload='{"name":[{"family":"Silva"}]}')
    await log.append(batch(kept, make_op(2)))
    await file_backend.close()
    connection = open_database(file_backend.path, file_backend.key)
    connection.execute("UPDATE op SET body = zeroblob(40) WHERE seq = 2")
    connection.close()
    log = await file_backend.open()
    async with following(log, path, file_backend.key) as follower:
        found = await follower.ask(lambda views: views.patients("silva", None, 5))
        assert [row.entity_id for row in found.rows] == [kept.entity_id]
        assert follower.through == 2


async def test_it_rests_while_ops_arrive(log: LogStore, path: Path) -> None:
    """Under steady pushes it takes a small part of the time; asking lifts that."""
    async with following(log, path) as follower:
        number, until = 0, asyncio.get_running_loop().time() + 1.5
        while asyncio.get_running_loop().time() < until:
            await log.append(batch(*run_of(number + 1, number + 100)))
            number += 100
            await asyncio.sleep(0)
        assert follower.through < log.last_seq
        assert await asked_until_answered(follower, lambda views: views.through) == log.last_seq


KILLED = """
import asyncio, sys
from pathlib import Path
from medxz.clock import SystemClock
from medxz.store.sqlite import Workers, open_log
from medxz.store.views import follower as follower_module
from medxz.store.views import Follower, ViewsFile
from medxz.work import ThreadWorker
from tests.store.conftest import KEY

async def main(folder):
    log, _ = await open_log(folder / "hub.db", KEY, SystemClock(), Workers.threads())
    follower = Follower(log, ViewsFile(folder / "views.db", KEY, ThreadWorker("views")), SystemClock())
    follower.start()
    print("up", flush=True)
    while True:
        await follower.caught_up(log.last_seq, 60)
        await asyncio.sleep(0.01)

asyncio.run(main(Path(sys.argv[1])))
"""


@pytest.mark.slow
@pytest.mark.parametrize("file_backend", ["sqlite-encrypted"], indirect=True)
async def test_a_kill_in_the_middle_leaves_a_file_to_go_on_from(file_backend: Backend, path: Path) -> None:
    """Killed at any moment of taking in, the follower ends with the same tables."""
    writers = Writers(5)
    log = await file_backend.open()
    for _ in range(6):
        await log.append(batch(*writers.some(400)))
    await file_backend.close()
    rng = random.Random(5)
    for _ in range(4):
        process = subprocess.Popen(  # noqa: ASYNC220  it is to be killed
            [sys.executable, "-c", KILLED, str(file_backend.path.parent)],
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parents[2],
        )
        assert process.stdout is not None
        await asyncio.to_thread(process.stdout.readline)
        await asyncio.sleep(rng.random() * 0.4)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    async with following(await file_backend.open(), path) as follower:
        assert await asked_until_answered(follower, told) == expected(writers)


async def test_the_file_is_nobody_elses_to_read(log: LogStore, path: Path) -> None:
    """The file and what lies beside it are for the hub's user alone, and say nothing without the key."""
    async with following(log, path) as follower:
        await log.append(batch(make_op(1, entity_type="Patient", payload='{"name":[{"family":"Silva"}]}')))
        await follower.ask(lambda views: views.through)
        for name in ("views.db", "views.db-wal", "views.db-shm"):
            beside = path.with_name(name)
            assert beside.stat().st_mode & 0o077 == 0
            assert b"ilva" not in beside.read_bytes()
