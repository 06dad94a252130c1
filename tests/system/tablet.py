"""The device's command line for tests: `python -m medxz.device`, as real processes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from medxz.ids import RandomIds
from tests.system.hub_process import DEADLINE_S, HubProcess, environment

IDS = RandomIds()
USER = IDS.uuid7()
PROGRAM = (sys.executable, "-m", "medxz.device")


class Tablet:
    """A device's directory, and the command line on it."""

    def __init__(self, store: Path, hub: HubProcess, device_id: str | None = None) -> None:
        self.store = store
        self.hub = hub
        self.device_id = device_id or IDS.uuid7()
        self.started: list[subprocess.Popen[str]] = []

    def run(self, command: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*PROGRAM, command, "--store", str(self.store), *map(str, arguments)],
            env=environment(), capture_output=True, text=True, timeout=DEADLINE_S, check=False,
        )  # fmt: skip

    def ask(self, command: str, *arguments: object) -> dict[str, Any]:
        done = self.run(command, *arguments, "--json")
        assert done.returncode == 0, done.stderr
        told: dict[str, Any] = json.loads(done.stdout)
        return told

    def begin(self) -> Tablet:
        token = self.hub.token(self.device_id, USER)
        told = self.ask("init", "--server", self.hub.url, "--token", token)
        assert told["device_id"] == self.device_id
        return self

    def record(self, payload: str, *arguments: object) -> dict[str, Any]:
        more = arguments or ("--op", "create")
        return self.ask("record", "--type", "Patient", "--payload", payload, *more)

    def watch(self) -> tuple[subprocess.Popen[str], Iterator[dict[str, Any]]]:
        """`watch` as a process, once its stream stands, and what it tells from then on."""
        process = subprocess.Popen(
            [*PROGRAM, "watch", "--store", str(self.store), "--json"],
            env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.started.append(process)
        assert process.stdout is not None
        events = map(json.loads, iter(process.stdout.readline, ""))
        while next(events)["event"] != "live":
            pass
        return process, events

    def end(self) -> None:
        for process in self.started:
            with process:
                process.kill()
