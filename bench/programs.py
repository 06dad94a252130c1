"""The processes of a run: a hub with its default settings, and the echo.

A hub's log lines go to a file in memory, so that they are written as they would be, and don't count as bytes written
to the disk. Every process that is started here is ended here.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from bench import echo
from hub.ask import ask
from medxz.ids import RandomIds

ROOT: Final = Path(__file__).resolve().parents[1]
HUB: Final = Path(sys.executable).with_name("medxz-hub")
CLOUD: Final = Path(sys.executable).with_name("medxz-cloud")
READY_S_MAX: Final = 120
STOP_S_MAX: Final = 60
TOKEN_S: Final = 24 * 60 * 60
# buckets that never run empty under a load client: they are counted down all the same
SETTINGS: Final = {
    f"MEDXZ_{program}_{name}": value
    for program in ("HUB", "CLOUD")
    for name, value in (("REQUESTS_PER_S", "1000000"), ("OPS_PER_S", "10000000"))
}
MEMORY_FOLDER: Final = Path("/dev/shm")


class ProgramFailed(Exception):
    """A process of the run did not do what it was started for; the text is what it said."""


@dataclass(frozen=True, slots=True)
class Ended:
    """What the system says of a process that has ended."""

    written_bytes: int


class ServerProcess:
    """A server on a directory. `with` starts it and stops it well."""

    def __init__(
        self, data: Path, program: Path, flags: Sequence[str] = (), *, wrapper: Sequence[str] = ()
    ) -> None:
        self.data = data
        self.port = 0
        self.pid = 0
        self.start_s = 0.0
        self._program = program
        self._flags = flags
        self._wrapper = wrapper
        self._process: subprocess.Popen[bytes] | None = None
        folder = MEMORY_FOLDER if MEMORY_FOLDER.is_dir() else data.parent
        self._log = Path(tempfile.mkstemp(prefix="medxz-bench-", suffix=".log", dir=folder)[1])

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        if self._process is not None:
            self.stop()
        self._log.unlink(missing_ok=True)

    def start(self) -> None:
        """Run it until it says that it is ready; `start_s` is how long that took."""
        command = [
            *self._wrapper, str(self._program), "run", "--data", str(self.data), "--plain-http", "--port", "0", "--json",
            *self._flags,
        ]  # fmt: skip
        begun = time.perf_counter()
        with self._log.open("ab") as log:
            process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=log, cwd=ROOT, env=_environment()
            )
        self._process = process
        assert process.stdout is not None
        line = process.stdout.readline()
        self.start_s = time.perf_counter() - begun
        if not line:
            process.wait()
            self._process = None
            raise ProgramFailed(f"{self._name} did not start: {self.log_tail()}")
        self.port = int(json.loads(line)["url"].rpartition(":")[2])
        self.pid = _child_of(process.pid) if self._wrapper else process.pid

    def stop(self) -> Ended:
        """SIGTERM, and what it wrote in its life, the last checkpoint included."""
        process, self._process = self._process, None
        assert process is not None
        os.kill(self.pid, signal.SIGTERM)
        deadline = time.monotonic() + STOP_S_MAX
        while True:
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            if pid:
                break
            if time.monotonic() > deadline:
                process.kill()
                raise ProgramFailed(f"{self._name} did not stop in {STOP_S_MAX} s")
            time.sleep(0.01)  # what it used is told by wait4, which knows no deadline
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.stdout is not None:
            process.stdout.close()
        if process.returncode:
            raise ProgramFailed(f"{self._name} ended with {process.returncode}: {self.log_tail()}")
        return Ended(usage.ru_oublock * 512)

    def written_bytes(self) -> int:
        """What this process has sent to the disk so far."""
        return _field(Path(f"/proc/{self.pid}/io"), "write_bytes")

    def memory_bytes(self) -> dict[str, int]:
        """PSS (its own share of shared pages), RSS, and what is its alone."""
        rollup = Path(f"/proc/{self.pid}/smaps_rollup")
        return {
            name: _field(rollup, name) * 1024 for name in ("Pss", "Rss", "Private_Dirty", "Private_Clean")
        }

    def log_tail(self) -> str:
        return self._log.read_text("utf-8", errors="replace")[-2_000:]

    @property
    def _name(self) -> str:
        return self._program.name


class HubProcess(ServerProcess):
    """A hub by itself."""

    def __init__(self, data: Path, *, wrapper: Sequence[str] = ()) -> None:
        super().__init__(data, HUB, ["--no-mdns"], wrapper=wrapper)

    @property
    def store(self) -> Path:
        return self.data / "hub.db"


class CloudProcess(ServerProcess):
    """A relay on a PostgreSQL."""

    def __init__(self, data: Path, database: str) -> None:
        super().__init__(data, CLOUD, ["--database", database])


def make_hub(data: Path, clinic_id: str) -> None:
    """A new hub of this clinic."""
    data.parent.mkdir(parents=True, exist_ok=True)
    _run(HUB, "init", "--data", str(data), "--clinic", clinic_id, "--json")


def make_tokens(hub: HubProcess, device_ids: Sequence[str], user_ids: Sequence[str]) -> list[str]:
    """Access tokens of a running hub, one a device, as `medxz-hub token` gets them."""
    socket = hub.data.with_name(hub.data.name + ".sock")
    wanted = {"role": "clinician", "ttl": TOKEN_S}
    return [
        str(ask(socket, "token", {"device": device, "user": user, **wanted})["access_token"])
        for device, user in zip(device_ids, user_ids, strict=True)
    ]


def make_hub_token(hub: HubProcess) -> str:
    """An access token for a hub that pushes to this one, as to a cloud."""
    socket = hub.data.with_name(hub.data.name + ".sock")
    wanted = {"role": "hub", "user": RandomIds().uuid7(), "ttl": TOKEN_S}
    return str(ask(socket, "token", wanted)["access_token"])


def copy_hub(source: Path, target: Path) -> None:
    """The same hub once more, its key beside it; what stood there goes."""
    remove_hub(target)
    shutil.copytree(source, target)
    copy_key(source, target)


def copy_key(source: Path, target: Path) -> None:
    """The key beside a directory, for what stands in another."""
    shutil.copy2(_key_file(source), _key_file(target))


def remove_hub(data: Path) -> None:
    """Directory, key and socket."""
    shutil.rmtree(data, ignore_errors=True)
    for ending in (".key", ".sock"):
        data.with_name(data.name + ending).unlink(missing_ok=True)


def store_key(data: Path) -> bytes:
    """The key of a hub's file."""
    return bytes.fromhex(_key_file(data).read_text("ascii"))


class EchoProcess:
    """The echo, for as long as the `with` block lasts."""

    def __init__(self) -> None:
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", echo.__name__], stdout=subprocess.PIPE, cwd=ROOT
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline() or b"0")
        if not self.port:
            raise ProgramFailed("the echo did not start")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        assert self._process is not None
        self._process.terminate()
        self._process.wait(timeout=STOP_S_MAX)
        assert self._process.stdout is not None
        self._process.stdout.close()


def cloud_command(*words: str) -> None:
    _run(CLOUD, *words)


def command_answer(program: Path, *words: str) -> dict[str, Any]:
    """What a command tells with --json."""
    told: dict[str, Any] = json.loads(_run(program, *words, "--json"))
    return told


def _run(program: Path, *words: str) -> bytes:
    done = subprocess.run([str(program), *words], capture_output=True, cwd=ROOT, check=False)
    if done.returncode:
        raise ProgramFailed(f"{program.name} {words[0]}: {done.stderr.decode(errors='replace')}")
    return done.stdout


def _key_file(data: Path) -> Path:
    return data.with_name(data.name + ".key")


def _environment() -> dict[str, str]:
    """That of an installed hub: it runs from bytecode, whether or not whoever measures writes any."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"} | SETTINGS


def _child_of(pid: int) -> int:
    """The one child of a wrapper such as strace."""
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()[0])


def _field(file: Path, name: str) -> int:
    for line in file.read_text("ascii").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    raise ProgramFailed(f"{file} says nothing of {name}")
