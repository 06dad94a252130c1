"""The device library as a developer meets it: record at once, come into step, watch, ask how safe."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from pathlib import Path

import jwt
import pytest

import medxz
from medxz import Device, wire
from medxz.clock import SystemClock
from medxz.device.device import Machine, raw_key
from medxz.errors import (
    ConfigurationError,
    OpInvalid,
    PayloadInvalid,
    PeerRefused,
    PeerUnreachable,
    PeerUntrusted,
    StoreError,
)
from medxz.ids import RandomIds
from medxz.replicate import LIVE_ROUND_S, StreamPage
from medxz.trust import certificates
from tests.making import CLINIC, DEVICE, OTHER_DEVICE, USER, fixed_id, make_op
from tests.unit.device.scripted import KEY, URL, ScriptedServer, refusing

TOKEN = jwt.encode({"cid": CLINIC, "did": DEVICE, "sub": USER}, "k" * 32, algorithm="HS256")


@pytest.fixture
def server() -> ScriptedServer:
    return ScriptedServer()


@pytest.fixture
async def device(tmp_path: Path, server: ScriptedServer) -> AsyncIterator[Device]:
    machine = Machine(connect=lambda url, **_: server)
    async with Device.create(tmp_path / "d", key=KEY, server=URL, token=TOKEN, machine=machine) as device:
        yield device


async def test_record_then_sync(device: Device, server: ScriptedServer) -> None:
    """What is recorded is here at once, then on the hub; the report and the status say so."""
    done = await device.record("Patient", {"resourceType": "Patient", "active": True})
    assert await device.safety(done.op_id) == "here"
    report = await device.sync()
    assert (report.done.accepted, report.status.here, report.status.hub) == (1, 0, 1)
    assert await device.safety(done.op_id) == "hub"
    assert [op.op_id for op in server.log] == [done.op_id]
    assert server.closed == 1


async def test_payloads_byte_for_byte(device: Device, server: ScriptedServer) -> None:
    """JSON text is kept as it is written; an object is written as JSON, numbers of any length included."""
    await device.record("Patient", b'{"n":120.50, "m" : 1e2}\n')
    await device.record("Patient", {"digits": 12345678901234567890123, "text": "ä"})
    await device.sync()
    assert [bytes(op.payload) for op in server.log] == [
        b'{"n":120.50, "m" : 1e2}',
        '{"digits":12345678901234567890123,"text":"ä"}'.encode(),
    ]
    # what the server hashes is what was recorded
    assert [held.op.digest() async for held in device.ops()] == [op.digest() for op in server.log]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"entity_type": "patient"}, "entity_type"),
        ({"payload": b"[1]"}, "payload"),
        ({"payload": b"not json"}, "payload"),
        ({"payload": b"{" * 100_000}, "payload"),
        ({"payload": {"a": float("nan")}}, "payload"),
        ({"payload": {"a": object()}}, "payload"),
        ({"payload": "\ud800"}, "payload"),
        ({"payload": {"a": "x" * 270_000}}, "payload"),
        ({"op": "update"}, "entity_id"),
        ({"op": "delete", "entity_id": fixed_id(1)}, "op_type"),
        ({"entity_id": "X"}, "entity_id"),
        ({"user_id": "me"}, "user_id"),
        ({"user_id": ""}, "user_id"),
        ({"op": "amend", "entity_id": fixed_id(1), "parents": ("x",)}, "parents"),
        ({"schema_version": 0}, "schema_version"),
    ],
)
async def test_unlawful_ops_are_refused_here(device: Device, change: dict, field: str) -> None:
    """What a server would reject is refused before it is queued, with the field that is wrong."""
    arguments = {"entity_type": "Patient", "payload": {}} | change
    with pytest.raises(OpInvalid) as refused:
        await device.record(arguments.pop("entity_type"), arguments.pop("payload"), **arguments)
    assert refused.value.field == field
    assert (await device.status()).last_seq == 0


async def test_an_unlawful_resource_is_refused_here(device: Device) -> None:
    """A payload that is not the resource it says is refused with every problem by path, before it is queued."""
    with pytest.raises(PayloadInvalid) as refused:
        await device.record("Observation", {"status": "done", "id": fixed_id(2)}, entity_id=fixed_id(1))
    assert [path for path, _ in refused.value.problems] == ["id", "status", "code"]
    assert (refused.value.field, (await device.status()).last_seq) == ("payload", 0)
    patient = await device.record("Patient", {"gender": "female"})
    for op, payload in (("update", {"gender": "f"}), ("amend", {"gender": "f"}), ("retract", {"reason": ""})):
        with pytest.raises(PayloadInvalid):
            await device.record("Patient", payload, op=op, entity_id=patient.entity_id)
    assert (await device.status()).last_seq == 1


async def test_what_is_not_known_is_recorded(device: Device) -> None:
    """Types and schema_versions of others are recorded as they are: what they hold is not for this version to say."""
    await device.record("Basket", {"status": 5})
    await device.record("Observation", {"status": "done"}, schema_version=2)
    assert (await device.status()).last_seq == 2


async def test_watch_shows_what_others_write(device: Device, server: ScriptedServer) -> None:
    """Ops of others are given as they arrive, own ones go out meanwhile, and a cut stream is taken up again."""
    server.log.append(make_op(1, device_id=OTHER_DEVICE))
    told: list[str] = []
    async with aclosing(device.watch(tell=lambda standing, _: told.append(standing))) as arriving:
        ops = aiter(arriving)
        assert (await anext(ops)).op.device_seq == 1
        mine = await device.record("Patient", {"n": 1})
        # it goes out because it was recorded, not because half a minute has passed
        async with asyncio.timeout(LIVE_ROUND_S / 2):
            await server._moved(lambda: mine.op_id in server.stored_ids())
        await server.cut_stream()
        await server.arrive(make_op(2, device_id=OTHER_DEVICE))
        assert (await anext(ops)).op.device_seq == 2
        await server.arrive(make_op(3, device_id=OTHER_DEVICE), make_op(4, device_id=OTHER_DEVICE))
        assert [(await anext(ops)).op.device_seq for _ in range(2)] == [3, 4]
    assert server.streams >= 2
    assert "offline" in told
    assert server.closed == 1
    assert {held.op.op_id async for held in device.ops()} == set(server.stored_ids())


async def test_how_far_the_cloud_is_with_an_op_is_soon_told(device: Device, server: ScriptedServer) -> None:
    """What a hub took is known to be in the cloud a moment after it got there, though nothing else is recorded."""
    async with aclosing(device.watch()) as arriving:
        waiting = asyncio.ensure_future(anext(aiter(arriving)))
        mine = await device.record("Patient", {"n": 1})
        async with asyncio.timeout(LIVE_ROUND_S / 2):
            await server._moved(lambda: mine.op_id in server.stored_ids())
            assert (await device.status()).cloud == 0
            server.cloud_through, server.cloud_epoch = 1, fixed_id(9)
            while (await device.status()).cloud == 0:
                await asyncio.sleep(0.05)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)


async def test_watch_tells_once_that_it_is_live(tmp_path: Path) -> None:
    """A stream that stands is told of when it begins to, not with each of its pings."""
    pings_came = asyncio.Event()

    class Pinging(ScriptedServer):
        async def stream(self, cursor: str | None) -> AsyncGenerator[StreamPage, None]:
            for _ in range(3):
                yield StreamPage(cursor=None, ops=[])
            pings_came.set()
            await asyncio.Event().wait()

    told: list[str] = []
    machine = Machine(connect=lambda url, **_: Pinging())
    async with Device.create(tmp_path / "d", key=KEY, server=URL, token=TOKEN, machine=machine) as device:
        arriving = device.watch(tell=lambda standing, _: told.append(standing))
        waiting = asyncio.ensure_future(anext(arriving))
        await pings_came.wait()
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await arriving.aclose()
    assert told == ["live"]


async def test_watch_ends_with_what_can_not_be_mended(device: Device, server: ScriptedServer) -> None:
    """A token that has ended ends the watch, with that error."""
    server.before_pull = iter([refusing(401, "session_revoked")])
    with pytest.raises(PeerRefused, match="session_revoked"):
        async for _ in device.watch():
            pass
    assert server.closed == 1


async def test_watch_from_a_position(device: Device, server: ScriptedServer) -> None:
    """`after` gives what arrived since, so that a program that was stopped misses nothing."""
    server.log.extend(make_op(number, device_id=OTHER_DEVICE) for number in (1, 2, 3))
    await device.sync()
    positions = [held.position async for held in device.ops()]
    async with aclosing(device.watch(after=positions[0])) as arriving:
        assert [(await anext(arriving)).op.device_seq for _ in range(2)] == [2, 3]


async def test_recording_while_syncing(device: Device, server: ScriptedServer) -> None:
    """Many records at once, beside a sync, get numbers without gaps, and all arrive."""
    syncing = asyncio.create_task(device.sync())
    done = await asyncio.gather(*(device.record("Patient", {"n": number}) for number in range(40)))
    await syncing
    assert sorted(recorded.device_seq for recorded in done) == list(range(1, 41))
    await device.sync()
    assert len(server.log) == 40


async def test_ops_in_pages(device: Device) -> None:
    """`after` and `limit` go through all ops once, in the order in which they came."""
    made = [(await device.record("Patient", {"n": number})).op_id for number in range(7)]
    first = [held async for held in device.ops(limit=3)]
    rest = [held async for held in device.ops(after=first[-1].position)]
    assert [held.op.op_id for held in first + rest] == made


async def test_progress_is_told(device: Device, server: ScriptedServer) -> None:
    """A sync tells how far it is, with the total where it is known."""
    for number in range(3):
        await device.record("Patient", {"n": number})
    server.log.extend(make_op(number, device_id=OTHER_DEVICE) for number in (1, 2, 3))
    server.page_ops = 2
    steps: list[tuple[str, int, int | None]] = []
    await device.sync(progress=lambda step: steps.append((step.phase, step.done, step.total)))
    assert steps == [("push", 3, 3), ("pull", 2, None), ("pull", 3, None)]


async def test_reading_beside_a_writer(device: Device, tmp_path: Path) -> None:
    """A store that is open can be read by another, and says what is not there."""
    await device.record("Patient", {})
    async with Device.open(tmp_path / "d", key=KEY, read_only=True) as reader:
        assert (await reader.status()).here == 1
        with pytest.raises(StoreError):
            await reader.safety(RandomIds().uuid7())
        with pytest.raises(StoreError):
            await reader.record("Patient", {})


async def test_a_device_that_was_closed(device: Device) -> None:
    """What is asked of a closed device is refused as everything else is, and closing again is nothing."""
    device.close()
    device.close()
    for asked in (device.record("Patient", {}), device.status(), device.sync(), anext(device.ops())):
        with pytest.raises(StoreError, match="closed"):
            await asked


async def test_closed_in_the_middle_of_a_sync(device: Device, server: ScriptedServer) -> None:
    """A sync that was under way when the device was closed ends with the error of a closed device, not with another."""
    await device.record("Patient", {})
    is_asked, may_answer = asyncio.Event(), asyncio.Event()
    answering = server.info

    async def late_info() -> wire.InfoAnswer:
        is_asked.set()
        await may_answer.wait()
        return await answering()

    server.info = late_info  # type: ignore[method-assign]
    syncing = asyncio.create_task(device.sync())
    await is_asked.wait()
    device.close()
    may_answer.set()
    with pytest.raises(StoreError, match="closed"):
        await syncing


def test_what_is_no_token_of_a_device(tmp_path: Path) -> None:
    """A token without a device is refused before anything is made of it."""
    hubs = jwt.encode({"cid": CLINIC, "sub": USER}, "k" * 32, algorithm="HS256")
    for token in (hubs, "x", ""):
        with pytest.raises(ConfigurationError):
            Device.create(tmp_path / "none", key=KEY, server=URL, token=token)
    with pytest.raises(ConfigurationError):
        Device.create(tmp_path / "none", key=KEY, server="medxz.local", token=TOKEN)
    with pytest.raises(StoreError):
        Device.open(tmp_path / "nowhere", key=KEY)
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_ca(tmp_path: Path) -> None:
    """A CA that is none, or a token that does not say whose certificate to ask for, is refused when it is given."""
    issued = token_of(fixed_id(0xA1))
    root = certificates.make_root(fixed_id(0xA1), SystemClock().now_ms()).certificate_pem.decode()
    for ca_pem, token in (("junk", issued), ("", issued), ("é", issued), (root, TOKEN)):
        with pytest.raises(ConfigurationError):
            Device.create(tmp_path / "none", key=KEY, server=URL, token=token, ca_pem=ca_pem)
    assert list(tmp_path.iterdir()) == []


def token_of(server_id: str) -> str:
    claims = {"cid": CLINIC, "did": DEVICE, "sub": USER, "iss": server_id}
    return jwt.encode(claims, "k" * 32, algorithm="HS256")


async def test_a_look_alike_gets_nothing(tmp_path: Path) -> None:
    """A server whose certificate is of the right CA, and names another server than the token does, gets no byte."""
    ours, another = fixed_id(0xA1), fixed_id(0xA2)
    now_ms = SystemClock().now_ms()
    root = certificates.make_root(ours, now_ms)
    received: list[bytes] = []

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.append(await reader.read(1))
        writer.close()

    for name, bytes_got in ((another, []), (ours, [b"G"])):
        received.clear()
        context = certificates.server_context(certificates.issue_server(root, name, now_ms))
        server = await asyncio.start_server(listen, "127.0.0.1", 0, ssl=context)
        async with server:
            url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            async with Device.create(
                tmp_path / name,
                key=KEY,
                server=url,
                token=token_of(ours),
                ca_pem=root.certificate_pem.decode(),
            ) as device:
                with pytest.raises(PeerUnreachable) as failed:
                    await device.sync(attempts=1)
        assert received == bytes_got
        assert isinstance(failed.value, PeerUntrusted) == (name == another)


def test_keys() -> None:
    """64 hex digits are a key as they are; other text is a passphrase."""
    assert raw_key("ab" * 32) == bytes([0xAB]) * 32
    assert raw_key("correct horse") == "correct horse"
    assert raw_key(KEY) == KEY


@pytest.mark.parametrize(
    ("code", "loaded"),
    [
        ("import medxz.limits, medxz", {"medxz.device", "httpx", "sqlcipher3"}),
        ("from medxz import Device", {"httpx", "aiohttp", "rich", "medxz.wire"}),
    ],
)
def test_what_is_not_loaded(code: str, loaded: set[str]) -> None:
    """A server does not load the client, and a device that records loads no HTTP at all."""
    asked = f"{code}\nimport sys\nprint([name for name in {sorted(loaded)!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_public_name_is_there() -> None:
    """Each name that the package promises can be had, and no other."""
    assert all(getattr(medxz, name) is not None for name in medxz.__all__)
    with pytest.raises(AttributeError):
        medxz.Hub  # noqa: B018
