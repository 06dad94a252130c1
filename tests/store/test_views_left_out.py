"""Entities that can't be taken in, for a reason that nobody foresaw: everything else goes on without them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from sqlcipher3 import dbapi2 as sqlcipher

from medxz.clock import SystemClock
from medxz.merge.entity import Entity
from medxz.op import Operation
from medxz.store.base import LogStore
from medxz.store.views import Follower, ViewsFile, taking
from medxz.store.views.filling import Taken
from medxz.work import ThreadWorker
from tests.making import batch, fixed_id, make_op
from tests.store.conftest import KEY
from tests.store.test_views_follower import asked_until_answered

SECRET = "Zwicky-Lüthi"
POISON = fixed_id(0xBAD)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "views.db"


def unforeseen() -> Exception:
    return ZeroDivisionError(f"the name {SECRET} has no letters")


def constraint() -> Exception:
    error = sqlcipher.IntegrityError("UNIQUE constraint failed: view_patient.place")
    error.sqlite_errorname = "SQLITE_CONSTRAINT_UNIQUE"
    return error


def too_big() -> Exception:
    error = sqlcipher.DataError("string or blob too big")
    error.sqlite_errorname = "SQLITE_TOOBIG"
    return error


def poison(monkeypatch: pytest.MonkeyPatch, error: Callable[[], Exception]) -> None:
    """One entity fails, whenever and however it is taken in."""
    real = taking._taken

    def failing(entity: Entity, ops: Sequence[Operation]) -> Taken:
        if entity.entity_id == POISON:
            raise error()
        return real(entity, ops)

    monkeypatch.setattr(taking, "_taken", failing)


def patient(
    number: int, *, entity_id: str | None = None, parents: Sequence[str] = (), **payload: str
) -> Operation:
    return make_op(
        number, entity_type="Patient", entity_id=entity_id or fixed_id(0x500 + number), parents=tuple(parents),
        op_type="update" if parents else "create", payload=json.dumps(payload),
    )  # fmt: skip


@pytest.mark.parametrize("error", [unforeseen, constraint, too_big])
async def test_one_entity_does_not_keep_the_others_out(
    log: LogStore, path: Path, monkeypatch: pytest.MonkeyPatch, error: Callable[[], Exception]
) -> None:
    """It is left out and told of, without what it says; it comes in whole with its next op once the fault is gone."""
    told: list[str] = []
    worker = ThreadWorker("views")

    async def started() -> Follower:
        follower = Follower(log, ViewsFile(path, KEY, worker), SystemClock(), told.append)
        follower.start()
        return follower

    poisoned = patient(3, entity_id=POISON, name=SECRET)
    with monkeypatch.context() as patch:
        poison(patch, error)
        follower = await started()
        await log.append(batch(patient(1), patient(2), poisoned, patient(4)))
        assert await asked_until_answered(follower, lambda views: views.count_entities()) == 3
        await log.append(batch(patient(5)))
        assert await asked_until_answered(follower, lambda views: views.count_entities()) == 4
        assert follower.left_out == 1
        await follower.close()
        assert len(told) <= 3
        assert any("left out" in line for line in told)
        assert not any(SECRET in line for line in told)

    follower = await started()
    await log.append(batch(patient(6, entity_id=POISON, parents=[poisoned.op_id], phone="1")))
    found = await asked_until_answered(follower, lambda views: views.patients("zwicky", None, 5).rows)
    assert [row.entity_id for row in found] == [POISON]
    assert follower.left_out == 0
    await follower.close()
    worker.close()


async def test_a_follower_outlives_what_nobody_foresaw(
    log: LogStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error beside the taking in is tried again, and is over when its cause is."""
    worker = ThreadWorker("views")
    follower = Follower(log, ViewsFile(path, KEY, worker), SystemClock())
    read, failures = log.ops_after, [unforeseen(), unforeseen()]

    async def failing(seq: int, limit: int) -> list[bytes]:
        if failures:
            raise failures.pop()
        return await read(seq, limit)

    monkeypatch.setattr(log, "ops_after", failing)
    follower.start()
    await log.append(batch(patient(1)))
    assert await asked_until_answered(follower, lambda views: views.count_entities()) == 1
    await follower.close()
    worker.close()
