"""A clinician's application on a tablet, made with the library: it stays in step, records when told, and tells all it sees.

`python -m tests.lan.application STORE` reads lines {"record": how many, "every_s": …} and writes lines of JSON, each with
the machine's monotonic time: {"event": "op"} from others, "standing" of the connection, "status" whenever it is another.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from tests.lan.hosts import Host
from tests.system.hub_process import DEADLINE_S

LOOK_S: Final = 0.02
_LINE_BYTES_MAX: Final = 65_536

Event = dict[str, Any]


class Application:
    """The process, as a test drives it. It ends with its host."""

    def __init__(self, host: Host, store: Path, env: dict[str, str]) -> None:
        self._log = store.with_name(f"{store.name}.application.err")
        with self._log.open("ab") as log:
            self.process: subprocess.Popen[bytes] = host.start(
                sys.executable, "-m", "tests.lan.application", store,
                env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
            )  # fmt: skip
        assert self.process.stdout is not None
        os.set_blocking(self.process.stdout.fileno(), False)
        self.events: list[Event] = []
        self.status: Event = {}  # as it told it last
        self._buffer = b""

    def record(self, count: int = 1, every_s: float = 0.0) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"record": count, "every_s": every_s}).encode() + b"\n")
        self.process.stdin.flush()

    def until(self, holds: Callable[[Event], bool], what: str, seconds: float = DEADLINE_S) -> Event:
        """The first event, of those that nobody has waited for yet, that this holds of. All before it are gone."""
        seen: list[Event] = []

        def found() -> Event | None:
            while self.events:
                seen.append(self.events.pop(0))
                if holds(seen[-1]):
                    return seen[-1]
            return None

        return self._wait(found, what, seconds, seen)

    def until_status(self, what: str, seconds: float = DEADLINE_S, **members: object) -> Event:
        """Its status has these members."""
        return self.until(
            lambda event: (
                event["event"] == "status" and all(event[name] == members[name] for name in members)
            ),
            what,
            seconds,
        )

    def until_it_stands(self, holds: Callable[[Event], bool], what: str) -> None:
        """This holds of its status now, whoever waited for what when it told it."""
        self._wait(lambda: self.status if self.status and holds(self.status) else None, what, DEADLINE_S, [])

    def all_told(self) -> list[Event]:
        """What it has told since somebody waited."""
        self._read()
        told, self.events = self.events, []
        return told

    def end(self) -> None:
        """As when a person closes it: the store is free afterwards."""
        self.process.terminate()
        self.process.wait(DEADLINE_S)

    def _wait(
        self, found: Callable[[], Event | None], what: str, seconds: float, seen: Sequence[Event]
    ) -> Event:
        """What is found, once something is, in what it has told by then."""
        deadline = time.monotonic() + seconds
        while True:
            self._read()
            event = found()
            if event is not None:
                return event
            assert self.process.poll() is None, self._log.read_text()[-3_000:]
            assert time.monotonic() < deadline, (
                f"waited in vain: {what}: {seen[-5:]}; at last {self.status}; {self._log.read_text()[-2_000:]}"
            )
            time.sleep(0.005)

    def _read(self) -> None:
        assert self.process.stdout is not None
        while chunk := self.process.stdout.read(_LINE_BYTES_MAX):
            self._buffer += chunk
        *lines, self._buffer = self._buffer.split(b"\n")
        told = [json.loads(line) for line in lines]
        self.events += told
        self.status = next((event for event in reversed(told) if event["event"] == "status"), self.status)


# ------------------------------------------------------------------------------------------- the program


async def main(store: Path) -> None:
    from medxz import Device, Machine
    from medxz.device.keyfile import read_key
    from medxz.lan.browsing import Browser

    async with Device.open(store, key=read_key(store, None), machine=Machine(hear=Browser)) as device:
        tell("ready")
        async with asyncio.TaskGroup() as group:
            group.create_task(follow(device))
            group.create_task(look(device))
            group.create_task(obey(device))


def tell(event: str, **members: object) -> None:
    with contextlib.suppress(BrokenPipeError):
        print(json.dumps({"event": event, "at": time.monotonic(), **members}), flush=True)


async def follow(device: Any) -> None:
    async for held in device.watch(tell=lambda standing, why: tell("standing", standing=standing, why=why)):
        tell("op", op_id=held.op.op_id, device_id=held.op.device_id)


async def look(device: Any) -> None:
    before = None
    while True:
        status = await device.status()
        now = {name: getattr(status, name) for name in ("here", "hub", "cloud", "target", "server_id")}
        if now != before:
            tell("status", **now)
            before = now
        await asyncio.sleep(LOOK_S)


async def obey(device: Any) -> None:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    while line := await reader.readline():
        order = json.loads(line)
        for number in range(order["record"]):
            made = await device.record(
                "Patient", {"resourceType": "Patient", "name": [{"family": f"Family-{number}"}]}
            )
            tell("recorded", op_id=made.op_id)
            await asyncio.sleep(order["every_s"])


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
