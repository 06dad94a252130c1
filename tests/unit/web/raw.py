"""HTTP by hand: for what no client library would send."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import orjson


async def exchange(port: int, request: bytes, *, close: bool = True) -> tuple[int, dict[str, str], bytes]:
    """Send these bytes on a connection of their own; the status, headers and body of the first answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    try:
        async with asyncio.timeout(15):
            return await answer(reader)
    finally:
        if close:
            writer.close()


async def answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    status = int(head[0].split()[1])
    headers = {}
    for line in head[1:-2]:
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    length = int(headers.get("content-length", "0"))
    return status, headers, await reader.readexactly(length) if length else b""


async def until(condition: Callable[[], bool]) -> None:
    """Wait until this holds."""
    async with asyncio.timeout(10):
        while not condition():  # there is no event for what another party notices
            await asyncio.sleep(0.005)


def is_problem(headers: dict[str, str], body: bytes, code: str) -> bool:
    """Whether this answer is the problem document of a code."""
    document = orjson.loads(body)
    assert headers["content-type"] == "application/problem+json"
    assert headers["x-request-id"] == document["request_id"]
    assert document["type"] == f"/docs#error-{code}"
    return bool(document["code"] == code)
