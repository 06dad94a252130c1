"""Network namespaces for tests: made, entered, and removed, those of a run that was killed too.

A namespace's name tells which process made it. Whatever runs in one that is removed was started by tests, and ends.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Final

PREFIX: Final = "mxlan"
FILES: Final = Path("/etc/netns")  # `ip netns exec` lays what is in FILES/NAME over /etc
_CLONE_NEWNET: Final = 0x40000000
_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_NUMBERS: Final = count(1)
_GONE_S_MAX: Final = 5.0
_POLL_S: Final = 0.01


class CannotMakeNamespaces(Exception):
    """This machine has no namespaces for us; it says why."""


class Namespace:
    """A network of its own. Its name is `<prefix>-<pid>-<start of that process>-<number>-<role>`."""

    def __init__(self, role: str) -> None:
        self.role = role
        self.name = f"{PREFIX}-{_mark(os.getpid())}-{next(_NUMBERS)}-{role}"
        _ip("netns", "add", self.name)
        self.files = FILES / self.name
        self.files.mkdir(parents=True)
        (self.files / "hosts").write_text("127.0.0.1 localhost\n::1 localhost\n")
        # nobody answers there: a name that is not known is not known at once
        (self.files / "resolv.conf").write_text("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
        with self.entered():
            # addresses can be used at once, and no router's word changes them
            for name, value in {"accept_dad": 0, "accept_ra": 0}.items():
                Path(f"/proc/sys/net/ipv6/conf/default/{name}").write_text(str(value))
        self.ip("link", "set", "lo", "up")

    def ip(self, *arguments: str) -> str:
        return _ip("-n", self.name, *arguments)

    def command(self, *arguments: object) -> list[str]:
        """The command line that runs this one in here."""
        return ["ip", "netns", "exec", self.name, *map(str, arguments)]

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """This thread is in here meanwhile: a socket that it makes belongs here for ever."""
        with _opened("/proc/thread-self/ns/net") as before, _opened(f"/run/netns/{self.name}") as here:
            _enter(here)
            try:
                yield
            finally:
                _enter(before)

    def remove(self) -> None:
        _remove(self.name)


def check_that_namespaces_can_be_made() -> None:
    """Make one with all that the tests need; CannotMakeNamespaces says what fails. Removes what a killed run left."""
    missing = [tool for tool in ("ip", "nft") if shutil.which(tool) is None]
    if missing:
        raise CannotMakeNamespaces(f"{', '.join(missing)} not found (scripts/system-packages)")
    remove_leftovers()
    try:
        made = Namespace("probe")
    except (OSError, subprocess.CalledProcessError) as error:
        raise CannotMakeNamespaces(getattr(error, "stderr", None) or str(error)) from error
    try:
        made.ip("link", "add", "bridge", "type", "bridge")
        made.ip("link", "add", "one", "type", "veth", "peer", "name", "two")
        made.ip("tuntap", "add", "tap", "mode", "tap")
        subprocess.run(
            made.command("nft", "add table inet probe"), check=True, capture_output=True, text=True
        )
    except subprocess.CalledProcessError as error:
        raise CannotMakeNamespaces(f"{error.cmd}: {error.stderr}") from error
    finally:
        made.remove()


def remove_leftovers() -> None:
    """Those of processes that are not there any more."""
    names = {
        path.name for folder in (Path("/run/netns"), FILES) if folder.is_dir() for path in folder.iterdir()
    }
    for name in sorted(names):
        parts = name.split("-")
        if parts[0] == PREFIX and len(parts) >= 3 and "-".join(parts[1:3]) != _mark(int(parts[1])):
            _remove(name)


def _remove(name: str) -> None:
    """End what runs in it, then take it away."""
    if Path("/run/netns", name).exists():
        deadline = time.monotonic() + _GONE_S_MAX
        while (pids := _pids(name)) and time.monotonic() < deadline:
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            time.sleep(_POLL_S)
        with contextlib.suppress(subprocess.CalledProcessError):  # another run has done it
            _ip("netns", "del", name)
    shutil.rmtree(FILES / name, ignore_errors=True)


def _pids(name: str) -> list[str]:
    """Who runs in it; nobody, when it has just gone."""
    told = subprocess.run(["ip", "netns", "pids", name], check=False, capture_output=True, text=True)
    return told.stdout.split()


def _mark(pid: int) -> str:
    """The process and when it started, so that another one that has its number later is not taken for it."""
    try:
        started = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        started = "gone"
    return f"{pid}-{started}"


def _ip(*arguments: str) -> str:
    return _run(["ip", *arguments])


def _run(command: Sequence[str]) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@contextlib.contextmanager
def _opened(path: str) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _enter(descriptor: int) -> None:
    if _LIBC.setns(descriptor, _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")
