"""The socket on which systemd hears of a service, and what is told on it. Without systemd nothing happens."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Mapping


def notify_address(environ: Mapping[str, str]) -> str | None:
    """The socket that systemd named, if it named one."""
    address = environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return None
    # "@name" is a socket without a file: its address begins with a zero byte
    return "\0" + address[1:] if address.startswith("@") else address


def tell_systemd(status: str, environ: Mapping[str, str]) -> bool:
    """What a service that ends has to say, for `systemctl status`; whether this is a service at all."""
    address = notify_address(environ)
    if address is None:
        return False
    with (
        contextlib.suppress(OSError),
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as telling,
    ):
        telling.setblocking(False)
        telling.sendto(f"STATUS={status}".encode(), address)
    return True
