"""The device's store: what is durable together, who may open it, how safe its ops are said to be."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlcipher3 import dbapi2 as sqlcipher

from medxz.device.store import DeviceStore, heads
from medxz.device.store.changes import key_of
from medxz.device.store.file import StoreFile
from medxz.device.store.rows import insert_op
from medxz.errors import ConfigurationError, OpInvalid, StoreError, StoreKeyWrong, StoreLocked
from medxz.merge.entity import Entity
from medxz.op import Operation
from tests.making import CLINIC, DEVICE, OTHER_DEVICE, HandClock, fixed_id, make_op
from tests.unit.device.scripted import KEY, URL, ScriptedServer, Tablet, rejected

DAY_MS = 86_400_000


@pytest.fixture
def tablet(tmp_path: Path) -> Iterator[Tablet]:
    tablet = Tablet(tmp_path / "tablet")
    yield tablet
    tablet.store.close()


def rows(tablet: Tablet, query: str) -> list[tuple]:
    with tablet.store._file.reading() as connection:
        return connection.execute(query).fetchall()


def test_numbers_have_no_gaps(tablet: Tablet) -> None:
    """Each op takes the next number; one that is refused takes none."""
    first = tablet.record()
    with pytest.raises(OpInvalid) as refused:
        tablet.record(payload=b'{"a":1,"a":2}')
    assert refused.value.field == "payload"
    second = tablet.record()
    assert (first.device_seq, second.device_seq) == (1, 2)


def test_an_op_and_its_audit_entry_commit_together(tablet: Tablet) -> None:
    """Where the audit entry can't be written, there is no op and no number is taken."""
    with tablet.store._file.transaction() as connection:
        connection.execute(
            "CREATE TRIGGER full BEFORE INSERT ON audit BEGIN SELECT RAISE(ABORT, 'full'); END"
        )
    with pytest.raises(StoreError):
        tablet.record()
    assert rows(tablet, "SELECT count(*) FROM op") == [(0,)]
    assert rows(tablet, "SELECT count(*) FROM head") == [(0,)]
    with tablet.store._file.transaction() as connection:
        connection.execute("DROP TRIGGER full")
    assert tablet.record().device_seq == 1
    assert rows(tablet, "SELECT action FROM audit ORDER BY number") == [("begun",), ("recorded",)]


@pytest.mark.parametrize("statement", ["UPDATE audit SET action = 'x'", "DELETE FROM audit"])
def test_the_audit_is_only_added_to(tablet: Tablet, statement: str) -> None:
    """No entry is changed or deleted, and one that was changed behind the triggers' back is found."""
    tablet.record()
    with pytest.raises(StoreError, match="never"), tablet.store._file.transaction() as connection:
        connection.execute(statement)
    assert tablet.store.verify_audit() == 2
    with tablet.store._file.transaction() as connection:
        connection.execute("DROP TRIGGER audit_is_not_changed")
        connection.execute("UPDATE audit SET detail = '{}' WHERE number = 2")
    with pytest.raises(StoreError, match="broken at entry 2"):
        tablet.store.verify_audit()


def test_the_audit_holds_no_payload(tablet: Tablet) -> None:
    """What a clinician wrote is in no audit entry."""
    tablet.record(payload=b'{"note":"very private"}')
    assert "private" not in str(rows(tablet, "SELECT * FROM audit"))


def test_the_file_is_encrypted(tablet: Tablet, tmp_path: Path) -> None:
    """No file of the store shows a payload, and another key does not open it."""
    tablet.record(payload=b'{"note":"very private"}')
    tablet.store.close()
    assert all(b"private" not in file.read_bytes() for file in (tmp_path / "tablet").iterdir())
    with pytest.raises(StoreKeyWrong):
        DeviceStore(tmp_path / "tablet", bytes(32), HandClock())


def test_one_process_writes(tablet: Tablet, tmp_path: Path) -> None:
    """A second writer is refused, a reader is not, and a reader can't write."""
    tablet.record()
    with pytest.raises(StoreLocked):
        StoreFile(tmp_path / "tablet", KEY, create=False, read_only=False, wait_s=0)
    reader = DeviceStore(tmp_path / "tablet", KEY, HandClock(), read_only=True)
    assert reader.counts()["here"] == 1
    with pytest.raises(StoreError):
        reader.forget()
    reader.close()


def test_a_token_of_another_device_is_refused(tablet: Tablet) -> None:
    """A store takes a new token for its own device alone."""
    from medxz.device.token import TokenClaims

    held = tablet.store.identity()
    with pytest.raises(ConfigurationError):
        tablet.store.begin(
            TokenClaims(held.clinic_id, OTHER_DEVICE, held.user_id),
            name="x", server_url=URL, access_token="t", ca_pem=None,
        )  # fmt: skip
    tablet.store.begin(
        TokenClaims(held.clinic_id, DEVICE, held.user_id),
        name="x", server_url=URL, access_token="new", ca_pem=None,
    )  # fmt: skip
    assert tablet.store.identity().access_token == "new"
    assert tablet.store.identity().private_key == held.private_key


# heads


def graph() -> list[Operation]:
    """One entity: a create, two amendments of it, one that joins them, a second create; and a stranger's op."""
    a = make_op(1, entity_id=fixed_id(5))
    b, c = (make_op(n, entity_id=a.entity_id, op_type="amend", parents=(a.op_id,)) for n in (2, 3))
    joined = make_op(4, entity_id=a.entity_id, op_type="resolve", parents=tuple(sorted((b.op_id, c.op_id))))
    other = make_op(5, entity_id=a.entity_id)
    # names an op of another entity: that hides nothing
    stranger = make_op(6, op_type="amend", parents=(joined.op_id,))
    return [a, b, c, joined, other, stranger]


GRAPH = graph()


@settings(max_examples=40, deadline=None)
@given(order=st.permutations(GRAPH), cut=st.integers(1, len(GRAPH)))
def test_heads_do_not_depend_on_the_order_of_arrival(
    tmp_path_factory: pytest.TempPathFactory, order: list[Operation], cut: int
) -> None:
    """The heads are those that nobody who is here names, in whatever order ops came; rebuilt, they are the same."""
    store = StoreFile(tmp_path_factory.mktemp("heads"), KEY, create=True, read_only=False, wait_s=0)
    here = order[:cut]
    with store.transaction() as connection:
        for op in here:
            insert_op(connection, op, 0)
            heads.arrive(connection, op)
        for entity_id in {op.entity_id for op in here}:
            mine = [op for op in here if op.entity_id == entity_id]
            named = set(itertools.chain.from_iterable(op.parents for op in mine))
            expected = sorted(op.op_id for op in mine if op.op_id not in named)
            entity = Entity(CLINIC, "Observation", entity_id)
            assert [head.op_id for head in heads.heads_of(connection, entity)] == expected
            assert [head.op_id for head in heads.known_heads(connection, entity)] == expected
            heads.forget_heads(connection, key_of(entity))
            assert [head.op_id for head in heads.heads_of(connection, entity)] == expected
    store.close()


async def test_the_next_op_follows_what_was_seen(tablet: Tablet) -> None:
    """An amend names all heads that are here, sorted; what another device wrote meanwhile too."""
    first = tablet.record(entity_type="Patient")
    theirs = make_op(
        1, device_id=OTHER_DEVICE, entity_type="Patient", entity_id=first.entity_id, op_type="amend",
        parents=(first.op_id,),
    )  # fmt: skip
    ours = tablet.record(entity_type="Patient", entity_id=first.entity_id, op="amend")
    assert ours.parents == (first.op_id,)
    await tablet.sync(ScriptedServer(log=[theirs]))
    assert tablet.record(entity_type="Patient", entity_id=first.entity_id, op="amend").parents == tuple(
        sorted((ours.op_id, theirs.op_id))
    )


async def test_a_parked_op_is_nobodys_parent(tablet: Tablet) -> None:
    """After an amendment was rejected the next one follows what it had followed, not the rejected one."""
    first = tablet.record()
    bad = tablet.record(entity_id=first.entity_id, op="amend")
    server = ScriptedServer(verdict=lambda op: rejected(op, "forbidden") if op.op_id == bad.op_id else None)
    await tablet.sync(server)
    assert tablet.record(entity_id=first.entity_id, op="amend").parents == (first.op_id,)


async def test_another_server_may_take_what_was_parked(tablet: Tablet) -> None:
    """A parked op is offered once to another log; taken there, it is parked no longer and a head again."""
    op = tablet.record()
    first = ScriptedServer(verdict=lambda op: rejected(op, "forbidden"))
    await tablet.sync(first)
    await tablet.sync(first)
    assert len(first.pushes) == 1
    assert tablet.store.heads_of("Observation", op.entity_id) == ()
    second = ScriptedServer()
    second.server_id = OTHER_DEVICE
    await tablet.sync(second, url="http://second.test")
    assert tablet.store.parked() == []
    assert tablet.store.safety_of(op.op_id) == "hub"
    assert tablet.store.heads_of("Observation", op.entity_id) == (op.op_id,)


# how safe


async def test_three_levels(tablet: Tablet) -> None:
    """Each op counts once, for the safest place that it has reached; parked ones and refused ones are set apart."""
    ops = [tablet.record() for _ in range(6)]
    server = ScriptedServer(verdict=lambda op: rejected(op, "invalid") if op.device_seq == 2 else None)
    await tablet.sync(server)
    server.cloud_through, server.cloud_epoch = 4, fixed_id(70)
    server.refused_upstream = [(ops[2].op_id, "op_id_reused")]
    tablet.record()
    server.verdict = lambda _: None
    await tablet.sync(server)
    ops.append(tablet.record())
    assert tablet.store.counts() == {"here": 1, "hub": 4, "cloud": 2, "parked": 1}
    levels = [tablet.store.safety_of(op.op_id) for op in ops]
    assert levels == ["cloud", "parked", "hub", "cloud", "hub", "hub", "here"]
    assert [op.op_id for op in tablet.store.refused_upstream()] == [ops[2].op_id]


async def test_the_cloud_may_fall_with_a_new_epoch(tablet: Tablet) -> None:
    """Within the cloud's epoch the watermark only rises; a new one may lower it, and an old one then says nothing."""
    for _ in range(5):
        tablet.record()
    server = ScriptedServer(cloud_through=5, cloud_epoch=fixed_id(70))
    await tablet.sync(server)
    server.cloud_through = 3
    await tablet.sync(server)
    assert tablet.store.counts()["cloud"] == 5
    server.cloud_through, server.cloud_epoch = 2, fixed_id(71)
    await tablet.sync(server)
    assert tablet.store.counts()["cloud"] == 2
    stale = ScriptedServer(cloud_through=5, cloud_epoch=fixed_id(70))
    stale.server_id = OTHER_DEVICE
    await tablet.sync(stale, url="http://stale.test")
    assert tablet.store.counts()["cloud"] == 2


async def test_a_hub_that_was_claimed_is_asked_for_the_configuration(tablet: Tablet) -> None:
    """With the first word of a cloud the clinic's CAs are asked for at once: its other hubs are proven by them."""
    server = ScriptedServer()
    await tablet.sync(server)
    alone = tablet.store.identity().configured_ms
    tablet.clock.time_ms += 1_000
    await tablet.sync(server)
    assert tablet.store.identity().configured_ms == alone
    server.cloud_through, server.cloud_epoch = 0, fixed_id(70)
    tablet.clock.time_ms += 1_000
    await tablet.sync(server)
    assert tablet.store.identity().configured_ms == tablet.clock.time_ms


async def test_what_the_cloud_itself_acknowledged_is_in_the_cloud(tablet: Tablet) -> None:
    """An op that the cloud has taken counts as there, also above a number that it has not."""
    tablet.record()
    await tablet.sync(ScriptedServer(kind="cloud"))
    assert tablet.store.counts() == {"here": 0, "hub": 0, "cloud": 1, "parked": 0}


async def test_forgetting_waits_for_the_cloud_and_for_days(tablet: Tablet) -> None:
    """Only what the cloud has, and what is old enough, is forgotten; what is parked never; it comes back as no alarm."""
    ops = [tablet.record() for _ in range(4)]
    server = ScriptedServer(verdict=lambda op: rejected(op, "invalid") if op.device_seq == 2 else None)
    await tablet.sync(server)
    assert tablet.store.forget() == 0
    server.cloud_through, server.cloud_epoch = 3, fixed_id(70)
    await tablet.sync(server)
    assert tablet.store.forget() == 0
    tablet.clock.time_ms += 15 * DAY_MS
    assert tablet.store.forget() == 2
    assert tablet.op_ids() == {ops[1].op_id, ops[3].op_id}
    assert tablet.store.counts() == {"here": 0, "hub": 1, "cloud": 2, "parked": 1}
    server.epoch = server.ids.uuid7()
    server.page_ops = 1
    server.resumed.clear()
    await tablet.sync(server)
    assert server.resumed[0][DEVICE].through() == 4
    assert server.enrolled == []


async def test_a_forgotten_op_that_comes_back_is_no_head(tablet: Tablet) -> None:
    """What was forgotten as somebody's parent does not become a head when a server sends it again."""
    first = tablet.record()
    child = tablet.record(entity_id=first.entity_id, op="amend")
    server = ScriptedServer(cloud_through=2, cloud_epoch=fixed_id(70))
    await tablet.sync(server)
    tablet.clock.time_ms += 15 * DAY_MS
    assert tablet.store.forget() == 2
    tablet.store.begin_at((await tablet.replicator(server)._local.meet(server)).log, URL, "")
    await tablet.sync(server)
    assert first.op_id in tablet.op_ids()
    assert tablet.store.heads_of("Observation", first.entity_id) == (child.op_id,)
    assert server.enrolled == []


async def test_signatures_when_the_clinic_asks_for_them(tablet: Tablet) -> None:
    """What is pushed carries a signature that holds, also where it was recorded before the clinic asked."""
    from medxz.op import signature_holds

    tablet.record()
    server = ScriptedServer(require_signed_ops=True)
    await tablet.sync(server)
    tablet.record()
    await tablet.sync(server)
    public = tablet.store.identity().key.public_key().public_bytes_raw()
    assert all(signature_holds(op.digest(), op.signature or "", public) for op in server.log)
    assert len(server.log) == 2


def test_the_driver_is_the_encrypting_one() -> None:
    """The store's SQLite can encrypt: a plain library would write what it is given."""
    connection = sqlcipher.connect(":memory:")
    assert connection.execute("PRAGMA cipher_version").fetchall()
    connection.close()
