"""How the hub is known on its LAN now: written by the advertiser, read by whoever shows it or certifies it.

It is never a reason to be unwell: devices that know an address find the hub without it.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from hub.config import Settings
from medxz.program.settings import EVERY_INTERFACE, EVERY_IPV4
from medxz.wire import Check

OFF = "off: by --no-mdns or the setting `mdns`"
NOT_YET = "not announced yet"


def served_alone(settings: Settings, url: str) -> list[str] | None:
    """The addresses on which a hub is known that serves at this one: that one, or None for those of all interfaces."""
    if settings.bind_host in {EVERY_INTERFACE, EVERY_IPV4}:
        return None
    return [urlsplit(url).hostname or settings.bind_host]


@dataclass(slots=True)
class Presence:
    """One running hub's. `problem` says why it is not announced; None: it is."""

    problem: str | None = NOT_YET
    host: str | None = None
    addresses: tuple[str, ...] = ()
    _renamed: asyncio.Event = field(default_factory=asyncio.Event)

    def announced(self, host: str, addresses: tuple[str, ...]) -> None:
        if host != self.host:
            self._renamed.set()
        self.problem, self.host, self.addresses = None, host, addresses

    def silent(self, problem: str) -> None:
        """Nobody hears of it; the name stays the hub's."""
        self.problem, self.addresses = problem, ()

    async def renamed(self) -> None:
        """Wait until the host has another name than when this returned last. For one waiter."""
        await self._renamed.wait()
        self._renamed.clear()

    @property
    def names(self) -> list[str]:
        """Under which a browser may ask for it, beside those of every hub."""
        return [self.host] if self.host is not None else []

    def told(self) -> dict[str, Any]:
        """As `medxz-hub status` tells it."""
        return {"host": self.host, "addresses": list(self.addresses), "problem": self.problem}

    async def check(self) -> Check:
        """For /health: informational."""
        where = ", ".join(self.addresses)
        detail = f"{self.host} at {where}" if self.problem is None else f"not announced: {self.problem}"
        return Check(name="mdns", ok=True, detail=detail)
