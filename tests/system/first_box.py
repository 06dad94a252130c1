"""A flashed box in a folder: its card, and the processes that its units start, without systemd and without root."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, Self

import httpx

from hub.boot.applying import apply_card
from hub.boot.places import BootPlaces
from hub.cli import cli
from medxz.program.outcome import outcome
from tests.system.hub_process import DEADLINE_S, PROGRAM, environment, wait_until


def told(*arguments: object) -> tuple[int, dict[str, Any]]:
    """The status of a command and what it answers: in this process, for starting Python is not what is tested."""
    out = io.StringIO()
    with redirect_stdout(out), redirect_stderr(io.StringIO()):
        status = outcome(cli, "medxz-hub", [*map(str, arguments), "--json"], as_json=True)
    return status, json.loads(out.getvalue())


class FirstBox:
    """One that was never claimed."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.places = BootPlaces(root)
        self.places.card.mkdir(parents=True)
        self.data = root / "var/lib/medxz/hub"
        self.data.parent.mkdir(parents=True)
        self.process: subprocess.Popen[bytes] | None = None
        self._out, self._said = root / "out", root / "said"

    def write(self, text: str) -> None:
        """A person does, at another computer."""
        self.places.file.write_text(text)

    def switch_on(self, port: int = 0) -> Self:
        """As the units do: what the card says first, then who waits."""
        apply_card(self.places, set_hostname=lambda _: None)  # the machine that tests run on keeps its name
        self.places.state.unlink(missing_ok=True)
        arguments = ["first-boot", "wait", "--data", self.data, "--root", self.root, "--port", port]
        arguments += ["--host", "127.0.0.1", "--no-mdns", "--json"]
        with self._out.open("wb") as out, self._said.open("ab") as said:
            self.process = subprocess.Popen(
                [*PROGRAM, *map(str, arguments)], env=environment(), stdout=out, stderr=said
            )
        return self

    def state(self) -> dict[str, Any]:
        try:
            told: dict[str, Any] = json.loads(self.places.state.read_text())
        except FileNotFoundError:
            return {}
        return told

    def wait_for(self, phase: str, *, page: bool = True) -> dict[str, Any]:
        """Until it is so far, and its page is there."""
        wait_until(
            lambda: self._has_ended() or (self.state().get("phase") == phase and (not page or bool(self.state().get("port")))),
            f"a box that is {phase}: {self.said()}",
        )  # fmt: skip
        assert self.state().get("phase") == phase, self.said()
        return self.state()

    @property
    def url(self) -> str:
        wait_until(lambda: bool(self.state().get("port")), f"the page: {self.said()}")
        return f"http://127.0.0.1:{self.state()['port']}"

    def typed(self, **fields: str) -> httpx.Response:
        """Somebody opens the page, fills the form and sends it; what is shown at the end."""
        with httpx.Client(base_url=self.url, timeout=DEADLINE_S, follow_redirects=True) as browser:
            page = browser.get("/")
            token = re.search('name="token" value="([^"]+)"', page.text)
            assert token is not None, page.text
            return browser.post("/", data={"token": token[1], **fields}, headers={"Origin": self.url})

    def _has_ended(self) -> bool:
        return self.process is not None and self.process.poll() is not None

    def ended(self) -> dict[str, Any]:
        """What it says once it is done."""
        assert self.process is not None
        assert self.process.wait(DEADLINE_S) == 0, self.said()
        told: dict[str, Any] = json.loads(self._out.read_text())
        return told

    def pull_the_plug(self) -> None:
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait(DEADLINE_S)

    def switch_off(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(DEADLINE_S)

    def said(self) -> str:
        return self._said.read_text() if self._said.exists() else ""

    def everything_left(self) -> str:
        """All that others may read: the state, the report, the log, what it printed."""
        files = [self.places.state, self.places.found, self.places.report, self._said, self._out]
        return "\n".join(file.read_text() for file in files if file.exists())
