"""A connection in memory: two ends, and between them two pipes that keep the order of bytes, and lose none on their own.

What happens to the bytes under way is the network's (tests/simulation/network.py). Here stands what a kernel does: a
window of bytes under way, an end that hangs up or is torn off, a reset for what comes after that.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import struct
from collections import deque
from collections.abc import Callable, Iterable
from contextvars import Context
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from tests.simulation.network import Address, Link, Network

WINDOW_BYTES: Final = 256 * 1_024
PIECE_BYTES_MAX: Final = 64 * 1_024
HIGH_BYTES: Final = 64 * 1_024

Item = bytes | None | OSError
"""Bytes; the end of them; a reset."""


class Pipe:
    """One direction of a connection. `under_way` is what was sent and has not arrived, oldest first.

    One that `is_silent` was forgotten by something between the two, and nothing passes any more.
    """

    __slots__ = (
        "_bytes", "_last_at", "_stalled", "_timer", "is_silent", "link", "network", "reader", "under_way", "writer",
    )  # fmt: skip

    def __init__(self, network: Network, link: Link, opens_at: float) -> None:
        self.network = network
        self.link = link
        self.writer: SimTransport
        self.reader: SimTransport
        self.under_way: deque[tuple[float, Item]] = deque()
        self.is_silent = False
        self._bytes = 0
        self._last_at = opens_at
        self._timer: asyncio.TimerHandle | None = None
        self._stalled: asyncio.TimerHandle | None = None

    @property
    def room(self) -> int:
        return WINDOW_BYTES - self._bytes

    def put(self, item: Item) -> None:
        """It arrives when the link lets it, behind what was sent before."""
        at_s = self.network.arrival(self.link, self._last_at)
        if isinstance(item, bytes):
            self._bytes += len(item)
        self._last_at = at_s
        self.under_way.append((at_s, item))
        if self._timer is None:
            self._await(at_s)

    def delay(self, seconds: float) -> None:
        """What is sent from now on waits so much longer: a piece was lost, and is sent again."""
        self._last_at = max(self._last_at, self.network.now) + seconds

    def wake(self) -> None:
        """The link may be open again."""
        if self._timer is None and self.under_way:
            self._await(max(self.under_way[0][0], self.network.resent_at()))

    def take_back(self, count: int) -> None:
        """So many bytes were taken: there is room for others."""
        self._bytes -= count
        if self.writer.waits:
            self.network.soon(self.writer.pump, self.writer.context)

    def _await(self, at_s: float) -> None:
        self._timer = self.network.at(at_s, self._arrive)

    def _arrive(self) -> None:
        self._timer = None
        while self.under_way:
            at_s, item = self.under_way[0]
            if at_s > self.network.now:
                self._await(at_s)
                return
            if self.is_silent or not self.network.passes(self.link):
                self._stall()
                return
            if self._stalled is not None:
                self._stalled.cancel()
                self._stalled = None
            self.under_way.popleft()
            self.network.counted(self.link, at_s, item)
            self.reader.arrived(item)

    def _stall(self) -> None:
        """Nothing passes: the sender gives up at last, and the other side hears nothing of it."""
        if self._stalled is None:
            at_s = self.network.now + self.network.give_up_s
            self._stalled = self.network.at(at_s, self._give_up)

    def _give_up(self) -> None:
        self.under_way.clear()
        self.writer.lost(TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT)))


class SimTransport(asyncio.Transport):
    """One end."""

    def __init__(
        self,
        network: Network,
        out: Pipe,
        into: Pipe,
        context: Context,
        addresses: tuple[Address, Address],
    ) -> None:
        own, other = addresses
        self._socket = SimSocket(self, own, other)
        super().__init__({"socket": self._socket, "sockname": own, "peername": other})
        self._network = network
        self._out = out
        self._in = into
        out.writer = into.reader = self
        self.context = context
        self._protocol: Any = None
        self._waiting: deque[bytes] = deque()  # what the window has no room for
        self._waiting_bytes = 0
        self._high, self._low = HIGH_BYTES, HIGH_BYTES // 4
        self._has_paused = False  # who writes was told to stop
        self._unread: deque[Item] = deque()
        self._is_closing = False
        self._is_lost = False  # the kernel's end is gone
        self._is_reading = True
        self._wrote_end = self._sent_end = False
        self._heard_end = False

    # --------------------------------------------------------------------------------------- as asyncio's

    def set_protocol(self, protocol: Any) -> None:
        self._protocol = protocol

    def get_protocol(self) -> Any:
        return self._protocol

    def is_closing(self) -> bool:
        return self._is_closing

    def is_reading(self) -> bool:
        return self._is_reading and not self._is_closing

    def pause_reading(self) -> None:
        self._is_reading = False

    def resume_reading(self) -> None:
        if self._is_closing or self._is_reading:
            return
        self._is_reading = True
        if self._unread:
            self._network.soon(self._read_on, self.context)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._high = (HIGH_BYTES if low is None else 4 * low) if high is None else high
        self._low = self._high // 4 if low is None else low

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return self._low, self._high

    def get_write_buffer_size(self) -> int:
        return self._waiting_bytes

    def write(self, data: Any) -> None:
        if self._wrote_end:
            raise RuntimeError("Cannot call write() after write_eof()")
        if not data or self._is_closing or self._is_lost:
            return
        data = bytes(data)
        self._network.wrote(self, data)
        self._waiting.append(data)
        self._waiting_bytes += len(data)
        self.pump()
        if self._waiting_bytes > self._high and not self._has_paused:
            self._has_paused = True
            self._protocol.pause_writing()

    def writelines(self, list_of_data: Iterable[Any]) -> None:
        self.write(b"".join(list_of_data))

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        if not self._is_closing and not self._wrote_end:
            self._wrote_end = True
            self.pump()

    def close(self) -> None:
        """What was written goes out first."""
        if not self._is_closing:
            self._is_closing = True
            self._unread.clear()
            self.pump()

    def abort(self) -> None:
        self._tear(None)

    # --------------------------------------------------------------------------------- as the kernel does

    @property
    def waits(self) -> bool:
        return bool(self._waiting) or self._wrote_end or self._is_closing

    @property
    def is_readable(self) -> bool:
        return self._is_lost or self._is_closing or self._heard_end or bool(self._unread)

    def made(self, protocol: Any) -> None:
        self._protocol = protocol
        protocol.connection_made(self)

    def pump(self) -> None:
        """Send what there is room for, and the end behind it."""
        if self._is_lost:
            return
        while self._waiting and (room := min(self._out.room, PIECE_BYTES_MAX)) > 0:
            data = self._waiting.popleft()
            if len(data) > room:
                self._waiting.appendleft(data[room:])
                data = data[:room]
            self._waiting_bytes -= len(data)
            if not self._network.sent(self._out, data):
                return
        if self._has_paused and self._waiting_bytes <= self._low:
            self._has_paused = False
            self._protocol.resume_writing()
        if not self._waiting and self._is_closing:
            self._end(None)
        elif not self._waiting and self._wrote_end and not self._sent_end:
            self._sent_end = True
            self._out.put(None)

    def arrived(self, item: Item) -> None:
        if self._is_lost:
            if isinstance(item, bytes):
                self._out.put(_reset())
        elif isinstance(item, OSError):
            self.lost(item)
        elif self._is_closing:
            self._taken(item)  # it is not read any more
        elif not self._is_reading or self._unread:
            self._unread.append(item)
        else:
            self.context.run(self._read, item)

    def wake(self) -> None:
        """A link may be open again."""
        self._in.wake()
        self._out.wake()

    def silence(self) -> None:
        """From now on neither end hears the other."""
        self._in.is_silent = self._out.is_silent = True

    def lost(self, error: OSError | None) -> None:
        """The connection is gone."""
        if not self._is_lost:
            self._tear(error, tells=False)

    def die(self, *, silent: bool) -> None:
        """Its machine crashed: nothing of this end runs any more."""
        self._is_closing = True
        if not self._is_lost:
            self._is_lost = True
            if not silent:
                self._out.put(_reset())

    def _read_on(self) -> None:
        while self._unread and self._is_reading and not self._is_closing:
            self._read(self._unread.popleft())

    def _read(self, item: Item) -> None:
        self._taken(item)
        if isinstance(item, bytes):
            self._protocol.data_received(item)
        else:
            self._heard_end = True
            if not self._protocol.eof_received():
                self.close()

    def _taken(self, item: Item) -> None:
        if isinstance(item, bytes):
            self._in.take_back(len(item))

    def _tear(self, error: OSError | None, *, tells: bool = True) -> None:
        """What has not gone out is given up."""
        unread = bool(self._unread)
        self._is_closing = True
        self._waiting.clear()
        self._unread.clear()
        self._waiting_bytes = 0
        if not self._is_lost:
            self._end(error, tells=_reset() if tells and unread else None, silent=not tells)

    def _end(self, error: OSError | None, *, tells: Item = None, silent: bool = False) -> None:
        self._is_lost = True
        if not silent:
            self._out.put(tells)
        self._network.soon(self._tell_lost, self.context, error)

    def _tell_lost(self, error: OSError | None) -> None:
        self._network.ended(self)
        if self._protocol is not None:
            self._protocol.connection_lost(error)


class SimSocket:
    """What libraries ask of the socket below a transport."""

    family = socket.AF_INET
    type = socket.SOCK_STREAM
    proto = socket.IPPROTO_TCP

    def __init__(self, transport: SimTransport, own: Address, other: Address) -> None:
        self._transport = transport
        self._own = own
        self._other = other

    def fileno(self) -> int:
        """A descriptor that is readable when this is: they poll it."""
        network = self._transport._network
        return network.readable_fd if self._transport.is_readable else network.quiet_fd

    def getsockname(self) -> Address:
        return self._own

    def getpeername(self) -> Address:
        return self._other

    def setsockopt(self, *_: object) -> None:
        """Nothing of it matters here."""

    def getsockopt(self, level: int, option: int, size: int = 0) -> int | bytes:
        if level == socket.SOL_SOCKET and option == socket.SO_PEERCRED:
            return struct.pack("3i", os.getpid(), os.geteuid(), os.getegid())
        return bytes(size) if size else 0


class SimServer(asyncio.AbstractServer):
    """What listens on an address of a machine."""

    def __init__(
        self, network: Network, factory: Callable[[], Any], address: Address, context: Context, sock: Any
    ) -> None:
        self._network = network
        self._sock = sock if sock is not None else _Listening(address)
        self.factory = factory
        self.address = address
        self.context = context

    @property
    def sockets(self) -> tuple[Any, ...]:
        return (self._sock,) if self.is_serving() else ()

    def get_loop(self) -> asyncio.AbstractEventLoop:
        return self._network.loop

    def is_serving(self) -> bool:
        return self._network.listeners.get(self.address) is self

    async def start_serving(self) -> None:
        """It does from the beginning."""

    async def serve_forever(self) -> None:
        await self._network.loop.create_future()

    def close(self) -> None:
        if self.is_serving():
            del self._network.listeners[self.address]
            self._sock.close()

    async def wait_closed(self) -> None:
        """Nothing is left to wait for."""


class _Listening:
    """A listening socket where none was given."""

    def __init__(self, address: Address) -> None:
        self._address = address

    def getsockname(self) -> Address:
        return self._address

    def close(self) -> None:
        """There is nothing behind it."""


def _reset() -> OSError:
    return ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))
