"""A server as a tablet of a soak reaches it: over the links, and with a note of each acknowledgement as it comes."""

from __future__ import annotations

import ssl
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TextIO

from medxz import wire
from medxz.device.reach import Server
from medxz.peer import Ear, Peer, TokenSource

STORED = frozenset({"accepted", "duplicate", "conflict"})


class Notes:
    """What was recorded and what was acknowledged, a line each in a file, so that memory does not grow by it."""

    def __init__(self, file: Path) -> None:
        self._file: TextIO = file.open("w", buffering=1)
        self.push_ms: list[float] = []
        self.acknowledged = 0

    def recorded(self, op_id: str) -> None:
        self._file.write(f"recorded {op_id}\n")

    def answered(self, answer: wire.PushAnswer, seconds: float) -> None:
        self.push_ms.append(seconds * 1_000)
        for result in answer.results:
            if result.status in STORED:
                self.acknowledged += 1
                self._file.write(f"acknowledged {result.op_id} {answer.server_id}\n")

    def taken_ms(self) -> list[float]:
        """How long pushes took since this was asked last."""
        taken, self.push_ms = self.push_ms, []
        return taken

    def close(self) -> None:
        self._file.close()


class NotedPeer(Peer):
    """Notes what a push is answered with, at the moment it is."""

    def __init__(
        self, url: str, *, token: TokenSource, ssl_context: ssl.SSLContext | None, ear: Ear | None, notes: Notes
    ) -> None:  # fmt: skip
        super().__init__(url, token=token, ssl_context=ssl_context, ear=ear)
        self._notes = notes

    async def push(
        self, ops: Sequence[bytes], dead_letters: Sequence[wire.WireDeadLetter] = ()
    ) -> wire.PushAnswer:
        begun = time.monotonic()
        answer = await super().push(ops, dead_letters)
        self._notes.answered(answer, time.monotonic() - begun)
        return answer


class Connecting:
    """`Machine.connect` of a tablet: where a link leads to the server, that is gone by; TLS goes by the id anyway."""

    def __init__(self, links: Mapping[str, str], notes: Notes) -> None:
        self._links = links
        self._notes = notes

    def __call__(
        self, url: str, *, token: TokenSource, ssl_context: ssl.SSLContext | None, ear: Ear | None = None
    ) -> Server:
        there = self._links.get(url.rstrip("/"), url)
        return NotedPeer(there, token=token, ssl_context=ssl_context, ear=ear, notes=self._notes)
