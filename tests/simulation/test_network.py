"""The simulated network: what TCP promises is kept, and every fault that it knows is one that happens."""

from __future__ import annotations

import asyncio
import errno
import socket
import struct
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from tests.simulation.loop import SimLoop, run_world
from tests.simulation.machine import Machine

PORT = 8_443
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]


class Pair:
    """Two machines; `a` asks, `b` serves."""

    def __init__(self, loop: SimLoop, root: Path) -> None:
        self.loop = loop
        self.network = loop.network
        self.a = Machine(loop, "a", "127.77.0.1", root)
        self.b = Machine(loop, "b", "127.77.0.2", root)
        self.writers: list[asyncio.StreamWriter] = []

    async def serve(self, serve: Serve) -> None:
        def kept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Coroutine[Any, Any, None]:
            self.writers.append(writer)
            return serve(reader, writer)

        await self.b.call(asyncio.start_server(kept, self.b.ip, PORT))

    async def connect(
        self, machine: Machine | None = None
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await (machine or self.a).call(asyncio.open_connection(self.b.ip, PORT))
        self.writers.append(writer)
        return reader, writer


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1_000):
        writer.write(data)
        await writer.drain()
    writer.close()


def run(root: Path, scenario: Callable[[Pair], Coroutine[Any, Any, Any]], seed: int = 1) -> Any:
    async def world(loop: SimLoop) -> Any:
        pair = Pair(loop, root)
        try:
            answer = await scenario(pair)
        finally:
            for writer in pair.writers:
                writer.close()
        assert loop.broken == []
        return answer

    return run_world(world, seed)


@pytest.mark.parametrize("seed", range(3))
def test_bytes_come_in_order(tmp_path: Path, seed: int) -> None:
    """However a link delays, each connection has its bytes in their order, whole, to their end."""

    async def scenario(pair: Pair) -> None:
        pair.network.slow(pair.a, pair.b, 0.1, 3.0)
        await pair.serve(echo)
        reader, writer = await pair.connect()
        sent = b"".join(struct.pack(">I", number) for number in range(50_000))
        for start in range(0, len(sent), 7_919):
            writer.write(sent[start : start + 7_919])
        writer.write_eof()
        assert await reader.read() == sent
        assert pair.loop.time() > 0.2

    run(tmp_path, scenario, seed)


def test_connections_overtake_each_other(tmp_path: Path) -> None:
    """With jitter, what is sent later on another connection may come first."""

    async def scenario(pair: Pair) -> list[int]:
        came: list[int] = []

        async def take(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
            came.append(int(await reader.readline()))

        await pair.serve(take)
        writers = [(await pair.connect())[1] for _ in range(10)]
        pair.network.slow("a", "b", 0.01, 1.0)
        for number, writer in enumerate(writers):
            writer.write(b"%d\n" % number)
        await asyncio.sleep(5)
        return came

    came = run(tmp_path, scenario)
    assert sorted(came) == list(range(10))
    assert came != list(range(10))


def test_what_a_cut_holds_back_comes_when_it_is_healed(tmp_path: Path) -> None:
    """A cut stalls a connection, and does not break it, if it does not last."""

    async def scenario(pair: Pair) -> None:
        await pair.serve(echo)
        reader, writer = await pair.connect()
        pair.network.cut(pair.a, pair.b)
        writer.write(b"patience\n")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.readline(), 60)
        pair.network.heal("a", "b")
        assert await reader.readline() == b"patience\n"

    run(tmp_path, scenario)


def test_a_cut_may_be_of_one_direction(tmp_path: Path) -> None:
    """With one direction cut, requests arrive and are answered, and no answer comes."""

    async def scenario(pair: Pair) -> None:
        heard: list[bytes] = []

        async def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            heard.append(await reader.readline())
            writer.write(b"yes\n")

        await pair.serve(hear)
        reader, writer = await pair.connect()
        pair.network.cut(pair.b, pair.a, one_way=True)
        writer.write(b"do you hear me?\n")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.readline(), 10)
        assert heard == [b"do you hear me?\n"]
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(pair.connect(), 10)

    run(tmp_path, scenario)


def test_a_cut_that_lasts_breaks_what_waits(tmp_path: Path) -> None:
    """Who has something to send gives up at last; the other side, which only listens, hears nothing of it."""

    async def scenario(pair: Pair) -> None:
        ended: list[bytes] = []

        async def listen(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
            ended.append(await reader.read())

        await pair.serve(listen)
        _, writer = await pair.connect()
        pair.network.cut(pair.a, pair.b)
        writer.write(b"lost")
        with pytest.raises(OSError, match="timed out"):
            await writer.wait_closed()
        assert ended == []
        with pytest.raises(TimeoutError):
            await pair.connect()

    run(tmp_path, scenario)


def test_a_partition_is_of_groups(tmp_path: Path) -> None:
    """Within a group all is well; from one to another nothing passes, nor from who is in none."""

    async def scenario(pair: Pair) -> None:
        c = Machine(pair.loop, "c", "127.77.0.3", tmp_path)
        await pair.serve(echo)

        async def reached(machine: Machine) -> bool:
            try:
                await asyncio.wait_for(pair.connect(machine), 5)
            except TimeoutError:
                return False
            return True

        pair.network.partition([["a"], [pair.b, c]])
        assert [await reached(pair.a), await reached(c)] == [False, True]
        pair.network.heal()
        pair.network.partition([["a", "b"]])
        assert [await reached(pair.a), await reached(c)] == [True, False]
        pair.network.heal(c)
        assert await reached(c)

    run(tmp_path, scenario)


def test_nobody_listens(tmp_path: Path) -> None:
    """Where a machine is up and nobody listens, one is told at once; a name that nobody has is not found."""

    async def scenario(pair: Pair) -> None:
        begun = pair.loop.time()
        with pytest.raises(ConnectionRefusedError):
            await pair.connect()
        assert pair.loop.time() - begun < 0.1
        with pytest.raises(socket.gaierror):
            await asyncio.open_connection("nobody.example", PORT)
        await pair.serve(echo)
        _, by_name = await asyncio.open_connection("b", PORT)
        by_name.close()
        with pytest.raises(OSError, match="in use") as refused:
            await pair.serve(echo)
        assert refused.value.errno == errno.EADDRINUSE

    run(tmp_path, scenario)


def test_a_lossy_link_delays_and_tears(tmp_path: Path) -> None:
    """On a lossy link pieces come late, or a connection ends with a reset after any of its bytes, for both sides."""

    async def scenario(pair: Pair) -> tuple[set[int], set[bool]]:
        got: list[int] = []
        resets: list[bool] = []

        async def take(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
            count = 0
            try:
                while data := await reader.read(10_000):
                    count += len(data)
                resets.append(False)
            except ConnectionResetError:
                resets.append(True)
            got.append(count)

        await pair.serve(take)
        pair.network.lossy(pair.a, pair.b, 0.3)
        for _ in range(40):
            _, writer = await pair.connect()
            for _ in range(5):
                writer.write(bytes(1_000))
                await asyncio.sleep(0.001)
            writer.close()
        await asyncio.sleep(60)
        assert len(got) == 40
        return set(got), set(resets)

    counts, resets = run(tmp_path, scenario)
    assert resets == {True, False}
    assert 5_000 in counts
    assert any(count % 1_000 for count in counts)


def test_connections_are_torn_or_forgotten(tmp_path: Path) -> None:
    """All connections between two machines can be reset, or go silent for ever; those opened later are well."""

    async def scenario(pair: Pair) -> None:
        await pair.serve(echo)
        reader, writer = await pair.connect()
        assert pair.network.tear(pair.b, pair.a) == 2
        with pytest.raises(ConnectionResetError):
            await reader.read()
        reader, writer = await pair.connect()
        assert pair.network.silence("a", "b") == 2
        writer.write(b"hello?\n")
        with pytest.raises(OSError, match="timed out"):
            await reader.readline()
        reader, writer = await pair.connect()
        writer.write(b"hello\n")
        assert await reader.readline() == b"hello\n"

    run(tmp_path, scenario)


def test_a_writer_is_held_back_by_a_reader_that_does_not_read(tmp_path: Path) -> None:
    """What is not read fills the window, then the writer's own buffer; then the writer has to wait."""

    async def scenario(pair: Pair) -> int:
        go = asyncio.Event()
        got = 0

        async def dawdle(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
            nonlocal got
            await go.wait()
            while data := await reader.read(100_000):
                got += len(data)

        await pair.serve(dawdle)
        _, writer = await pair.connect()
        sent = 0
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(10):
                while True:
                    writer.write(bytes(10_000))
                    sent += 10_000
                    await writer.drain()
        assert 256 * 1_024 < sent < 1_024 * 1_024
        assert writer.transport.get_write_buffer_size() > 0
        go.set()
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        await asyncio.sleep(1)
        assert got == sent
        return got

    run(tmp_path, scenario)


def test_a_request_may_come_again(tmp_path: Path) -> None:
    """A duplicated request comes whole, once more, on another connection; what is no request stays single."""

    async def scenario(pair: Pair) -> list[bytes]:
        heard: list[bytes] = []

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                while head := await reader.readuntil(b"\r\n\r\n"):
                    body = await reader.readexactly(5) if head.startswith(b"POST") else b""
                    heard.append(head.split(b" ")[1] + body)
                    writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
            except asyncio.IncompleteReadError:
                return

        await pair.serve(answer)
        pair.network.duplicate(pair.a, pair.b, 1.0)
        _, writer = await pair.connect()
        for piece in (b"POST /1 HTTP/1.1\r\nContent-", b"Length: 5\r\n\r\nhel", b"loGET /2 HTTP/1.1\r\n\r\n"):
            writer.write(piece)
            await asyncio.sleep(0.1)
        writer.write(b"GET /3 HTTP/1.1\r\nUpgrade: websocket\r\n\r\n")
        await asyncio.sleep(60)
        return heard

    heard = run(tmp_path, scenario)
    assert heard[:3] == [b"/1hello", b"/2", b"/3"]
    assert sorted(heard[3:]) == [b"/1hello", b"/2"]


def test_an_end_that_hangs_up_is_heard_behind_its_bytes(tmp_path: Path) -> None:
    """What was written before closing arrives, then its end; what is sent to who has closed is answered by a reset."""

    async def scenario(pair: Pair) -> None:
        async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"goodbye")
            writer.close()

        await pair.serve(say)
        reader, writer = await pair.connect()
        await asyncio.sleep(1)
        writer.write(b"wait")
        assert await reader.read() == b"goodbye"
        await asyncio.sleep(1)
        writer.write(b"?")
        with pytest.raises(ConnectionResetError):
            await writer.wait_closed()

    run(tmp_path, scenario)


def test_a_unix_socket_is_of_its_machine(tmp_path: Path) -> None:
    """Commands on the same machine reach a Unix socket by its path, and are told apart by their user."""

    async def scenario(pair: Pair) -> None:
        users: list[int] = []

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            peer = writer.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
            users.append(struct.unpack("3i", peer)[1])
            await echo(reader, writer)

        path = str(tmp_path / "socket")
        server = await pair.b.call(asyncio.start_unix_server(answer, path))
        reader, writer = await pair.b.call(asyncio.open_unix_connection(path))
        writer.write(b"status\n")
        assert await reader.readline() == b"status\n"
        assert len(users) == 1
        server.close()
        await server.wait_closed()
        with pytest.raises(ConnectionRefusedError):
            await pair.b.call(asyncio.open_unix_connection(path))

    run(tmp_path, scenario)
