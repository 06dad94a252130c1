"""Hosts made of network namespaces: LANs that are bridges, a router between them, cables that can be pulled.

A `Network` is a router with a bridge for each LAN. What is multicast stays on its LAN, as behind any router; the rest
goes from each to every other until a test cuts it. All of it goes away with the `Network`, what runs on it first.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from tests.lan.namespaces import Namespace
from tests.system.hub_process import DEADLINE_S, environment

DEVICE: Final = "eth0"
_LINK: Final = Path(__file__).with_name("link.py")


class Network:
    """A router, and the LANs that it knows."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self.router = Namespace("router")
        self._stack.callback(self.router.remove)
        self.lans: list[Lan] = []
        with self.router.entered():
            for key in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
                Path("/proc/sys/net", key).write_text("1")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._stack.close()

    def lan(self, name: str) -> Lan:
        made = Lan(self, name, len(self.lans))
        self.lans.append(made)
        return made

    def add(self, host: Host) -> None:
        """It is removed with the network, the last one first."""
        self._stack.callback(host.close)

    def nft(self, *rules: str) -> None:
        """Rules of the router's."""
        subprocess.run(self.router.command("nft", "; ".join(rules)), check=True, capture_output=True)


class Lan:
    """A bridge with its two subnets, 192.168.X.0/24 and fd77:X::/64; the router is number 1 in both."""

    def __init__(self, network: Network, name: str, index: int) -> None:
        self.network = network
        self.name = name
        self._index = index
        self._numbers = count(10)
        router = network.router
        # all multicast goes everywhere: nobody here asks who wants which
        router.ip("link", "add", name, "type", "bridge", "mcast_snooping", "0")
        router.ip("link", "set", name, "up")
        router.ip("address", "add", f"{self.address(1)}/24", "dev", name)
        router.ip("-6", "address", "add", f"{self.address6(1)}/64", "dev", name)

    def address(self, number: int) -> str:
        return f"192.168.{70 + self._index}.{number}"

    def address6(self, number: int) -> str:
        return f"fd77:{self._index + 1}::{number}"

    def host(self, name: str, *, seed: int | None = None) -> Host:
        """A new host on it; with a seed its cable is a link that can be slow and lossy."""
        made = Host(self, name, next(self._numbers), seed)
        self.network.add(made)
        return made

    def cut(self) -> None:
        """The router lets nothing in and out: it vanishes without a word, as the internet does."""
        self.network.nft(
            f"add table inet cut_{self.name}",
            f"add chain inet cut_{self.name} forward {{ type filter hook forward priority 0; }}",
            f"add rule inet cut_{self.name} forward iifname {self.name} drop",
            f"add rule inet cut_{self.name} forward oifname {self.name} drop",
        )

    def mend(self) -> None:
        self.network.nft(f"delete table inet cut_{self.name}")


class Host:
    """A machine on a LAN: its own addresses, names, firewall and processes."""

    def __init__(self, lan: Lan, name: str, number: int, seed: int | None) -> None:
        self.lan = lan
        self.name = name
        self.namespace = Namespace(name)
        self.address, self.address6 = lan.address(number), lan.address6(number)
        self._port = f"p{number}-{name}"[:15]  # as long as a device's name may be
        self._started: list[subprocess.Popen[Any]] = []
        self._link: subprocess.Popen[str] | None = None
        router = lan.network.router
        if seed is None:
            router.ip(
                "link", "add", self._port, "type", "veth",
                "peer", "name", DEVICE, "netns", self.namespace.name,
            )  # fmt: skip
        else:
            self._link = self._start_link(router, seed)
        router.ip("link", "set", self._port, "master", lan.name, "up")
        self.namespace.ip("link", "set", DEVICE, "up")
        self._take_address()
        self.namespace.ip("-6", "address", "add", f"{self.address6}/64", "dev", DEVICE)
        self.namespace.ip("-6", "route", "add", "default", "via", lan.address6(1))

    def _start_link(self, router: Namespace, seed: int) -> subprocess.Popen[str]:
        started = subprocess.Popen(
            [sys.executable, str(_LINK), str(seed), router.name, self._port, self.namespace.name, DEVICE],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert started.stdout is not None
        assert started.stdout.readline() == "ready\n", "the link"
        return started

    def _take_address(self) -> None:
        self.namespace.ip("address", "add", f"{self.address}/24", "dev", DEVICE)
        self.namespace.ip("route", "add", "default", "via", self.lan.address(1))

    # ------------------------------------------------------------------------------------ what runs here

    def command(self, *arguments: object) -> list[str]:
        """The command line that runs this one here."""
        return self.namespace.command(*arguments)

    def run(
        self, *arguments: object, env: Mapping[str, str] | None = None, text: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """One command, run to its end."""
        return subprocess.run(
            self.command(*arguments),
            env=environment(env), capture_output=True, text=True, timeout=DEADLINE_S, check=False, input=text,
        )  # fmt: skip

    def start(
        self, *arguments: object, env: Mapping[str, str] | None = None, **options: Any
    ) -> subprocess.Popen[Any]:
        """A command that runs until it is ended, with this host at the latest."""
        process = subprocess.Popen(self.command(*arguments), env=environment(env), **options)
        self._started.append(process)
        return process

    def close(self) -> None:
        for process in self._started:
            process.kill()
            process.wait(DEADLINE_S)
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream is not None:
                    stream.close()
        if self._link is not None:
            with self._link:
                self._link.kill()
        self.namespace.remove()

    # ------------------------------------------------------------------------------------ what can happen

    def move(self, number: int) -> None:
        """Another IPv4 address, as from a DHCP server that has forgotten."""
        self.namespace.ip("address", "del", f"{self.address}/24", "dev", DEVICE)
        self.address = self.lan.address(number)
        self._take_address()

    def unplug(self) -> None:
        """The cable is out: what is sent to it is lost."""
        self.lan.network.router.ip("link", "set", self._port, "down")

    def plug(self) -> None:
        self.lan.network.router.ip("link", "set", self._port, "up")

    def shape(self, delay_s: float = 0.0, loss: float = 0.0) -> None:
        """From now on its link takes so long each way, and loses so many of the frames."""
        assert self._link is not None, "its cable is none that can be slow: give the host a seed"
        assert self._link.stdin is not None
        self._link.stdin.write(json.dumps({"delay_s": delay_s, "loss": loss}) + "\n")
        self._link.stdin.flush()

    def link_cpu_s(self) -> float:
        """What its link has cost so far."""
        assert self._link is not None
        told = Path(f"/proc/{self._link.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(told[11]) + int(told[12])) / os.sysconf("SC_CLK_TCK")

    def knows(self, name: str, *addresses: str) -> None:
        """As if its DNS said so."""
        file = self.namespace.files / "hosts"
        with file.open("a") as hosts:  # the same file, so that who runs already sees it
            hosts.writelines(f"{address} {name}\n" for address in addresses)

    def link_local(self) -> list[str]:
        """Its addresses that hold on this LAN alone."""
        told = json.loads(self.namespace.ip("-j", "address", "show", "dev", DEVICE))[0]["addr_info"]
        return [one["local"] for one in told if one["scope"] == "link"]

    def traffic(self) -> tuple[int, int]:
        """Bytes that it has received and sent so far."""
        told = json.loads(self.namespace.ip("-s", "-j", "link", "show", DEVICE))[0]["stats64"]
        return int(told["rx"]["bytes"]), int(told["tx"]["bytes"])
