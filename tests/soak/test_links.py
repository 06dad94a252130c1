"""A link that is whole, cut, slow, and one that swallows: what a client of it sees."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.soak.links import SLOW_DELAY_S, Link


@pytest.fixture
async def link() -> AsyncIterator[Link]:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(100):
            writer.write(data)
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with server, Link("a link", server.sockets[0].getsockname()[1]) as made:
        yield made


async def answered(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, said: bytes = b"here"
) -> bytes:
    writer.write(said)
    return await reader.readexactly(len(said))


async def test_a_whole_link_carries(link: Link) -> None:
    """Bytes go through, both ways, and an end is told to the other side."""
    reader, writer = await asyncio.open_connection("127.0.0.1", link.port)
    assert await answered(reader, writer) == b"here"
    writer.write_eof()
    assert await reader.read() == b""
    writer.close()


async def test_a_cut_resets_and_refuses(link: Link) -> None:
    """What is open breaks off, what comes is ended without an answer; whole again, it carries."""
    reader, writer = await asyncio.open_connection("127.0.0.1", link.port)
    assert await answered(reader, writer) == b"here"
    link.become("cut")
    with pytest.raises((OSError, asyncio.IncompleteReadError)):
        await answered(reader, writer)
    writer.close()
    with pytest.raises((OSError, asyncio.IncompleteReadError)):
        await answered(*await asyncio.open_connection("127.0.0.1", link.port))
    link.become("whole")
    reader, writer = await asyncio.open_connection("127.0.0.1", link.port)
    assert await answered(reader, writer) == b"here"
    writer.close()


async def test_a_slow_link_takes_its_time(link: Link) -> None:
    """Each way takes longer by the delay."""
    link.become("slow")
    reader, writer = await asyncio.open_connection("127.0.0.1", link.port)
    begun = asyncio.get_running_loop().time()
    assert await answered(reader, writer) == b"here"
    assert asyncio.get_running_loop().time() - begun >= 2 * SLOW_DELAY_S * 0.9
    writer.close()


async def test_what_is_swallowed_comes_later(link: Link) -> None:
    """Nothing comes and nothing breaks; when the link is whole again, what was sent arrives."""
    reader, writer = await asyncio.open_connection("127.0.0.1", link.port)
    link.become("swallowing")
    asking = asyncio.create_task(answered(reader, writer))
    done, _ = await asyncio.wait([asking], timeout=0.2)
    assert not done
    link.become("whole")
    assert await asking == b"here"
    writer.close()
