"""Which hubs are neighbours, and where they may be met. Pure.

Neighbours are the hubs that the clinic's directory has at this hub's own site and has not seen revoked: nobody else,
whatever is announced on the LAN. An announcement only says where to look. Refused: one of a CA that is not the clinic's,
an address without TLS on another machine, more neighbours or addresses than there can be.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from typing import Final
from urllib.parse import urlsplit

from medxz.lan.announcement import Announcement, urls
from medxz.loopback import is_loopback
from medxz.store.directory import Directory, HubEntry

NEIGHBOURS_MAX: Final = 8
URLS_MAX: Final = 8


def neighbours_of(
    hub_id: str,
    site_id: str,
    directory: Directory,
    announced: Iterable[Announcement],
    fingerprints: AbstractSet[str],
) -> dict[str, tuple[str, ...]]:
    """The neighbours of this hub, each with its addresses; `fingerprints` are those of the clinic's CAs."""
    own = directory.hubs.get(hub_id)
    if own is not None and own.revoked:
        return {}
    here = sorted(
        hub.hub_id
        for hub in directory.hubs.values()
        if hub.site_id == site_id and not hub.revoked and hub.hub_id != hub_id
    )
    told: dict[str, list[str]] = {neighbour: [] for neighbour in here[:NEIGHBOURS_MAX]}
    for announcement in announced:
        if announcement.server_id in told and announcement.fingerprint in fingerprints:
            told[announcement.server_id] += urls(announcement)
    return {neighbour: _urls(directory.hubs[neighbour], heard) for neighbour, heard in told.items()}


def _urls(hub: HubEntry, heard: list[str]) -> tuple[str, ...]:
    """What was heard is newer than what the cloud wrote down, and what it wrote down crosses a router."""
    written = [hub.url] if hub.url is not None and _may_be_asked(hub.url) else []
    return tuple(dict.fromkeys([*heard[: URLS_MAX - 1], *written]))


def _may_be_asked(url: str) -> bool:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return False
    return bool(host) and (parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host or "")))
