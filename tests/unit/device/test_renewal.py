"""A device that was restored from a copy, or of which a copy goes on writing, becomes another one and loses nothing."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from medxz.errors import PeerUnreachable, StoreError
from tests.making import DEVICE, OTHER_DEVICE, make_op
from tests.unit.device.scripted import ScriptedServer, Tablet


@pytest.fixture
def tablet(tmp_path: Path) -> Iterator[Tablet]:
    tablet = Tablet(tmp_path / "tablet")
    yield tablet
    tablet.store.close()


@pytest.fixture
def copied(tablet: Tablet, tmp_path: Path) -> Iterator[Tablet]:
    """A copy of the tablet's store, taken when it had recorded three ops."""
    for _ in range(3):
        tablet.record()
    tablet.store.close()
    shutil.copytree(tmp_path / "tablet", tmp_path / "copy")
    tablet.store = Tablet(tmp_path / "tablet", create=False).store
    copy = Tablet(tmp_path / "copy", seed=99, create=False)
    yield copy
    copy.store.close()


def payloads(server: ScriptedServer) -> list[bytes]:
    return sorted(bytes(op.payload) for op in server.log)


async def test_a_restored_device_takes_a_new_id_before_it_pushes(tablet: Tablet, copied: Tablet) -> None:
    """Whose last number is below the server's watermark pushes nothing under the old id, and records its own again."""
    server = ScriptedServer()
    tablet.record(payload=b'{"by":"first"}')
    await tablet.sync(server)
    server.pushes.clear()
    done = await copied.sync(server)
    assert done.recorded_again == 0, "all of the copy's ops were there already"
    assert server.pushes == []
    assert copied.store.identity().device_id == server.device_id != DEVICE
    assert copied.store.identity().last_seq == 0
    after = copied.record(payload=b'{"by":"copy"}')
    assert (after.device_id, after.device_seq) == (server.device_id, 1)
    await copied.sync(server)
    assert payloads(server)[:2] == [b'{"by":"copy"}', b'{"by":"first"}']


async def test_two_copies_that_both_wrote(tablet: Tablet, copied: Tablet) -> None:
    """Where both wrote under one number, the second records again what no server has, each op once."""
    server = ScriptedServer()
    tablet.record(payload=b'{"by":"first"}')
    await tablet.sync(server)
    mine = copied.record(payload=b'{"by":"copy"}')
    child = copied.record(entity_id=mine.entity_id, op="amend", payload=b'{"by":"copy","amended":true}')
    assert child.parents == (mine.op_id,)
    done = await copied.sync(server)
    assert done.recorded_again == 2
    assert len(server.enrolled) == 1
    again = [op for op in server.log if op.device_id == server.device_id]
    assert [op.device_seq for op in again] == [1, 2]
    assert again[1].parents == (again[0].op_id,)
    assert [op.entity_id for op in again] == [mine.entity_id] * 2
    assert copied.store.heads_of("Observation", mine.entity_id) == (again[1].op_id,)
    assert mine.op_id not in copied.op_ids()
    assert len(server.log) == 6
    assert copied.store.counts() == {"here": 0, "hub": 2, "cloud": 0, "parked": 0}
    assert copied.store.verify_audit() > 0
    await copied.sync(server)
    assert len(server.log) == 6


async def test_an_op_of_ours_that_we_never_wrote(tablet: Tablet) -> None:
    """An op that arrives under this device's id, and that it does not hold, shows that there is a copy."""
    server = ScriptedServer()
    op = tablet.record()
    await tablet.sync(server)
    server.log.append(make_op(2, device_id=DEVICE))
    tablet.record()
    tablet.record()
    await tablet.sync(server)
    assert len(server.enrolled) == 1
    assert len({(op.device_id, op.device_seq) for op in server.log}) == len(server.log)
    assert op.op_id in server.stored_ids()
    assert len(server.log) == 4


async def test_a_crash_between_the_new_id_and_its_commit(
    tablet: Tablet, copied: Tablet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked again after a crash, the same key is sent, and the ops are recorded again once."""
    server = ScriptedServer()
    tablet.record()
    await tablet.sync(server)
    copied.record()

    def crash(*_: object) -> int:
        raise PeerUnreachable("the power went")

    monkeypatch.setattr(copied.store, "renew", crash)
    with pytest.raises(PeerUnreachable):
        await copied.sync(server)
    monkeypatch.undo()
    await copied.sync(server)
    assert len(server.enrolled) == 2
    assert len(set(server.enrolled)) == 1
    assert len(server.log) == 5


async def test_two_that_find_out_at_once(tablet: Tablet, copied: Tablet) -> None:
    """Where a sync and a watch both learn of the copy, one of them takes the new id, and the other finds it done."""
    server = ScriptedServer()
    tablet.record()
    await tablet.sync(server)
    copied.record()
    await asyncio.gather(copied.sync(server), copied.sync(server))
    assert len(server.enrolled) == 1
    side = copied.replicator(server)._local
    assert await side.take_new_identity(server) == 0
    assert len(server.enrolled) == 1
    assert len(server.log) == 5


async def test_what_another_server_has_is_not_recorded_again(tablet: Tablet, copied: Tablet) -> None:
    """An op that any server has acknowledged keeps its id."""
    elsewhere = ScriptedServer()
    elsewhere.server_id = OTHER_DEVICE
    mine = copied.record(payload=b'{"by":"copy"}')
    await copied.sync(elsewhere, url="http://elsewhere.test")
    server = ScriptedServer()
    for _ in range(2):
        tablet.record()
    await tablet.sync(server)
    done = await copied.sync(server)
    assert done.recorded_again == 0
    assert mine.op_id in copied.op_ids()


async def test_the_same_id_again_changes_nothing(tablet: Tablet, copied: Tablet) -> None:
    """A server that gives the id that is taken is not believed."""

    class Same(ScriptedServer):
        async def reenrol(self, request):
            answer = await super().reenrol(request)
            return answer.model_copy(update={"device_id": DEVICE})

    server = Same()
    tablet.record()
    await tablet.sync(server)
    with pytest.raises((PeerUnreachable, StoreError)):
        await copied.sync(server)
    assert copied.store.identity().device_id == DEVICE


async def test_the_session_goes_on_under_the_new_id(tablet: Tablet, copied: Tablet) -> None:
    """What renews the session is the new id's afterwards: the old id's would give tokens that its ops don't fit."""

    class Giving(ScriptedServer):
        async def reenrol(self, request):
            answer = await super().reenrol(request)
            return answer.model_copy(update={"refresh_token": "the new id's"})

    server = Giving()
    tablet.record()
    await tablet.sync(server)
    copied.record()
    await copied.sync(server)
    assert copied.store.identity().refresh_token == "the new id's"
    assert copied.store.session().refresh_token == "the new id's"
