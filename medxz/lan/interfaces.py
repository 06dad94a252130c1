"""The machine's interfaces and their addresses, and when they change.

Linux says at once that something changed; elsewhere, or where it may not say so, a slow look finds it.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import socket
import struct
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

if sys.platform == "linux":
    import fcntl

LOOK_S: Final = 30.0
# what comes in bursts, as when a cable is plugged in, is answered once
SETTLE_S: Final = 0.25

_GET_FLAGS: Final = 0x8913
_REQUEST: Final = struct.Struct("16sh22x")
_IS_RUNNING: Final = 0x41  # up, and with a link
_LINKS_AND_ADDRESSES: Final = 0x1 | 0x10 | 0x100  # RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR


@dataclass(frozen=True, slots=True)
class Interface:
    """One that runs. Addresses are text, those of IPv6 that hold on this link alone without saying so."""

    name: str
    index: int
    ipv4: tuple[str, ...]
    ipv6: tuple[str, ...]

    @property
    def addresses(self) -> tuple[str, ...]:
        return self.ipv4 + self.ipv6


def running_interfaces() -> list[Interface]:
    """Those that have an address and a link; loopback is one of them. It may block for a moment."""
    import ifaddr  # it looks for the C library by running a program

    found = []
    for adapter in ifaddr.get_adapters():
        ipv4 = tuple(sorted(one.ip for one in adapter.ips if isinstance(one.ip, str)))
        ipv6 = tuple(sorted(one.ip[0] for one in adapter.ips if isinstance(one.ip, tuple)))
        if (ipv4 or ipv6) and _is_running(adapter.name):
            found.append(Interface(adapter.nice_name, adapter.index or 0, ipv4, ipv6))
    return sorted(found, key=lambda one: (one.index, one.name))


def addresses_of(interfaces: Sequence[Interface]) -> list[str]:
    """All addresses by which somebody else can meet this machine."""
    found = {text for one in interfaces for text in one.addresses}
    return sorted(text for text in found if not ipaddress.ip_address(text).is_loopback)


class InterfaceWatch:
    """Tells when they are others than they were. One waiter at a time."""

    def __init__(self, look_s: float = LOOK_S) -> None:
        self._look_s: Final = look_s
        self._hint: Final = asyncio.Event()
        self._socket: socket.socket | None = None
        self._last: list[Interface] = []

    async def start(self) -> None:
        self._last = await asyncio.to_thread(running_interfaces)
        self._socket = _telling_socket()
        if self._socket is not None:
            asyncio.get_running_loop().add_reader(self._socket.fileno(), self._told)

    def stop(self) -> None:
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket.fileno())
            self._socket.close()
            self._socket = None

    @property
    def interfaces(self) -> list[Interface]:
        """As they were when it looked last."""
        return self._last

    async def changed(self) -> list[Interface]:
        """The interfaces, once they are others than before."""
        while True:
            now = await asyncio.to_thread(running_interfaces)
            if now != self._last:
                self._last = now
                return now
            with suppress(TimeoutError):
                async with asyncio.timeout(self._look_s):
                    await self._hint.wait()
                    await asyncio.sleep(SETTLE_S)
            self._hint.clear()

    def _told(self) -> None:
        assert self._socket is not None
        with suppress(OSError):  # too much was told at once: that something changed is all that counts
            while self._socket.recv(65_536):
                pass
        self._hint.set()


def _telling_socket() -> socket.socket | None:
    """The kernel's, which says what happens to interfaces; None where there is none to be had."""
    if sys.platform != "linux":
        return None
    telling = None
    try:
        telling = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        )
        telling.bind((0, _LINKS_AND_ADDRESSES))
    except OSError:
        if telling is not None:
            telling.close()
        return None
    return telling


def _is_running(name: str) -> bool:
    if sys.platform != "linux":
        return True
    request = _REQUEST.pack(os.fsencode(name)[:15], 0)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as asking:
        try:
            _, flags = _REQUEST.unpack(fcntl.ioctl(asking, _GET_FLAGS, request))
        except OSError:
            return False  # it went just now
    return bool(flags & _IS_RUNNING == _IS_RUNNING)
