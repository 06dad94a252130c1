"""What systemd is told: ready, what is going on, still alive, stopping. Without systemd nothing happens.

The sign of life comes only while the probe answers: a server whose event loop or writer hangs is restarted.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Awaitable, Callable, Mapping

import structlog

from medxz.clock import Clock
from medxz.program.systemd import notify_address

Probe = Callable[[], Awaitable[bool]]


class Notifier:
    """Writes to the socket that systemd named, if it named one."""

    def __init__(self, environ: Mapping[str, str], log: structlog.typing.FilteringBoundLogger) -> None:
        self._log = log
        self._socket: socket.socket | None = None
        address = notify_address(environ)
        if address is not None:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._socket.setblocking(False)
            self._address = address
        self.watchdog_s = _watchdog_seconds(environ)

    @property
    def is_heard(self) -> bool:
        """Whether this is a service of systemd's."""
        return self._socket is not None

    def ready(self, status: str) -> None:
        self._tell(f"READY=1\nSTATUS={status}")

    def status(self, text: str) -> None:
        self._tell(f"STATUS={text}")

    def stopping(self) -> None:
        self._tell("STOPPING=1")

    async def keep_alive(self, probe: Probe, clock: Clock) -> None:
        """Give signs of life, as often as asked for, while the probe answers yes in time. Runs until cancelled."""
        if self._socket is None or self.watchdog_s is None:
            return
        every_s = self.watchdog_s / 2
        while True:
            if await _answers(probe, every_s / 2):
                self._tell("WATCHDOG=1")
            else:
                self._log.error("watchdog withheld", detail="the writer did not answer in time")
            await clock.sleep(every_s)

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _tell(self, text: str) -> None:
        if self._socket is None:
            return
        try:
            self._socket.sendto(text.encode(), self._address)
        except OSError as error:
            # the server serves on whether or not anybody listens
            self._log.warning("notify failed", detail=error.strerror)


async def _answers(probe: Probe, within_s: float) -> bool:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(within_s):
            return await probe()
    return False


def _watchdog_seconds(environ: Mapping[str, str]) -> float | None:
    """The time within which systemd wants a sign of life, if it wants one from this process."""
    text = environ.get("WATCHDOG_USEC", "")
    for_us = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
    if not text.isdecimal() or int(text) == 0 or not for_us:
        return None
    return int(text) / 1_000_000
