"""avahi, a foreign finder of what announces itself: a daemon with a D-Bus of its own on a host, and who asks it.

Its files are where the programs look for them, but only for those that are started here: each mounts this host's folder
over /run/avahi-daemon, which no other host and no other process of the machine sees.
"""

from __future__ import annotations

import shlex
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.lan.hosts import Host
from tests.system.hub_process import wait_until

RUN: Final = Path("/run/avahi-daemon")
_BUS: Final = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path={socket}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/><allow own="*"/><allow send_type="method_call"/><allow send_destination="*"/>
    <allow receive_type="method_call"/><allow receive_type="method_return"/><allow receive_type="error"/>
    <allow receive_type="signal"/>
  </policy>
</busconfig>
"""
_DAEMON: Final = """[server]
host-name={name}
use-ipv4=yes
use-ipv6=yes
[publish]
publish-workstation=no
"""


@dataclass(frozen=True, slots=True)
class Seen:
    """One service as `avahi-browse -rp` tells it."""

    interface: str
    protocol: str
    instance: str
    host: str
    address: str
    port: int
    txt: dict[str, str]


class Avahi:
    """The daemon on a host, and the commands that ask it. It ends with the host."""

    def __init__(self, host: Host, folder: Path) -> None:
        self.host = host
        self._run = folder / f"avahi-{host.name}"
        self._run.mkdir()
        RUN.mkdir(exist_ok=True)
        bus, settings = self._run / "bus.conf", self._run / "daemon.conf"
        socket = self._run / "bus.socket"
        bus.write_text(_BUS.format(socket=socket))
        settings.write_text(_DAEMON.format(name=host.name))
        self._env = {"DBUS_SYSTEM_BUS_ADDRESS": f"unix:path={socket}"}
        self._log = self._run / "log"
        with self._log.open("wb") as log:
            host.start("dbus-daemon", f"--config-file={bus}", "--nofork", "--nopidfile", stderr=log)
            wait_until(socket.exists, "the D-Bus")
            host.start(
                *self.command("avahi-daemon", "--no-drop-root", "--no-chroot", "--no-rlimits", "-f", settings),
                env=self._env, stderr=log,
            )  # fmt: skip
        wait_until(lambda: b"Server startup complete" in self._log.read_bytes(), "avahi-daemon")

    def command(self, *arguments: object) -> list[str]:
        """The command that runs this one with this host's files of avahi, among whose readers is the C library."""
        mounted = f"mount --bind {shlex.quote(str(self._run))} {RUN}"
        return ["sh", "-c", f'{mounted} && exec "$@"', "sh", *map(str, arguments)]

    def asked(self, *arguments: object) -> str:
        told = self.host.run(*self.command(*arguments), env=self._env)
        assert told.returncode == 0, told.stderr
        return told.stdout

    def browse(self, service: str = "_medxz-sync._tcp") -> list[Seen]:
        """All that is there now, with addresses, ports and TXT."""
        lines = self.asked("avahi-browse", "-rtp", service).splitlines()
        return [_seen(line) for line in lines if line.startswith("=")]

    def browsed(self, count: int, seconds: float = 10.0) -> list[Seen]:
        """The same, once so many instances are there."""
        deadline = time.monotonic() + seconds
        found = self.browse()
        while len({seen.instance for seen in found}) != count:
            assert time.monotonic() < deadline, found
            found = self.browse()
        return found

    def resolve(self, name: str, kind: str = "-4") -> str | None:
        """The address of a name; None where nobody has it."""
        told = self.host.run(*self.command("avahi-resolve", kind, "-n", name), env=self._env)
        return told.stdout.split()[1] if told.stdout else None


def _seen(line: str) -> Seen:
    _, interface, protocol, instance, _, _, host, address, port, txt = line.split(";", 9)
    pairs = (pair.partition("=") for pair in shlex.split(txt))
    return Seen(
        interface, protocol, instance, host, address, int(port), {key: value for key, _, value in pairs}
    )


def names_by_mdns(host: Host) -> None:
    """The C library on this host asks avahi for what ends in .local, as Debian sets it up."""
    (host.namespace.files / "nsswitch.conf").write_text(
        "passwd: files\ngroup: files\nhosts: files mdns4_minimal [NOTFOUND=return] dns\n"
    )
