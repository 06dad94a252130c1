"""What a device says where its own clock keeps it from a server."""

from __future__ import annotations

import asyncio

import pytest

from medxz.clock import SystemClock, format_time
from medxz.errors import PeerUnreachable, PeerUntrusted
from medxz.peer import Peer
from medxz.trust import certificates
from tests.making import fixed_id

SERVER = fixed_id(0xA1)
YEAR_MS = 365 * 86_400_000


async def failed_with(off_ms: int, asked_for: str = SERVER) -> tuple[PeerUnreachable, list[bytes]]:
    """How asking a server fails whose certificates begin so much later; and what it got to read."""
    then_ms = SystemClock().now_ms() + off_ms
    root = certificates.make_root(SERVER, then_ms)
    read: list[bytes] = []

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        read.append(await reader.read(1))
        writer.close()

    context = certificates.server_context(certificates.issue_server(root, SERVER, then_ms))
    async with await asyncio.start_server(listen, "127.0.0.1", 0, ssl=context) as server:
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        peer = Peer(url, ssl_context=certificates.client_context(root.certificate_pem, asked_for))
        try:
            with pytest.raises(PeerUnreachable) as failed:
                await peer.info()
        finally:
            await peer.aclose()
    return failed.value, read


@pytest.mark.parametrize(
    ("off_ms", "why", "hint"),
    [
        (YEAR_MS, "begins later", "clock is behind: set it"),
        (-2 * YEAR_MS, "has ended", "where that is wrong"),
    ],
)
async def test_a_device_whose_clock_is_wrong_is_told_so(off_ms: int, why: str, hint: str) -> None:
    """A certificate that is refused for its dates is told with the time that the device believes it is."""
    error, read = await failed_with(off_ms)
    assert isinstance(error, PeerUntrusted)
    assert why in str(error)
    assert f"clock says {format_time(SystemClock().now_ms())[:13]}" in str(error)
    assert (hint in error.hint, read) == (True, [])


async def test_the_clock_is_named_for_nothing_else() -> None:
    """Another server's certificate is another server's, whatever the time."""
    error, read = await failed_with(0, asked_for=fixed_id(0xA2))
    assert isinstance(error, PeerUntrusted)
    assert ("clock" in str(error), error.hint, read) == (False, PeerUntrusted.hint, [])
