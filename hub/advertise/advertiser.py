"""Announces the hub on its LAN for as long as it runs, and says goodbye.

It begins when the hub serves already and never ends it: what goes wrong here is told once and tried again. The host name
is probed before it is taken, because the library below does that for instances alone; afterwards the other hubs' are
watched. Refused: an announcement without an address that others could use.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NoReturn, Self
from urllib.parse import urlsplit

from structlog.typing import FilteringBoundLogger

from hub.advertise.names import NUMBERED_MAX, gives_way, host_name, others_called, shares
from hub.advertise.presence import Presence
from hub.config import Settings
from hub.identity import HubIdentity
from medxz import limits
from medxz.clock import Clock
from medxz.lan.announcement import SERVICE, Announcement, in_order, instance_name, to_txt
from medxz.lan.browsing import Browser
from medxz.lan.multicast import NO_INTERFACE, Multicast
from medxz.lan.records import addresses_in_cache, ask_addresses, say_goodbye
from medxz.loopback import is_loopback
from medxz.program.settings import EVERY_IPV4, PORT_DEFAULT
from medxz.waiting import first_of
from medxz.web.log import told

if TYPE_CHECKING:
    from zeroconf import Zeroconf
    from zeroconf.asyncio import AsyncServiceInfo

LOOK_S: Final = 10.0
ANNOUNCE_AGAIN_S: Final = 60.0
GOODBYE_S_MAX: Final = 1.0
BROKEN_S: Final = 30.0
PROBES: Final = 3
PROBE_S: Final = 0.25
# an address that was ours lately may still be answered for us
FORGET_OWN_S: Final = 300.0
# so many looks in a row find somebody else who is called so
DOUBTS_MAX: Final = 2


@dataclass(frozen=True, slots=True)
class Placed:
    """What the hub is and where it serves. `is_here`: nobody else is served."""

    server_id: str
    site_id: str
    port: int
    is_tls: bool
    is_here: bool
    ipv4_alone: bool
    fingerprint: Callable[[], str]

    @classmethod
    def of(cls, settings: Settings, url: str, identity: HubIdentity, fingerprint: Callable[[], str]) -> Self:
        """By what it was told to serve on, and where it came to serve."""
        met = urlsplit(url)
        return cls(
            identity.server_id, identity.site_id, met.port or PORT_DEFAULT, met.scheme == "https",
            is_loopback(settings.bind_host), settings.bind_host == EVERY_IPV4, fingerprint,
        )  # fmt: skip


class Advertiser:
    """One running hub's."""

    def __init__(
        self,
        placed: Placed,
        multicast: Multicast,
        presence: Presence,
        clock: Clock,
        say: FilteringBoundLogger,
    ) -> None:
        self._placed: Final = placed
        self._multicast: Final = multicast
        self._presence: Final = presence
        self._clock: Final = clock
        self._say: Final = say
        self._own: Final[dict[str, float]] = {}
        self._number = 0
        self._doubts = 0
        self._announced: Announcement | None = None
        self._info: AsyncServiceInfo | None = None
        self._last: tuple[str | None, tuple[str, ...]] = (None, ())
        self._heard: dict[str, str] = {}

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            try:
                await self._advertise()
            except Exception as error:  # noqa: BLE001  the root of a task: the hub goes on without
                self._presence.silent(f"a mistake of ours: {type(error).__name__}")
                self._say.error("mdns broke", **told(error))
            await self._clock.sleep(BROKEN_S)

    async def _advertise(self) -> None:
        async with self._multicast as multicast, Browser(multicast=multicast) as browser:
            try:
                await self._keep_announced(multicast, browser)
            finally:
                await self._withdraw(multicast)

    async def _keep_announced(self, multicast: Multicast, browser: Browser) -> NoReturn:
        generation, announced_at = 0, self._clock.monotonic()
        while True:
            if is_anew := multicast.generation != generation:
                generation, self._info = multicast.generation, None
            now = self._clock.monotonic()
            if is_anew or now - announced_at >= ANNOUNCE_AGAIN_S or self._is_disturbed(browser):
                announced_at, self._announced = now, None
            await self._step(multicast, browser)
            await first_of(multicast.reopened(generation), browser.next_change(), timeout_s=LOOK_S)

    async def _withdraw(self, multicast: Multicast) -> None:
        """Whoever heard of the hub hears that it goes."""
        if multicast.zeroconf is not None and self._info is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(GOODBYE_S_MAX):
                    await multicast.zeroconf.async_unregister_all_services()
        self._info = None

    async def _step(self, multicast: Multicast, browser: Browser) -> None:
        """Announce what is true now, where that was not announced yet."""
        addresses = self._addresses(multicast)
        if multicast.zeroconf is None or not addresses:
            self._silent(multicast.problem or NO_INTERFACE)
            return
        zeroconf = multicast.zeroconf.zeroconf
        await self._name(zeroconf, browser)
        placed = self._placed
        announcement = Announcement(
            placed.server_id, placed.site_id, placed.fingerprint(), placed.port, placed.is_tls,
            host_name(self._number, placed.server_id), tuple(addresses),
        )  # fmt: skip
        if announcement == self._announced or zeroconf.done:
            return
        await self._announce(zeroconf, announcement)

    def _addresses(self, multicast: Multicast) -> list[str]:
        """Those of this machine that are told: its own alone where it serves nobody else."""
        found = list(dict.fromkeys(multicast.addresses))
        if self._placed.ipv4_alone:
            found = [text for text in found if ":" not in text]
        if not self._placed.is_here:
            found = [text for text in found if not ipaddress.ip_address(text).is_loopback]
        found = in_order(found)[: limits.ANNOUNCED_ADDRESSES_MAX]
        now = self._clock.monotonic()
        for text, at in list(self._own.items()):
            if now - at > FORGET_OWN_S:
                del self._own[text]
        self._own.update(dict.fromkeys(multicast.addresses, now))
        return found

    async def _name(self, zeroconf: Zeroconf, browser: Browser) -> None:
        """Have a name that nobody else has: probe for the first, keep it, and take another where one must give way."""
        if self._number:
            if not self._must_give_way(zeroconf, browser):
                return
            self._say.info("mdns name is taken", host=self._host)
        self._doubts = 0
        self._number += 1
        while await self._is_taken(zeroconf, browser):
            self._number += 1

    @property
    def _host(self) -> str:
        return host_name(self._number, self._placed.server_id)

    def _others(self, browser: Browser) -> list[Announcement]:
        return [one for one in browser.found().values() if one.server_id != self._placed.server_id]

    async def _is_taken(self, zeroconf: Zeroconf, browser: Browser) -> bool:
        if self._number > NUMBERED_MAX:
            return False  # the last one has our id in it: whoever else has it is up to no good
        for _ in range(PROBES):
            ask_addresses(zeroconf, self._host)
            await asyncio.sleep(PROBE_S)
            hubs = self._others(browser)
            answered = addresses_in_cache(zeroconf, self._host)
            if any(hub.host == self._host for hub in hubs) or others_called(
                self._host, answered, self._own, hubs
            ):
                return True
        return False

    def _must_give_way(self, zeroconf: Zeroconf, browser: Browser) -> bool:
        if self._number > NUMBERED_MAX:
            return False
        hubs = self._others(browser)
        if gives_way(self._host, self._placed.server_id, hubs):
            return True
        own = self._own.keys() | shares(self._host, self._placed.server_id, hubs)
        is_foreign = others_called(self._host, addresses_in_cache(zeroconf, self._host), own, hubs)
        self._doubts = self._doubts + 1 if is_foreign else 0
        return self._doubts >= DOUBTS_MAX

    def _is_disturbed(self, browser: Browser) -> bool:
        """Whether another hub had this one's name, or has: whoever heard it may have forgotten ours for it."""
        before, self._heard = self._heard, {one.server_id: one.host for one in self._others(browser)}
        changed = {
            host
            for name in before.keys() | self._heard.keys()
            if before.get(name) != self._heard.get(name)
            for host in (before.get(name), self._heard.get(name))
        }
        return self._number > 0 and self._host in changed

    async def _announce(self, zeroconf: Zeroconf, announcement: Announcement) -> None:
        from zeroconf.asyncio import AsyncServiceInfo

        info = AsyncServiceInfo(
            SERVICE,
            f"{instance_name(announcement.server_id)}.{SERVICE}",
            port=announcement.port,
            properties=to_txt(announcement),
            server=announcement.host + ".",
            parsed_addresses=list(announcement.addresses),
        )
        if self._info is None:
            # an instance has the hub's id in its name: there is nobody to ask whether it is free
            await zeroconf.async_register_service(info, cooperating_responders=True)
        else:
            await zeroconf.async_update_service(info)
        ask_addresses(zeroconf, announcement.host)
        self._info, self._announced = info, announcement
        presence = self._presence
        if (presence.host, presence.addresses) != (announcement.host, announcement.addresses):
            self._take_back(zeroconf, announcement)
            self._say.info("mdns announced", host=announcement.host, addresses=announcement.addresses)
        presence.announced(announcement.host, announcement.addresses)

    def _take_back(self, zeroconf: Zeroconf, announcement: Announcement) -> None:
        """What was announced before and is not so any longer."""
        host, before = self._last
        gone = set(before) - (set(announcement.addresses) if host == announcement.host else set())
        if host is not None and gone:
            say_goodbye(zeroconf, host, gone)
        self._last = announcement.host, announcement.addresses

    def _silent(self, problem: str) -> None:
        if self._presence.problem != problem:
            self._say.info("mdns not possible", why=problem)
        self._announced = self._info = None
        self._presence.silent(problem)
