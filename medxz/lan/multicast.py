"""The machine's mDNS sockets: on every interface that runs, made anew when interfaces or addresses change.

Where there are none to be had (no interface, a system that forbids them) it says why and tries again; nobody gets an
exception for it. The library behind is loaded when it is first needed, in a thread: it takes a while on a small machine.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from medxz.lan.interfaces import Interface, InterfaceWatch

if TYPE_CHECKING:
    from zeroconf.asyncio import AsyncZeroconf

RETRY_S: Final = 30.0
CLOSE_S_MAX: Final = 1.0
# of Linux; the module socket has no names for them
_IP_MULTICAST_ALL: Final = 49
_IPV6_MULTICAST_ALL: Final = 29
_HERE: Final = "127.0.0.1"
NO_INTERFACE: Final = "no interface with an address is up"


class Multicast:
    """mDNS on this machine, for as long as anybody has entered it. `only`: on these addresses of it; None: on all.

    Whoever in a program speaks mDNS shares one: of two, each would miss what is answered to one socket alone.
    """

    def __init__(self, only: Sequence[str] | None = None) -> None:
        self._only: Final = only
        self._watch: Final = InterfaceWatch()
        self._following: asyncio.Task[None] | None = None
        self._users = 0
        self._changed: Final = asyncio.Condition()
        self.zeroconf: AsyncZeroconf | None = None
        self.problem: str | None = None
        self.interfaces: list[Interface] = []
        # of the sockets: how often they were made, or tried to
        self.generation = 0

    async def __aenter__(self) -> Self:
        self._users += 1
        if self._users == 1:
            try:
                await self._start()
            except BaseException:
                await self._leave()
                raise
        return self

    async def _start(self) -> None:
        try:
            await asyncio.to_thread(importlib.import_module, "zeroconf.asyncio")
        except ImportError as error:
            self.problem = f"mDNS can't be loaded: {error}"
            return
        await self._watch.start()
        before = self.generation
        self._following = asyncio.create_task(self._follow(), name="mdns-interfaces")
        await self.reopened(before)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._leave()

    async def _leave(self) -> None:
        self._users -= 1
        if self._users:
            return
        if self._following is not None:
            self._following.cancel()
            await asyncio.wait([self._following])
            self._following = None
        self._watch.stop()
        await self._close()

    @property
    def addresses(self) -> list[str]:
        """Those of this machine that it speaks on."""
        return [text for one in self.interfaces for text in one.addresses]

    async def reopened(self, generation: int) -> None:
        """Wait for sockets later than of this generation."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.generation > generation)

    async def _follow(self) -> None:
        while True:
            await self._reopen(self._watch.interfaces)
            is_sick = self.problem not in {None, NO_INTERFACE}
            with suppress(TimeoutError):
                async with asyncio.timeout(RETRY_S if is_sick else None):
                    await self._watch.changed()

    async def _reopen(self, interfaces: list[Interface]) -> None:
        """Close what was open and open what is there now.

        The sockets are not mended one by one: a group that was joined by an address that has gone since can neither be
        left nor joined again on the same socket.
        """
        from zeroconf.asyncio import AsyncZeroconf

        if self.zeroconf is not None:  # who heard us does not hear us go
            registry = self.zeroconf.zeroconf.registry
            registry.async_remove(registry.async_get_service_infos())
        await self._close()
        self.interfaces = [one for one in map(self._meant, interfaces) if one.addresses]
        self.problem = None
        try:
            if not self.interfaces:
                self.problem = NO_INTERFACE
            else:
                self.zeroconf = AsyncZeroconf(interfaces=self._sockets())
                await self.zeroconf.zeroconf.async_wait_for_start()
                _hear_own_interfaces_alone(self.zeroconf)
        except (OSError, RuntimeError) as error:  # the system forbids it; an interface went in between
            self.problem = getattr(error, "strerror", None) or str(error)
            await self._close()
        async with self._changed:
            self.generation += 1
            self._changed.notify_all()

    def _meant(self, interface: Interface) -> Interface:
        """The interface with those of its addresses that are meant. Loopback has all of 127.0.0.0/8."""
        if self._only is None:
            return interface
        found = [text for text in self._only if text in interface.addresses]
        if _HERE in interface.ipv4:
            found += [text for text in self._only if text not in found and text.startswith("127.")]
        ipv4, ipv6 = ([text for text in found if (":" in text) is kind] for kind in (False, True))
        return replace(interface, ipv4=tuple(ipv4), ipv6=tuple(ipv6))

    def _sockets(self) -> list[str | int]:
        """What the library opens: for each interface an address of IPv4, and its number for IPv6."""
        found: list[str | int] = []
        for one in self.interfaces:
            found += one.ipv4[:1]
            if one.index and one.ipv6:
                found.append(one.index)
        return found

    async def _close(self) -> None:
        closing, self.zeroconf = self.zeroconf, None
        if closing is not None:
            with suppress(TimeoutError, OSError):
                await asyncio.wait_for(closing.async_close(), CLOSE_S_MAX)


def _hear_own_interfaces_alone(zeroconf: AsyncZeroconf) -> None:
    """Linux hands a socket whatever any program of the machine has joined: a hub on loopback would answer the LAN."""
    if sys.platform != "linux":
        return
    for reader in zeroconf.zeroconf.engine.readers:
        with socket.socket(fileno=os.dup(reader.fileno)) as listening:
            listening.setsockopt(socket.IPPROTO_IP, _IP_MULTICAST_ALL, 0)
            if listening.family == socket.AF_INET6:
                listening.setsockopt(socket.IPPROTO_IPV6, _IPV6_MULTICAST_ALL, 0)
