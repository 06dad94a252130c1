"""A slow and lossy link: a process of its own that carries frames between a TAP in each of two namespaces.

`python link.py SEED NAMESPACE DEVICE NAMESPACE DEVICE` says `ready`, and takes a line of JSON on its standard input
whenever the link changes: {"delay_s": each way, "loss": 0…1}. Which frames are lost follows from the seed and the order
in which they come. Frames keep their order; what does not fit the queue is lost, as in a router.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import random
import select
import struct
import sys
import time
from collections import deque
from typing import Final

FRAME_BYTES_MAX: Final = 2_048
QUEUE_FRAMES_MAX: Final = 2_000
_CLONE_NEWNET: Final = 0x40000000
_TUNSETIFF: Final = 0x400454CA
_IFF_TAP: Final = 0x0002
_IFF_NO_PI: Final = 0x1000
_FOREVER_MS: Final = 60_000.0


class Way:
    """One direction: frames that are under way, and when each is due."""

    def __init__(self, source: int, sink: int, seed: str) -> None:
        self.source = source
        self.sink = sink
        self._random = random.Random(seed)
        self._frames: deque[tuple[float, bytes]] = deque()

    def take(self, delay_s: float, loss: float) -> None:
        """Whatever has come."""
        while True:
            try:
                frame = os.read(self.source, FRAME_BYTES_MAX)
            except BlockingIOError:
                return
            if self._random.random() >= loss and len(self._frames) < QUEUE_FRAMES_MAX:
                self._frames.append((time.monotonic() + delay_s, frame))

    def give(self) -> float:
        """Whatever is due; how many milliseconds later the next is."""
        now = time.monotonic()
        while self._frames and self._frames[0][0] <= now:
            _, frame = self._frames.popleft()
            with contextlib.suppress(OSError):  # the device is down or its queue is full: lost
                os.write(self.sink, frame)
        return (self._frames[0][0] - now) * 1_000 if self._frames else _FOREVER_MS


def open_tap(namespace: str, device: str) -> int:
    with open(f"/run/netns/{namespace}", "rb") as there:  # noqa: PTH123  # a descriptor is all that is wanted
        if ctypes.CDLL(None, use_errno=True).setns(there.fileno(), _CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"setns {namespace}")
    tap = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tap, _TUNSETIFF, struct.pack("16sH22x", device.encode(), _IFF_TAP | _IFF_NO_PI))
    return tap


def main(seed: str, *places: str) -> None:
    one, other = open_tap(*places[:2]), open_tap(*places[2:])
    ways = {one: Way(one, other, f"{seed}>"), other: Way(other, one, f"{seed}<")}
    poll = select.poll()
    for descriptor in (0, one, other):
        poll.register(descriptor, select.POLLIN)
    delay_s, loss = 0.0, 0.0
    print("ready", flush=True)
    while True:
        wait_ms = min(way.give() for way in ways.values())
        for descriptor, _ in poll.poll(max(0.0, wait_ms)):
            if descriptor in ways:
                ways[descriptor].take(delay_s, loss)
                continue
            line = sys.stdin.readline()
            if not line:
                return  # whoever started it has gone
            told = json.loads(line)
            delay_s, loss = told["delay_s"], told["loss"]


if __name__ == "__main__":
    main(*sys.argv[1:])
