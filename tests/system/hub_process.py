"""Real hub processes for tests: `python -m hub`, started, asked, stopped and killed."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from medxz.clock import SystemClock, format_time
from medxz.ids import RandomIds

DEADLINE_S = 60.0
# without bytecode each of hundreds of short commands would compile the library anew
NOT_HANDED_ON = frozenset({"NOTIFY_SOCKET", "CREDENTIALS_DIRECTORY", "PYTHONDONTWRITEBYTECODE"})
CLINIC = RandomIds().uuid7()
PROGRAM = (sys.executable, "-m", "hub")
# the same with one constant smaller: under load, a checkpoint is under way most of the time
EAGER_PROGRAM = (
    sys.executable,
    "-c",
    "from medxz import limits; limits.CHECKPOINT_BYTES = 98_304; from hub.cli import main; main()",
)


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """What a process is started with: it hears nobody on the LAN of the machine that tests run on."""
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("MEDXZ_HUB_", "MEDXZ_CLOUD_")) and name not in NOT_HANDED_ON
    }
    return {**clean, "MEDXZ_MDNS": "0", **(more or {})}


def command(*arguments: object, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """One command, run to its end."""
    return subprocess.run(
        [*PROGRAM, *map(str, arguments)],
        env=environment(env), capture_output=True, text=True, timeout=DEADLINE_S, check=False,
    )  # fmt: skip


def answer(*arguments: object) -> dict[str, Any]:
    """What a command answers with --json, once it has succeeded."""
    done = command(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def wait_until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        time.sleep(0.01)


class HubProcess:
    """A hub of its own in a directory, and its process."""

    def __init__(self, folder: Path) -> None:
        self.data = folder / "hub"
        self.made = answer("init", "--data", self.data, "--clinic", CLINIC)
        self.out = folder / "stdout"
        self.log = folder / "stderr"
        self.url = ""
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def server_id(self) -> str:
        return str(self.made["server_id"])

    def start(self, *flags: object, env: Mapping[str, str] | None = None) -> "HubProcess":
        """Run it, and wait until it says that it serves."""
        self.launch(*flags, env=env)
        return self.wait_until_ready()

    def launch(
        self, *flags: object, env: Mapping[str, str] | None = None, program: Sequence[str] = PROGRAM
    ) -> None:
        """Run it, and wait for nothing."""
        arguments = [
            *program,
            "run",
            "--data",
            self.data,
            "--host",
            "127.0.0.1",
            "--port",
            "0",
            "--json",
            *flags,
        ]
        with self.out.open("wb") as out, self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [str(argument) for argument in arguments], env=environment(env), stdout=out, stderr=log
            )

    def wait_until_ready(self) -> "HubProcess":
        wait_until(lambda: self._has_ended() or b"\n" in self.out.read_bytes(), "the ready line")
        assert not self._has_ended(), self.log.read_text()
        self.url = json.loads(self.out.read_text())["url"]
        return self

    def _has_ended(self) -> bool:
        return self.process is not None and self.process.poll() is not None

    def stop(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, float]:
        """Its exit status, and how many seconds it took to end."""
        assert self.process is not None
        begun = time.monotonic()
        self.process.send_signal(number)
        status = self.process.wait(DEADLINE_S)
        self.process = None
        return status, time.monotonic() - begun

    def kill(self) -> None:
        """End it as a power cut would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(DEADLINE_S)
            self.process = None

    def token(self, device: str, user: str, *more: str) -> str:
        wanted = ("--device", device, "--user", user, "--role", "clinician", *more)
        return str(answer("token", "--data", self.data, *wanted)["access_token"])


def an_op(
    device: str, user: str, number: int, payload: Mapping[str, object] | None = None
) -> dict[str, object]:
    """A lawful op."""
    return {
        "op_id": RandomIds().uuid7(),
        "clinic_id": CLINIC,
        "device_id": device,
        "user_id": user,
        "entity_type": "Observation",
        "entity_id": RandomIds().uuid7(),
        "op_type": "create",
        "parents": [],
        "device_time": format_time(SystemClock().now_ms()),
        "device_seq": number,
        "schema_version": 1,
        "payload": dict(payload or {"resourceType": "Observation", "status": "final"}),
    }


def a_push(*ops: dict[str, object]) -> bytes:
    return orjson.dumps({"ops": ops})
