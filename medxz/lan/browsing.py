"""Hearing which hubs are on the LAN: what they announce, as it comes and goes.

Nothing here is trusted, and nothing is asked of a hub: who uses an announcement proves whom he meets. More than
`limits.ANNOUNCED_MAX` are not kept, what is not lawful is not told, and a machine without mDNS hears nobody and says why.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from functools import partial
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Final, Self

from medxz import limits
from medxz.lan.announcement import SERVICE, Announcement, from_txt
from medxz.lan.multicast import Multicast

if TYPE_CHECKING:
    from zeroconf import ServiceStateChange, Zeroconf
    from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo

RESOLVE_MS: Final = 3_000
# addresses that are over stay in the cache for a second: after this it is read once more
READ_AGAIN_S: Final = 1.5
# what was heard before the interfaces changed, and is not heard again, is forgotten after this
CONFIRM_S: Final = 6.0
QUIET_S: Final = 0.3


class Browser:
    """Hears hubs for as long as it is entered. `interfaces`: addresses of this machine to listen on; None: all."""

    def __init__(
        self, interfaces: Sequence[str] | None = None, *, multicast: Multicast | None = None
    ) -> None:
        """With `multicast`, hear by sockets that others use too."""
        self._multicast: Final = multicast or Multicast(interfaces)
        self._found: Final[dict[str, Announcement]] = {}
        self._unconfirmed: set[str] = set()
        self._changed: Final = asyncio.Event()
        self._resolving: Final[dict[str, asyncio.Task[None]]] = {}
        self._browser: AsyncServiceBrowser | None = None
        self._unlisten: Callable[[], None] = lambda: None
        self._reading: asyncio.TimerHandle | None = None
        self._following: asyncio.Task[None] | None = None
        self._stack: Final = AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self._multicast)
        generation = self._multicast.generation
        self._begin()
        self._following = asyncio.create_task(self._follow(generation), name="mdns-browsing")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        ending = [*self._resolving.values(), *([self._following] if self._following is not None else [])]
        for task in ending:
            task.cancel()
        await asyncio.gather(*ending, return_exceptions=True)
        if self._reading is not None:
            self._reading.cancel()
        self._end()
        await self._stack.aclose()

    @property
    def problem(self) -> str | None:
        """Why nobody can be heard; None: somebody can."""
        return self._multicast.problem

    def found(self) -> Mapping[str, Announcement]:
        """What is announced now, by the names of the DNS-SD instances."""
        return MappingProxyType(self._found)

    async def next_change(self) -> None:
        """Wait until `found` is another than when this returned last. For one waiter."""
        await self._changed.wait()
        self._changed.clear()

    async def settle(self, timeout_s: float) -> None:
        """Wait until somebody was heard and nothing more comes, or for so long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                seen: dict[str, Announcement] | None = None
                while not self._found or self._resolving or seen != self._found:
                    seen = dict(self._found)
                    await asyncio.sleep(QUIET_S)

    async def _follow(self, generation: int) -> None:
        """Listen on the sockets that there are, whenever they are others."""
        while True:
            await self._multicast.reopened(generation)
            generation = self._multicast.generation
            self._end()
            for task in self._resolving.values():
                task.cancel()
            self._unconfirmed = set(self._found)
            asyncio.get_running_loop().call_later(CONFIRM_S, self._forget_unconfirmed)
            self._begin()

    def _begin(self) -> None:
        if self._multicast.zeroconf is None:
            return
        from zeroconf.asyncio import AsyncServiceBrowser

        from medxz.lan.records import AddressListener

        zeroconf = self._multicast.zeroconf.zeroconf
        self._browser = AsyncServiceBrowser(zeroconf, SERVICE, handlers=[self._on_change])
        listener = AddressListener(self._on_addresses)
        zeroconf.async_add_listener(listener, None)
        self._unlisten = partial(zeroconf.async_remove_listener, listener)

    def _end(self) -> None:
        if self._browser is not None:
            self._browser._async_cancel()  # noqa: SLF001  what its coroutine does; nothing is awaited in it
            self._browser = None
            self._unlisten()

    def _forget_unconfirmed(self) -> None:
        for name in set(self._unconfirmed):
            self._forget(name)

    def _on_change(
        self, zeroconf: Zeroconf, service_type: str, name: str, state_change: ServiceStateChange
    ) -> None:
        del service_type  # there is but one
        if state_change.name == "Removed":
            self._forget(name)
        elif name in self._resolving or len(self._resolving) < limits.ANNOUNCED_MAX:
            if name in self._resolving:
                self._resolving.pop(name).cancel()
            resolving = asyncio.create_task(self._resolve(zeroconf, name), name="mdns-resolving")
            self._resolving[name] = resolving
            resolving.add_done_callback(lambda task: self._resolved(name, task))

    def _resolved(self, name: str, task: asyncio.Task[None]) -> None:
        if self._resolving.get(name) is task:
            del self._resolving[name]

    async def _resolve(self, zeroconf: Zeroconf, name: str) -> None:
        from zeroconf import BadTypeInNameException
        from zeroconf.asyncio import AsyncServiceInfo

        try:
            info = AsyncServiceInfo(SERVICE, name)
        except BadTypeInNameException:  # anybody can say any name
            return
        if await info.async_request(zeroconf, RESOLVE_MS):
            self._take(name, info)

    def _on_addresses(self) -> None:
        if self._reading is None:
            self._reading = asyncio.get_running_loop().call_later(READ_AGAIN_S, self._read_again)

    def _read_again(self) -> None:
        """Of those that are known: nothing else tells that an address has gone."""
        from zeroconf.asyncio import AsyncServiceInfo

        self._reading = None
        if self._multicast.zeroconf is None:
            return
        for instance in list(self._found):
            info = AsyncServiceInfo(SERVICE, f"{instance}.{SERVICE}")
            if info.load_from_cache(self._multicast.zeroconf.zeroconf):
                self._take(info.name, info)

    def _take(self, name: str, info: AsyncServiceInfo) -> None:
        instance = _instance(name)
        if instance not in self._found and len(self._found) >= limits.ANNOUNCED_MAX:
            return
        try:
            announced = from_txt(
                info.properties,
                host=info.server or "",
                port=info.port or 0,
                addresses=info.parsed_scoped_addresses(),
            )
        except ValueError:
            self._forget(name)
            return
        self._unconfirmed.discard(instance)
        if self._found.get(instance) != announced:
            self._found[instance] = announced
            self._changed.set()

    def _forget(self, name: str) -> None:
        instance = _instance(name)
        self._unconfirmed.discard(instance)
        if self._found.pop(instance, None) is not None:
            self._changed.set()


def _instance(name: str) -> str:
    return name.removesuffix("." + SERVICE)
