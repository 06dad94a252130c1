"""Requests that arrive twice: what a proxy does that tries once more, or a client that heard no answer.

A whole request is read out of the bytes of a connection, and is sent a second time, later, on a connection of its own
from the same machine. Nobody reads its answer. What is no plain request (a line that was upgraded) is left alone.
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from tests.simulation.network import Address, Link, Network

LATER_S_MAX: Final = 30.0
LASTS_S: Final = 5.0
REQUEST_BYTES_MAX: Final = 4 * 1_048_576
_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_STRANGE: Final = re.compile(rb"\r\n(?:transfer-encoding|upgrade):", re.IGNORECASE)


class Recorder:
    """One connection's requests."""

    def __init__(self, network: Network, link: Link, address: Address) -> None:
        self._network = network
        self._link = link
        self._address = address
        self._held = bytearray()
        self._is_strange = False

    def heard(self, data: bytes) -> None:
        if self._is_strange:
            return
        self._held += data
        while (end := self._held.find(b"\r\n\r\n")) >= 0:
            head = bytes(self._held[: end + 2])
            if _STRANGE.search(head):
                self._is_strange = True
                self._held.clear()
                return
            length = _LENGTH.search(head)
            size = end + 4 + (int(length[1]) if length else 0)
            if len(self._held) < size:
                return
            self._whole(bytes(self._held[:size]))
            del self._held[:size]
        if len(self._held) > REQUEST_BYTES_MAX:
            self._is_strange = True

    def _whole(self, request: bytes) -> None:
        network = self._network
        if self._link.again and network.random.random() < self._link.again:
            at_s = network.now + network.random.random() * LATER_S_MAX
            # in the context of who asked: it dies with the machine
            network.loop.call_at(at_s, self._send_again, request)

    def _send_again(self, request: bytes) -> None:
        self._network.note(self._link.source, f"again to {self._link.target} {_line(request)}")
        self._network.loop.create_task(self._sent_again(request), name="again")

    async def _sent_again(self, request: bytes) -> None:
        try:
            transport, _ = await self._network.connect(_Deaf, self._address, plain=True)
        except OSError:
            return
        transport.write(request)
        await asyncio.sleep(LASTS_S)
        transport.abort()


class _Deaf(asyncio.Protocol):
    """Takes what comes."""


def _line(request: bytes) -> str:
    return request.partition(b"?")[0].partition(b" HTTP/")[0].decode("latin-1")
