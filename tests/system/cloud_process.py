"""Real cloud processes for tests: `python -m cloud` on files or on a PostgreSQL, and who talks to them over HTTP."""

from __future__ import annotations

import base64
import io
import json
import signal
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import httpx
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cloud.cli import cli
from medxz.clock import SystemClock, format_time
from medxz.program.outcome import outcome
from tests.system.hub_process import DEADLINE_S, environment, wait_until
from tests.system.world import ADMIN, CLOUD, IDS, PASSWORD

TIMEOUT_S = 30


def cloud_command(*arguments: object, text: str | None = None) -> subprocess.CompletedProcess[str]:
    """One command, run to its end."""
    return subprocess.run(
        [*CLOUD, *map(str, arguments)],
        env=environment(), capture_output=True, text=True, timeout=DEADLINE_S, check=False, input=text,
    )  # fmt: skip


def command_here(*arguments: object, text: str | None = None) -> subprocess.CompletedProcess[str]:
    """The same in this process, which is not the cloud's: what it costs to start Python is not what is tested."""
    words, said, told = [*map(str, arguments)], io.StringIO(), io.StringIO()
    before, sys.stdin = sys.stdin, io.TextIOWrapper(io.BytesIO((text or "").encode()))
    try:
        with redirect_stdout(said), redirect_stderr(told):
            status = outcome(cli, "medxz-cloud", words, as_json="--json" in words)
    finally:
        sys.stdin = before
    return subprocess.CompletedProcess(words, status, said.getvalue(), told.getvalue())


class Relay:
    """One process of a cloud, in a directory of its own."""

    def __init__(self, folder: Path, name: str = "cloud", database: str | None = None) -> None:
        self.data = folder / name
        self.database = database
        self.where: list[object] = ["--key-file", folder / "cloud.key"]  # the same for every relay
        self.where += ["--database", database] if database is not None else []
        self.url = ""
        self.process: subprocess.Popen[bytes] | None = None
        self._out, self._said = folder / f"{name}.out", folder / f"{name}.err"

    def init(self, *sites: str) -> dict[str, Any]:
        named = [part for site in sites or ("North",) for part in ("--site", site)]
        return self.ask(
            "init", "--clinic", "Riverside", *named, "--admin-email", ADMIN, "--admin-password-file", "-",
            text=PASSWORD + "\n",
        )  # fmt: skip

    def start(self, *flags: object, tls: bool = False) -> Relay:
        """Run it, and wait until it says that it serves."""
        arguments = ["run", "--data", self.data, "--host", "127.0.0.1", "--port", "0", "--json", *self.where]
        arguments += [*flags] if tls else ["--plain-http", *flags]
        with self._out.open("wb") as out, self._said.open("ab") as said:
            self.process = subprocess.Popen(
                [*CLOUD, *map(str, arguments)], env=environment(), stdout=out, stderr=said
            )
        process = self.process
        wait_until(lambda: process.poll() is not None or b"\n" in self._out.read_bytes(), "the ready line")
        assert process.poll() is None, self.said()
        self.url = str(json.loads(self._out.read_text())["url"])
        return self

    def end(self, number: signal.Signals = signal.SIGKILL) -> int:
        """Its exit status, once it has ended; 0 where it did not run."""
        if self.process is None:
            return 0
        self.process.send_signal(number)
        status = self.process.wait(DEADLINE_S)
        self.process = None
        return status

    def said(self) -> str:
        return self._said.read_text()[-4_000:]

    def ask(self, *arguments: object, text: str | None = None) -> dict[str, Any]:
        """A command of the operator's, beside the process if it runs."""
        ended = command_here(*arguments, "--data", self.data, *self.where, "--json", text=text)
        assert ended.returncode == 0, f"{arguments}: {ended.stderr or ended.stdout}"
        told: dict[str, Any] = json.loads(ended.stdout)
        return told

    def code(self, *more: object) -> str:
        return str(self.ask("code", "--for", "device", "--site", "North", *more)["code"])


class Desk:
    """A device that was let in, and somebody at it."""

    def __init__(self, relay: Relay, *more: object, email: str = ADMIN) -> None:
        """`more` goes to the command that makes the code."""
        self.relay = relay
        key = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
        public = base64.urlsafe_b64encode(key).rstrip(b"=").decode()
        told = self.post(
            "/v1/enroll", {"code": relay.code(*more), "name": "Tablet", "public_key": public}, token=None
        )
        assert told.status_code == 200, told.text
        self.enrolled: dict[str, Any] = told.json()
        self.device_id = str(self.enrolled["device_id"])
        self.clinic_id = str(self.enrolled["clinic_id"])
        self.number = 0
        self.session: dict[str, Any] = {}
        self.login(email)

    @property
    def token(self) -> str:
        return str(self.session["access_token"])

    def login(self, email: str = ADMIN) -> None:
        wanted = {"email": email, "password": PASSWORD, "device_id": self.device_id}
        told = self.post("/v1/auth/login", wanted, token=None)
        assert told.status_code == 200, told.text
        self.session = told.json()

    def post(self, path: str, body: dict[str, Any], token: str | None = "own") -> httpx.Response:
        headers = self.headers if token == "own" else {}
        return httpx.post(self.relay.url + path, json=body, headers=headers, timeout=TIMEOUT_S)

    def get(self, path: str, relay: Relay | None = None) -> httpx.Response:
        return httpx.get((relay or self.relay).url + path, headers=self.headers, timeout=TIMEOUT_S)

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    def an_op(self) -> dict[str, Any]:
        self.number += 1
        return {
            "op_id": IDS.uuid7(),
            "clinic_id": self.clinic_id,
            "device_id": self.device_id,
            "user_id": self.session["user"]["user_id"],
            "entity_type": "Observation",
            "entity_id": IDS.uuid7(),
            "op_type": "create",
            "parents": [],
            "device_time": format_time(SystemClock().now_ms()),
            "device_seq": self.number,
            "schema_version": 1,
            "payload": {"resourceType": "Observation", "status": "final"},
        }

    def push(self, count: int = 1) -> list[str]:
        """Ops of its own that the cloud has acknowledged, by id."""
        ops = [self.an_op() for _ in range(count)]
        told = self.post("/v1/sync/push", {"ops": ops})
        assert told.status_code == 200, told.text
        assert {result["status"] for result in told.json()["results"]} == {"accepted"}, told.text
        return [str(op["op_id"]) for op in ops]

    def pulled(self, relay: Relay | None = None) -> list[str]:
        """Every op that there is for this device, by id."""
        found: list[str] = []
        cursor = ""
        while True:
            page = self.get("/v1/sync/pull" + (f"?cursor={cursor}" if cursor else ""), relay)
            assert page.status_code == 200, page.text
            found += [str(op["op_id"]) for op in page.json()["ops"]]
            cursor = page.json()["next_cursor"]
            if not page.json()["has_more"]:
                return found
