"""The names and addresses by which this machine can be met, for its certificate."""

from __future__ import annotations

import fcntl
import ipaddress
import re
import socket
import struct
from pathlib import Path
from typing import Final

_SIOCGIFADDR: Final = 0x8915
_INTERFACE_REQUEST: Final = struct.Struct("16s240x")
_HOST_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*")


def host_names() -> list[str]:
    """The machine's own name, alone and under `.local`; none where it is not one that DNS could have."""
    name = socket.gethostname().lower()
    if _HOST_NAME.fullmatch(name) is None:
        return []
    return [name] if "." in name else [name, f"{name}.local"]


def machine_addresses() -> list[str]:
    """Every address of an interface but loopback's and those that hold on one link alone, sorted."""
    found = {*_ipv4(), *_ipv6()}
    return sorted(text for text in found if _reachable(text))


def _reachable(text: str) -> bool:
    address = ipaddress.ip_address(text)
    return not (address.is_loopback or address.is_link_local or address.is_unspecified)


def _ipv4() -> list[str]:
    found = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        for _, name in socket.if_nameindex():
            try:
                answer = fcntl.ioctl(asking, _SIOCGIFADDR, _INTERFACE_REQUEST.pack(name.encode()))
            except OSError:
                continue  # an interface without an address
            found.append(socket.inet_ntoa(answer[20:24]))
    return found


def _ipv6(table: Path = Path("/proc/net/if_inet6")) -> list[str]:
    try:
        lines = table.read_text("ascii").splitlines()
    except OSError:
        return []  # a kernel without IPv6
    return [str(ipaddress.IPv6Address(bytes.fromhex(line.split()[0]))) for line in lines]
