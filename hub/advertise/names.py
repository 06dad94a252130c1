"""Which host name a hub takes on a LAN: `medxz.local`, then `medxz-2.local` and so on, and who gives way. Pure.

Names are the business of browsers and people: no device trusts one (docs/decisions/0061).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

from medxz.lan.announcement import Announcement, instance_name

NUMBERED_MAX: Final = 9


def host_name(number: int, server_id: str) -> str:
    """The name of this number, from 1; beyond the last one that nobody else takes."""
    if number > NUMBERED_MAX:
        return f"{instance_name(server_id)}.local"
    return "medxz.local" if number <= 1 else f"medxz-{number}.local"


def others_called(
    host: str, answered: Iterable[str], own: Collection[str], hubs: Iterable[Announcement]
) -> bool:
    """Whether these addresses, which were answered for a name, are those of somebody who is called so.

    `own` are this hub's, those it had lately too. What a hub has that says it is called otherwise is an old answer.
    """
    elsewhere = {address for hub in hubs if hub.host != host for address in plain(hub.addresses)}
    return any(address not in own and address not in elsewhere for address in plain(answered))


def gives_way(host: str, server_id: str, hubs: Iterable[Announcement]) -> bool:
    """Whether another hub is called so that comes before this one: of two, the one with the greater id takes another."""
    return any(hub.host == host and hub.server_id < server_id for hub in hubs)


def shares(host: str, server_id: str, hubs: Iterable[Announcement]) -> set[str]:
    """The addresses of other hubs of that name, which are to give way themselves."""
    return {
        address
        for hub in hubs
        if hub.host == host and hub.server_id > server_id
        for address in plain(hub.addresses)
    }


def plain(addresses: Iterable[str]) -> set[str]:
    """Without the interface on which an address was heard."""
    return {address.partition("%")[0] for address in addresses}
