"""avahi on a host of tests is one that hears its LAN, and the C library there asks it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.lan.avahi import Avahi, names_by_mdns
from tests.lan.hosts import Lan

pytestmark = pytest.mark.slow

ANNOUNCING = """
import socket, sys, time
from zeroconf import ServiceInfo, Zeroconf
info = ServiceInfo(
    "_medxz-sync._tcp.local.", "medxz-12345678._medxz-sync._tcp.local.", port=8443, properties={"v": "1"},
    server="medxz.local.", addresses=[socket.inet_aton(sys.argv[1])],
)
zeroconf = Zeroconf()
zeroconf.register_service(info)
time.sleep(1000)
"""


def test_avahi_hears_what_another_host_announces(lan: Lan, tmp_path: Path) -> None:
    """A service that is announced on the LAN is browsed with its record, and its host's name is an address."""
    phone, desk = lan.host("phone"), lan.host("desk")
    names_by_mdns(phone)
    avahi = Avahi(phone, tmp_path)
    assert avahi.browse() == []
    desk.start(sys.executable, "-c", ANNOUNCING, desk.address)
    (seen,) = avahi.browsed(1)
    assert (seen.instance, seen.host, seen.address) == ("medxz-12345678", "medxz.local", desk.address)
    assert (seen.port, seen.txt) == (8_443, {"v": "1"})
    assert avahi.resolve("medxz.local") == desk.address
    told = phone.run(*avahi.command("getent", "ahostsv4", "medxz.local"))
    assert told.stdout.split()[0] == desk.address
