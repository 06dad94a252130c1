"""What a hub says of itself on its LAN, as a foreign finder hears it; and what becomes of it when the hub moves or stops."""

from __future__ import annotations

import shlex
import shutil
import signal
import ssl
import sys
from pathlib import Path

import httpx
import pytest
from playwright.async_api import async_playwright

from tests.lan.avahi import Avahi, Seen, names_by_mdns
from tests.lan.clinic import PORT, Clinic
from tests.lan.hosts import Host
from tests.system.hub_process import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("lan")]

CHROMIUM = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip

# what another program on that machine makes of it; prints the server's id
FETCH_SCRIPT = """
import json, ssl, sys, urllib.request
context = ssl.create_default_context(cafile=sys.argv[2])
print(json.load(urllib.request.urlopen(sys.argv[1], context=context))["server_id"], end="")
"""
FETCH = (sys.executable, "-c", FETCH_SCRIPT)


@pytest.fixture
def phone(clinic: Clinic) -> Host:
    """A foreign machine on the clinic's LAN, with avahi."""
    made = clinic.lan.host("phone")
    names_by_mdns(made)
    return made


@pytest.fixture
def avahi(phone: Host, tmp_path: Path) -> Avahi:
    return Avahi(phone, tmp_path)


def addresses_of(seen: list[Seen]) -> set[str]:
    return {one.address for one in seen}


async def test_a_foreign_finder_finds_the_hub(
    clinic: Clinic, phone: Host, avahi: Avahi, tmp_path: Path
) -> None:
    """avahi-browse shows instance, host, port, addresses and record as the protocol fixes them; the host's name opens the
    hub's pages in a browser, under a certificate of the clinic's CA that is good for that name; a stop takes it back.
    """
    clinic.start()
    server_id = clinic.hub.server_id
    found = avahi.browsed(1)
    one = found[0]
    assert (one.instance, one.host, one.port) == (f"medxz-{server_id[-8:]}", "medxz.local", PORT)
    assert one.txt == {
        "v": "1", "id": server_id, "site": clinic.cloud.made["sites"][0]["site_id"], "tls": "1", "path": "/v1",
        "fp": clinic.fingerprint,
    }  # fmt: skip
    assert clinic.hub.host.address in addresses_of(found)
    wait_until(lambda: {one.protocol for one in avahi.browse()} == {"IPv4", "IPv6"}, "both protocols")
    assert avahi.resolve("medxz.local") == clinic.hub.host.address
    assert avahi.resolve("medxz.local", "-6") in {clinic.hub.host.address6, *clinic.hub.host.link_local()}

    ca = tmp_path / "clinic-ca.pem"
    ca.write_text(clinic.ca_certificate())
    assert phone.run(*avahi.command(*FETCH, f"https://medxz.local:{PORT}/v1/info", ca)).stdout == server_id
    title = await opened(avahi, f"https://medxz.local:{PORT}/docs", tmp_path)
    assert "medxz" in title.lower()

    clinic.hub.end(signal.SIGTERM)
    assert avahi.browsed(0) == []


def test_the_announcement_follows_the_address(clinic: Clinic, avahi: Avahi) -> None:
    """A hub that gets another address is announced with it, and at once has a certificate that names it."""
    clinic.start()
    before, ca = clinic.hub.host.address, clinic.ca_certificate()
    assert before in addresses_of(avahi.browsed(1))
    clinic.hub.host.move(200)
    after = clinic.hub.host.address

    def follows() -> bool:
        there = addresses_of(avahi.browse())
        return after in there and before not in there

    wait_until(follows, "the new address to be announced")
    wait_until(lambda: is_named(clinic, ca, after), "a certificate that names it")


def is_named(clinic: Clinic, ca: str, address: str) -> bool:
    """Whether who trusts the clinic's CA, and looks for the address in the certificate, is content with the hub there."""
    context = ssl.create_default_context(cadata=ca)
    with clinic.dan.host.namespace.entered():
        try:
            httpx.get(f"https://{address}:{PORT}/v1/info", verify=context, timeout=5)
        except httpx.ConnectError:
            return False
    return True


def test_two_hubs_have_names_of_their_own(clinic: Clinic, avahi: Avahi) -> None:
    """Of two hubs on a LAN each has its own instance and its own host name, and each name leads to its hub."""
    clinic.start()
    clinic.second.start()
    found = avahi.browsed(2)
    hosts = {one.txt["id"]: one.host for one in found}
    wait_until(lambda: len({one.host for one in avahi.browse()}) == 2, "two host names")
    hosts = {one.txt["id"]: one.host for one in avahi.browse()}
    assert set(hosts.values()) == {"medxz.local", "medxz-2.local"}
    for hub in (clinic.hub, clinic.second):
        assert avahi.resolve(hosts[hub.server_id]) == hub.host.address


async def opened(avahi: Avahi, url: str, folder: Path) -> str:
    """The title of a page, as chromium on that host shows it."""
    chromium = shutil.which("chromium")
    assert chromium is not None, "scripts/system-packages installs it"
    start = folder / "chromium"
    command = avahi.host.command(*avahi.command(chromium))
    start.write_text("#!/bin/sh\nexec " + shlex.join(command) + ' "$@"\n')
    start.chmod(0o755)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=start, args=CHROMIUM)
        page = await browser.new_page(ignore_https_errors=True)
        await page.goto(url)
        title = await page.title()
        await browser.close()
    return title
