"""What a hub announces of itself by DNS-SD, as text and back. Pure; docs/protocol.md section 9 is the contract.

Refused by `from_txt`, with a ValueError that says what: a version other than ours, ids that are none, a fingerprint
that is none, more than an announcement holds. Anybody on the LAN can write these bytes.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from medxz import limits
from medxz.ids import is_uuid

SERVICE: Final = "_medxz-sync._tcp.local."
PATH: Final = "/v1"
VERSION: Final = "1"
# of an instance: after this, the last of the server_id
INSTANCE: Final = "medxz-"
INSTANCE_ID_CHARS: Final = 8

_FINGERPRINT: Final = re.compile(r"[0-9a-f]{64}")
_HOST: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?){0,8}")
_SCOPE: Final = re.compile(r"[A-Za-z0-9._-]{1,32}")


@dataclass(frozen=True, slots=True)
class Announcement:
    """One hub, as it says. `addresses` are text, IPv6 of one link with `%interface` where that is known."""

    server_id: str
    site_id: str
    fingerprint: str
    port: int
    is_tls: bool
    host: str
    addresses: tuple[str, ...]
    path: str = PATH
    version: str = VERSION


def instance_name(server_id: str) -> str:
    """By which the DNS-SD instance of this server is called; unique where two hubs share a LAN."""
    return INSTANCE + server_id[-INSTANCE_ID_CHARS:]


def to_txt(announcement: Announcement) -> dict[str, str]:
    """The TXT record; host, port and addresses have records of their own."""
    return {
        "v": announcement.version,
        "id": announcement.server_id,
        "site": announcement.site_id,
        "tls": "1" if announcement.is_tls else "0",
        "fp": announcement.fingerprint,
        "path": announcement.path,
    }


def from_txt(
    txt: Mapping[bytes, bytes | None], *, host: str, port: int, addresses: Sequence[str]
) -> Announcement:
    """What was announced; ValueError where it is not lawful."""
    if _text(txt, "v") != VERSION:
        raise ValueError("another version of announcements")
    if _text(txt, "path") != PATH:
        raise ValueError("another path than ours")
    ids = {name: _text(txt, name) for name in ("id", "site")}
    for name, value in ids.items():
        if not is_uuid(value):
            raise ValueError(f"{name} is no UUID")
    tls, fingerprint = _text(txt, "tls"), _text(txt, "fp")
    if tls not in {"0", "1"}:
        raise ValueError("tls is neither 0 nor 1")
    if _FINGERPRINT.fullmatch(fingerprint) is None:
        raise ValueError("fp is no fingerprint")
    if not 0 < port < 65_536:
        raise ValueError("no port")
    return Announcement(
        ids["id"], ids["site"], fingerprint, port, tls == "1", _host(host), _addresses(addresses)
    )


def urls(announcement: Announcement) -> list[str]:
    """Where it can be asked, the likeliest first; without TLS on this machine alone."""
    scheme = "https" if announcement.is_tls else "http"
    return [
        f"{scheme}://{f'[{text}]' if ':' in text else text}:{announcement.port}"
        for text in in_order(announcement.addresses)
        if announcement.is_tls or _parsed(text).is_loopback
    ]


def in_order(addresses: Sequence[str]) -> list[str]:
    """IPv4 before IPv6, and those that hold on one link alone last."""
    return sorted(addresses, key=lambda text: (_parsed(text).is_link_local, ":" in text))


def _text(txt: Mapping[bytes, bytes | None], name: str) -> str:
    value = txt.get(name.encode())
    if value is None:
        raise ValueError(f"{name} is missing")
    return value.decode("ascii")  # a UnicodeDecodeError is a ValueError


def _host(text: str) -> str:
    host = text.rstrip(".").lower()
    if _HOST.fullmatch(host) is None:
        raise ValueError("no name of a host")
    return host


def _addresses(given: Sequence[str]) -> tuple[str, ...]:
    """Those that can be asked. This machine's own count only where there are no others: nobody is sent to himself."""
    found = list(dict.fromkeys(given))
    if len(found) > limits.ANNOUNCED_ADDRESSES_MAX:
        raise ValueError("more addresses than a hub has")
    met = [text for text in found if not (_parsed(text).is_multicast or _parsed(text).is_unspecified)]
    elsewhere = [text for text in met if not _parsed(text).is_loopback]
    return tuple(in_order(elsewhere or met))


def _parsed(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    address = ipaddress.ip_address(text)
    if address.version == 6 and address.scope_id is not None and _SCOPE.fullmatch(address.scope_id) is None:
        raise ValueError("no interface")
    return address
