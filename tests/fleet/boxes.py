"""A machine of a fleet: a Debian with a real systemd (tests/appliance) on a network of its own (tests/lan), reached by SSH.

Its sshd is the distribution's, taken out of its package and laid over the machine's /usr; this machine gets none.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from functools import partial
from pathlib import Path
from typing import Any, Final

from tests.appliance.debian import Debian
from tests.appliance.nspawn import TREE, CannotNspawn
from tests.lan.hosts import Host
from tests.system.hub_process import wait_until

CACHE: Final = TREE / "build/fleet"
DATA: Final = "/var/lib/medxz/hub"
CLOUD_DATA: Final = "/var/lib/medxz-cloud/data"
_SSH: Final = ("openssh-server", "openssh-sftp-server", "libwrap0")
_SSHD: Final = """HostKey /etc/ssh/host_key
PermitRootLogin prohibit-password
PasswordAuthentication no
UsePAM no
Subsystem sftp /usr/lib/openssh/sftp-server
PidFile none
MaxStartups 100
"""
_UNIT: Final = """[Unit]
Description=what ansible comes in by
[Service]
RuntimeDirectory=sshd
ExecStart=/usr/sbin/sshd -D -e
Restart=on-failure
"""
# what a machine starts by itself once something of ours is installed on it
_STARTS: Final = "[Unit]\nWants=ssh.service medxz-hub.service medxz-hub-confirm.service medxz-cloud.service timers.target\n"


class Box(Debian):
    """One on a host of its network. Stopped, its power was cut; started again, it has what it had."""

    def __init__(self, folder: Path, host: Host, key: Path) -> None:
        super().__init__(folder)
        self.host: Final = host
        self._key: Final = key

    def stop(self) -> None:
        super().stop()
        for group in self._groups():
            wait_until(partial(is_gone, group), f"that {group} is empty")

    def _groups(self) -> list[Path]:
        """Control groups of its own: the systemds of two machines in one group would end each other's services."""
        tops = [Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup/systemd")]
        mounted = [top for top in tops if (top / "cgroup.procs").exists()] or [Path("/sys/fs/cgroup")]
        return [top / self.host.namespace.name for top in mounted]

    def _before(self) -> list[str]:
        groups = self._groups()
        for group in groups:
            group.mkdir(exist_ok=True)
        join = "".join(f'echo $$ >"{group}/cgroup.procs"; ' for group in groups)
        return ["sh", "-c", f'{join}exec "$@"', "sh"]

    def _may(self) -> list[str]:
        return ["--capability=CAP_NET_ADMIN"]  # a firewall of its own

    def _network(self) -> str:
        return f"--network-namespace-path=/run/netns/{self.host.namespace.name}"

    def _install(self) -> None:
        super()._install()
        for place in ("usr", "lib"):
            if (ssh_server() / place).is_dir():
                target = self.overlay if place == "usr" else self.overlay / place
                shutil.copytree(ssh_server() / place, target, dirs_exist_ok=True, symlinks=True)
        etc = self.root / "etc"
        with (etc / "passwd").open("a") as users:
            users.write(
                "sshd:x:101:65534::/run/sshd:/bin/false\npostgres:x:102:102::/var/lib/postgresql:/bin/sh\n"
            )
        (etc / "ssh").mkdir()
        (etc / "ssh/sshd_config").write_text(_SSHD)
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", etc / "ssh/host_key"], check=True
        )
        (self.root / "root/.ssh").mkdir(mode=0o700)
        shutil.copy(self._key.with_suffix(".pub"), self.root / "root/.ssh/authorized_keys")
        (etc / "systemd/system/ssh.service").write_text(_UNIT)
        self.drop_in("test.target", _STARTS)

    def drop_in(self, unit: str, text: str) -> None:
        """More of a unit, from its next reading on."""
        folder = self.path(f"/etc/systemd/system/{unit}.d")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "test.conf").write_text(text)

    def told(self, program: str, *arguments: object) -> dict[str, Any]:
        """What a command in there answers with --json."""
        answer: dict[str, Any] = json.loads(self.run(program, *arguments, "--json").stdout)
        return answer

    def status(self) -> dict[str, Any]:
        return self.told("medxz-hub", "status", "--data", DATA)

    def update(self) -> dict[str, Any]:
        return self.told("medxz-hub", "update", "--data", DATA, "--status")

    def version(self) -> str:
        return self.run("dpkg-query", "--show", "--showformat=${Version}", "medxz-hub").stdout


class CloudBox(Box):
    """The cloud's machine, as those who have a shell there use it."""

    password_file: Path
    clinic_id = ""

    @property
    def url(self) -> str:
        return f"https://{self.host.address}:8443"

    def command(self, *arguments: object) -> dict[str, Any]:
        program = ("setpriv", "--reuid=medxz-cloud", "--regid=medxz-cloud", "--init-groups", "medxz-cloud")
        return self.told(*program, *arguments, "--data", CLOUD_DATA)

    def hurry(self) -> None:
        """Its commands take a key that was published just now; others wait for an hour."""
        program = "from medxz.accounts import key_ring; key_ring.PUBLISHED_MS = 0; from cloud.cli import main; main()"
        script = f"#!/bin/sh\nexec /usr/lib/medxz-cloud/bin/python -I -c '{program}' \"$@\"\n"
        self.path("/srv/hurried").write_text(script)
        self.run("install", "-m", "755", "/srv/hurried", "/usr/lib/medxz-cloud/bin/medxz-cloud")

    def add_user(self, email: str) -> None:
        shutil.copy(self.password_file, self.path("/srv/password"))
        self.path("/srv/password").chmod(0o644)
        name = email.partition("@")[0]
        self.command(
            *("user", "add", "--email", email, "--name", name, "--role", "clinician"),
            *("--password-file", "/srv/password"),
        )


def is_gone(group: Path) -> bool:
    """Whether nothing is left of a control group; what ran in it may take a moment to end."""
    try:
        for folder in (*sorted(group.rglob("*/"), reverse=True), group):
            folder.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def ssh_server() -> Path:
    """Where the packages of sshd are unpacked; fetched once, from where this machine has its own."""
    place = CACHE / "ssh"
    if not place.is_dir():
        CACHE.mkdir(parents=True, exist_ok=True)
        if (fetched := _apt("download", *_SSH)).returncode:  # where apt has no lists yet, or old ones
            _apt("update")
            fetched = _apt("download", *_SSH)
        if fetched.returncode:
            raise CannotNspawn(f"sshd can't be fetched: {fetched.stderr.strip()[-300:]}")
        unfinished = CACHE / "unpacked"
        for name in _SSH:
            for package in CACHE.glob(f"{name}_*.deb"):
                subprocess.run(["dpkg-deb", "-x", package, unfinished], check=True)
        unfinished.rename(place)
    return place


def _apt(*words: str) -> subprocess.CompletedProcess[str]:
    command = ["apt-get", "-q", "-o", "APT::Sandbox::User=root", *words]
    return subprocess.run(command, cwd=CACHE, capture_output=True, text=True, check=False)
