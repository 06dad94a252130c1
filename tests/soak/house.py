"""A process of tablets (tests/soak/tablets.py), asked for things and heard, by who drives the soak."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from tests.soak.tablets import Setting
from tests.system.hub_process import environment

ANSWER_S_MAX: Final = 900.0
END_S_MAX: Final = 60.0
_LINE_BYTES_MAX: Final = 8 * 1_048_576

Json = dict[str, Any]


class HouseFailed(Exception):
    """A process of tablets could not do what it was asked for, or has ended."""


class HouseProcess:
    """One such process. It is in a session of its own: Ctrl-C is for who drives it."""

    def __init__(self, setting: Setting) -> None:
        self.name = setting.name
        self.setting = setting
        self.figures: Json = {}
        self.push_ms: list[float] = []
        self._process: asyncio.subprocess.Process | None = None
        self._asked: dict[int, asyncio.Future[Json]] = {}
        self._hearing: asyncio.Task[None] | None = None
        self._number = 0

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def status(self) -> int | None:
        return self._process.returncode if self._process is not None else None

    async def start(self) -> None:
        with Path(self.setting.folder, f"{self.name}.err").open("ab") as said:  # noqa: ASYNC230
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "tests.soak.tablets",
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=said,
                env=environment(), start_new_session=True, limit=_LINE_BYTES_MAX,
            )  # fmt: skip
        self._tell(asdict(self.setting))
        self._hearing = asyncio.create_task(self._hear())

    async def do(self, what: str, **more: object) -> Json:
        """Its answer; HouseFailed where it could not."""
        self._number += 1
        answer = self._asked[self._number] = asyncio.get_running_loop().create_future()
        self._tell({"id": self._number, "do": what, **more})
        async with asyncio.timeout(ANSWER_S_MAX):
            return await answer

    async def end(self) -> None:
        if self._process is None or self._hearing is None:
            return
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            async with asyncio.timeout(END_S_MAX):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
        await self._hearing

    def taken_ms(self) -> list[float]:
        """How long pushes took since this was asked last."""
        taken, self.push_ms = self.push_ms, []
        return taken

    def said(self) -> str:
        return Path(self.setting.folder, f"{self.name}.err").read_text()[-2_000:]

    def _tell(self, told: Json) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(told).encode() + b"\n")

    async def _hear(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            said: Json = json.loads(line)
            if said["event"] == "figures":
                self.push_ms += said.pop("push_ms")
                self.figures = said
            elif said["event"] == "done":
                self._asked.pop(said["id"]).set_result(said)
            else:
                self._asked.pop(said["id"]).set_exception(HouseFailed(f"{self.name}: {said['why']}"))
        for answer in self._asked.values():
            answer.set_exception(HouseFailed(f"{self.name} has ended: {self.said()}"))
