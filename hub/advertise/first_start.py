"""`medxz.local` for a box that is no hub yet, so that a browser finds the page of its first start.

Nobody is told what it serves beyond a page: it is announced as a web page and as no hub. A name that another box of the
LAN has is left to it, and the next one is taken, as hubs do.
"""

from __future__ import annotations

import asyncio
import ipaddress
import secrets
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

from hub.advertise.advertiser import PROBE_S, PROBES
from hub.advertise.names import NUMBERED_MAX, host_name
from medxz import limits
from medxz.lan.announcement import in_order
from medxz.lan.multicast import Multicast
from medxz.lan.records import addresses_in_cache, ask_addresses

if TYPE_CHECKING:
    from zeroconf import Zeroconf

SERVICE: Final = "_http._tcp.local."


async def announce_page(port: int, called: Callable[[str | None], Awaitable[None]]) -> None:
    """Until it is cancelled; `called` hears the name, and None where there is no network to be known on."""
    mark = secrets.token_hex(4)
    async with Multicast() as multicast:
        while True:
            generation = multicast.generation
            await called(await _announced(multicast, port, mark))
            await multicast.reopened(generation)


async def _announced(multicast: Multicast, port: int, mark: str) -> str | None:
    from zeroconf.asyncio import AsyncServiceInfo

    own = [text for text in multicast.addresses if not ipaddress.ip_address(text).is_loopback]
    if multicast.zeroconf is None or not own:
        return None
    host = await _free_name(multicast.zeroconf.zeroconf, set(multicast.addresses), mark)
    info = AsyncServiceInfo(
        SERVICE,
        f"medxz hub, first start {mark}.{SERVICE}",
        port=port,
        server=host + ".",
        parsed_addresses=in_order(own)[: limits.ANNOUNCED_ADDRESSES_MAX],
    )
    await multicast.zeroconf.async_register_service(info, cooperating_responders=True)
    return host


async def _free_name(zeroconf: Zeroconf, own: set[str], mark: str) -> str:
    for number in range(1, NUMBERED_MAX + 1):
        host = host_name(number, mark)
        if not await _is_taken(zeroconf, host, own):
            return host
    return f"medxz-{mark}.local"


async def _is_taken(zeroconf: Zeroconf, host: str, own: set[str]) -> bool:
    for _ in range(PROBES):
        ask_addresses(zeroconf, host)
        await asyncio.sleep(PROBE_S)
        if any(text.partition("%")[0] not in own for text in addresses_in_cache(zeroconf, host)):
            return True
    return False
