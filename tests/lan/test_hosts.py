"""The hosts that other tests stand on are what they say: apart, connected, slow when told, and gone afterwards."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.lan.hosts import Host, Lan, Network
from tests.lan.namespaces import FILES, PREFIX, Namespace, remove_leftovers
from tests.system.hub_process import environment

pytestmark = pytest.mark.slow

SO_RCVBUFFORCE = 33  # whatever the machine's limit is: only the link shall lose anything
MULTICAST = ("224.0.0.251", 5_353)


def reaches(here: Host, address: str, seconds: float = 2.0) -> bool:
    """Whether that machine answers, if only that nobody listens there."""
    try:
        knock(here, address, seconds)
    except OSError:
        return False
    return True


def knock(here: Host, address: str, seconds: float) -> float:
    """How many seconds it takes to be refused."""
    with here.namespace.entered():
        begun = time.monotonic()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((address, 9), seconds)
        return time.monotonic() - begun


def test_a_lan_connects_its_hosts(lan: Lan) -> None:
    """Two hosts of a LAN reach each other over IPv4 and IPv6, until a cable is pulled, and again when it is back."""
    one, other = lan.host("one"), lan.host("other")
    assert reaches(one, other.address)
    assert reaches(one, other.address6)
    other.unplug()
    assert not reaches(one, other.address, 0.2)
    other.plug()
    assert reaches(one, other.address)


def test_a_host_moves(lan: Lan) -> None:
    """A host that takes another address is found there, and no longer where it was."""
    one, other = lan.host("one"), lan.host("other")
    before = other.address
    other.move(200)
    assert other.address == lan.address(200)
    assert reaches(one, other.address)
    assert not reaches(one, before, 0.2)


def test_multicast_stays_on_its_lan(network: Network, lan: Lan) -> None:
    """What is sent to the group of mDNS comes to the hosts of that LAN alone, though the router carries the rest."""
    here, beside, beyond = lan.host("here"), lan.host("beside"), network.lan("ward").host("beyond")
    ears = {}
    for host in (beside, beyond):
        with host.namespace.entered():
            ears[host] = ear = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        ear.bind(MULTICAST)
        member = socket.inet_aton(MULTICAST[0]) + socket.inet_aton(host.address)
        ear.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
    with here.namespace.entered():
        mouth = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with mouth, ears[beside] as near, ears[beyond] as far:
        mouth.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 255)
        mouth.sendto(b"who is there", MULTICAST)
        near.settimeout(5)
        assert near.recv(100) == b"who is there"
        assert reaches(here, beyond.address), "the router routes"
        far.settimeout(0.2)
        with pytest.raises(TimeoutError):
            far.recv(100)


def test_the_internet_is_cut(lan: Lan, wan: Lan) -> None:
    """A LAN that is cut off vanishes without a word; the others go on."""
    one, other, away = lan.host("one"), lan.host("other"), wan.host("away")
    assert reaches(one, away.address)
    wan.cut()
    assert not reaches(one, away.address, 0.2)
    assert reaches(one, other.address)
    wan.mend()
    assert reaches(one, away.address)


def test_a_link_is_slow(lan: Lan) -> None:
    """A link that takes 50 ms each way makes a round trip of 100 ms, and none when it takes nothing."""
    near, far = lan.host("near"), lan.host("far", seed=1)
    assert reaches(near, far.address)
    assert min(knock(near, far.address, 2) for _ in range(3)) < 0.05
    far.shape(delay_s=0.05)
    assert 0.1 <= min(knock(near, far.address, 2) for _ in range(3)) < 0.15


def test_a_link_loses(lan: Lan) -> None:
    """Of 500 datagrams over a link that loses a fifth, about 400 arrive."""
    near, far = lan.host("near"), lan.host("far", seed=1)
    assert reaches(near, far.address)
    far.shape(loss=0.2)
    with far.namespace.entered():
        ear = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with near.namespace.entered():
        mouth = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with ear, mouth:
        ear.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 4_000_000)
        ear.bind((far.address, 5_000))
        for _ in range(500):
            mouth.sendto(b"one of many", (far.address, 5_000))
        ear.settimeout(0.5)
        arrived = 0
        with pytest.raises(TimeoutError):
            while ear.recv(100):
                arrived += 1
    assert 350 < arrived < 450


def test_a_link_is_wide(lan: Lan) -> None:
    """A link with a round trip of 100 ms carries more than 10 Mbit a second, and leaves most of a core alone."""
    near, far = lan.host("near"), lan.host("far", seed=1)
    far.shape(delay_s=0.05)
    size = 4_000_000
    with near.namespace.entered():
        listening = socket.create_server((near.address, 5_000))
    with listening:
        feeder = threading.Thread(target=feed, args=(listening, size))
        feeder.start()
        with far.namespace.entered():
            begun = time.monotonic()
            taking = socket.create_connection((near.address, 5_000))
        with taking:
            taken = 0
            while chunk := taking.recv(65_536):
                taken += len(chunk)
        seconds = time.monotonic() - begun
        feeder.join()
    assert taken == size
    assert size * 8 / seconds > 10_000_000
    assert far.link_cpu_s() < seconds / 2


def test_nothing_is_left(network: Network) -> None:
    """A host that is closed ends what runs on it, and its namespace and its files are gone."""
    host = network.lan("lan").host("brief")
    process = host.start("sleep", "1000")
    host.close()
    assert process.returncode is not None
    assert not Path("/run/netns", host.namespace.name).exists()
    assert not (FILES / host.namespace.name).exists()
    host.namespace.remove()


def test_what_a_killed_run_left_is_removed(network: Network) -> None:
    """Namespaces of a process that was killed go at the next start, with what runs in them; those of others stay."""
    script = "import tests.lan.namespaces as n, subprocess, time\nm = n.Namespace('left')\n"
    script += (
        "p = subprocess.Popen(m.command('sleep', '1000'))\nprint(m.name, p.pid, flush=True)\ntime.sleep(1000)"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as killed:
        assert killed.stdout is not None
        name, pid = killed.stdout.readline().split()
        killed.kill()
    assert name.startswith(PREFIX)
    remove_leftovers()
    assert not Path("/run/netns", name).exists()
    assert not (FILES / name).exists()
    command_line = Path("/proc", pid, "cmdline")
    assert not command_line.exists() or command_line.read_bytes() == b"", (
        "it has ended, seen by its parent or not"
    )
    assert Path("/run/netns", network.router.name).exists()


def test_a_thread_comes_back(network: Network) -> None:
    """Who has entered a namespace is where it was before, also after a failure."""
    before = where()
    made = Namespace("visited")
    try:
        with pytest.raises(ZeroDivisionError), made.entered():
            assert where() != before
            raise ZeroDivisionError
        assert where() == before
    finally:
        made.remove()


def test_who_cant_make_namespaces_is_told_once() -> None:
    """Without `ip` the tests are skipped for one reason, with their count; where they are required they fail."""
    bare = environment({"PATH": "/nowhere"})
    own = [sys.executable, "-m", "pytest", "-ra", "-p", "no:cacheprovider", __file__, "-k", "test_a_link"]
    skipped = subprocess.run(own, env=without(bare), capture_output=True, text=True, check=False)
    assert skipped.returncode == 0, skipped.stdout
    assert "SKIPPED [3]" in skipped.stdout
    assert "no network namespaces on this machine: ip, nft not found" in skipped.stdout
    failed = subprocess.run(
        own, env=bare | {"MEDXZ_NAMESPACES": "required"}, capture_output=True, text=True, check=False
    )
    assert failed.returncode == 1, failed.stdout
    assert "3 errors" in failed.stdout


def without(env: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in env.items() if name != "MEDXZ_NAMESPACES"}


def where() -> Path:
    """The network that this thread is in."""
    return Path("/proc/thread-self/ns/net").readlink()


def feed(listening: socket.socket, size: int) -> None:
    connection, _ = listening.accept()
    with connection:
        connection.sendall(bytes(size))
