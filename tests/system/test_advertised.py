"""A real hub on loopback, made known by mDNS: heard, told, certified under its name, and gone when it stops."""

import asyncio
import os
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from medxz.lan.announcement import instance_name, urls
from medxz.lan.browsing import Browser
from tests.system.hub_process import DEADLINE_S, HubProcess, answer, wait_until

pytestmark = pytest.mark.slow

# what a watch tells in a network of its own, where loopback comes up and goes
WATCHING = """
import asyncio, subprocess
from medxz.lan.interfaces import InterfaceWatch

async def main():
    watch = InterfaceWatch(look_s=60.0)
    await watch.start()
    print([one.addresses for one in watch.interfaces], flush=True)
    for state in ("up", "down"):
        told = asyncio.ensure_future(watch.changed())
        await asyncio.sleep(0.5)  # by then it waits, and looks no more by itself
        subprocess.run(["ip", "link", "set", "lo", state], check=True)
        changed = await asyncio.wait_for(told, 10)
        print([one.ipv4 for one in changed], flush=True)
    watch.stop()

asyncio.run(main())
"""


@pytest.fixture
def hub(tmp_path: Path):
    process = HubProcess(tmp_path)
    yield process
    process.kill()


async def heard(browser: Browser, holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not holds():
            await browser.next_change()


def mdns(hub: HubProcess) -> dict[str, Any]:
    told: dict[str, Any] = answer("status", "--data", hub.data)["mdns"]
    return told


async def test_it_is_announced_as_it_serves_and_gone_when_it_stops(hub: HubProcess) -> None:
    """Port, TLS, ids and fingerprint are those of the hub, after a kill as before; a stop takes it back within its budget."""
    name = instance_name(hub.server_id)
    async with Browser(["127.0.0.1"]) as browser:
        hub.start()
        await heard(browser, lambda: name in browser.found())
        hub.kill()
        hub.start()
        await heard(browser, lambda: hub.url in urls(browser.found()[name]))
        found = browser.found()[name]
        assert (found.server_id, found.site_id) == (hub.server_id, hub.made["site_id"])
        assert (found.is_tls, found.fingerprint) == (True, hub.made["ca_fingerprint"])
        status, seconds = await asyncio.to_thread(hub.stop)
        assert status == 0
        assert seconds < 5
        await heard(browser, lambda: name not in browser.found())


async def test_without_tls_it_says_so(hub: HubProcess) -> None:
    """A hub on plain HTTP is announced on loopback, without TLS, where it serves."""
    name = instance_name(hub.server_id)
    async with Browser(["127.0.0.1"]) as browser:
        hub.start("--plain-http")
        await heard(browser, lambda: name in browser.found())
        assert urls(browser.found()[name]) == [hub.url]


def test_it_tells_its_name_and_is_certified_under_it(hub: HubProcess, tmp_path: Path) -> None:
    """Of two hubs each tells its own host name, and its certificate names it as soon as it has it."""
    (tmp_path / "other").mkdir()
    other = HubProcess(tmp_path / "other")
    try:
        hub.start()
        other.start("--host", "127.0.0.2")
        wait_until(lambda: mdns(hub)["problem"] is None, "the announcement")
        wait_until(lambda: mdns(other)["host"] not in {None, mdns(hub)["host"]}, "a name of its own")
        assert mdns(hub)["addresses"] == ["127.0.0.1"]
        for one in (hub, other):
            wait_until(lambda one=one: mdns(one)["host"] in certified(one), "a certificate with the name")  # type: ignore[misc]
        checks = {check["name"]: check for check in answer("doctor", "--data", hub.data)["checks"]}
        assert checks["hub: mdns"]["ok"]
        assert ".local at 127.0.0.1" in checks["hub: mdns"]["detail"]
    finally:
        other.kill()


def certified(hub: HubProcess) -> list[str]:
    """The names in what it shows."""
    host, _, port = hub.url.removeprefix("https://").rpartition(":")
    shown = x509.load_pem_x509_certificate(ssl.get_server_certificate((host, int(port))).encode())
    named = shown.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return named.value.get_values_for_type(x509.DNSName)


def test_who_does_not_want_it_is_not_announced(hub: HubProcess) -> None:
    """With --no-mdns nothing of it is loaded, the status says so, and the hub is well."""
    hub.start("--no-mdns")
    told = answer("status", "--data", hub.data)
    assert told["mdns"] == {
        "host": None,
        "addresses": [],
        "problem": "off: by --no-mdns or the setting `mdns`",
    }
    assert told["healthy"]
    assert hub.process is not None
    assert "zeroconf" not in Path(f"/proc/{hub.process.pid}/maps").read_text()


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root for a network of its own")
def test_interfaces_that_come_and_go_are_noticed() -> None:
    """The kernel's word is heard at once, long before the next look: an interface with a link, and one without."""
    begun = time.monotonic()
    done = subprocess.run(
        ["unshare", "--net", sys.executable, "-c", WATCHING],
        capture_output=True, text=True, timeout=DEADLINE_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n") == ["[]", "[('127.0.0.1',)]", "[]", ""]
    assert time.monotonic() - begun < 30
