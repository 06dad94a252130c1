"""Who keeps the fleet: a machine on the network with ansible, the collection as `make dist` builds it, and an SSH key."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.appliance.nspawn import TREE
from tests.lan.hosts import Host

ANSIBLE: Final = TREE / "build/ansible/bin"
PLAYBOOK_S_MAX: Final = 600
_RECAP: Final = re.compile(
    r"^(\S+)\s+: ok=(\d+)\s+changed=(\d+)\s+unreachable=(\d+)\s+failed=(\d+)", re.MULTILINE
)


@dataclass(frozen=True, slots=True)
class Run:
    """What came of a playbook. `changed`: by host, how many tasks have."""

    status: int
    said: str
    changed: dict[str, int]
    failed: dict[str, int]


class Operator:
    """One, in a folder."""

    def __init__(self, folder: Path, host: Host) -> None:
        self.folder = folder
        self.host = host
        folder.mkdir(exist_ok=True)
        self.key = folder / "id"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.key], check=True)
        self.variables: dict[str, Any] = {}

    @property
    def environment(self) -> dict[str, str]:
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE", "MEDXZ"))
        }
        return kept | {
            "PATH": f"{ANSIBLE}:{os.environ['PATH']}",
            "HOME": str(self.folder),
            "LANG": "C.UTF-8",
            "ANSIBLE_COLLECTIONS_PATH": str(self.folder / "collections"),
            "ANSIBLE_HOST_KEY_CHECKING": "false",
            "ANSIBLE_NOCOLOR": "true",
            "ANSIBLE_PIPELINING": "true",
            "ANSIBLE_FORKS": "4",
            "ANSIBLE_SSH_ARGS": "-o ControlMaster=auto -o ControlPersist=60s -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR",
        }

    def install(self, collection: Path) -> None:
        self.done("ansible-galaxy", "collection", "install", "--offline", collection)

    def done(self, *command: object) -> str:
        ended = self._ran([str(ANSIBLE / str(command[0])), *map(str, command[1:])])
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout

    def inventory(self, name: str, groups: dict[str, dict[str, dict[str, Any]]]) -> Path:
        """A file with these groups, of hosts with these variables, all reached by the key."""
        file = self.folder / f"{name}.json"
        reached = {
            "ansible_user": "root",
            "ansible_ssh_private_key_file": str(self.key),
            "ansible_python_interpreter": "/usr/bin/python3.11",
        }
        file.write_text(
            json.dumps(
                {
                    group: {"hosts": {host: reached | of_host for host, of_host in hosts.items()}}
                    for group, hosts in groups.items()
                }
            )
        )
        return file

    def play(self, name: str, *arguments: object, **variables: Any) -> Run:
        """A playbook of the collection; variables go by a file, as secrets do."""
        ended = self._ran(self._command(name, arguments, variables))
        with (self.folder / f"{name}.log").open("a") as log:
            log.write(ended.stdout + ended.stderr)
        rows = _RECAP.findall(ended.stdout)
        return Run(
            ended.returncode,
            ended.stdout + ended.stderr,
            {row[0]: int(row[2]) for row in rows},
            {row[0]: int(row[3]) + int(row[4]) for row in rows},
        )

    def played(self, name: str, *arguments: object, **variables: Any) -> Run:
        """One that has to go well."""
        run = self.play(name, *arguments, **variables)
        assert run.status == 0, run.said[-6_000:]
        return run

    @contextmanager
    def until_a_power_cut(
        self, name: str, *arguments: object, **variables: Any
    ) -> Iterator[Callable[[], bool]]:
        """A playbook, until this is left: then the operator's machine loses its power. Yields whether it still runs."""
        with (self.folder / f"{name}.log").open("ab") as log:
            running = subprocess.Popen(
                self.host.command(*self._command(name, arguments, variables)),
                env=self.environment, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        with running:
            try:
                yield lambda: running.poll() is None
            finally:
                self._kill_everything()

    def _kill_everything(self) -> None:
        listed = ["ip", "netns", "pids", self.host.namespace.name]
        for pid in subprocess.run(listed, check=True, capture_output=True, text=True).stdout.split():
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)

    def _command(self, name: str, arguments: tuple[object, ...], variables: dict[str, Any]) -> list[str]:
        extra = self.folder / f"{name}.vars.json"
        extra.write_text(json.dumps(self.variables | variables))
        extra.chmod(0o600)
        words = (ANSIBLE / "ansible-playbook", f"medxz.hub.{name}", *arguments, "--extra-vars", f"@{extra}")
        return [str(word) for word in words]

    def _ran(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.host.command(*command),
            env=self.environment, cwd=self.folder, capture_output=True, text=True, timeout=PLAYBOOK_S_MAX, check=False,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
