"""The page of a box that is no hub yet, found on its LAN by name as a telephone finds it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.lan.avahi import Avahi, names_by_mdns
from tests.lan.clinic import lan_environment
from tests.lan.hosts import Host, Lan
from tests.system.hub_process import PROGRAM, wait_until

pytestmark = [pytest.mark.proof, pytest.mark.xdist_group("lan")]

FETCH = (
    sys.executable,
    "-c",
    "import sys, urllib.request as u; print(u.urlopen(sys.argv[1], timeout=20).read().decode())",
)


def flashed(host: Host, folder: Path) -> subprocess.Popen[Any]:
    """A box without a file on its card."""
    (folder / "var/lib/medxz").mkdir(parents=True)
    data = folder / "var/lib/medxz/hub"
    return host.start(
        *PROGRAM, "first-boot", "wait", "--data", data, "--root", folder, env=lan_environment(),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip


def name_of(folder: Path) -> str | None:
    try:
        told: str | None = json.loads((folder / "run/medxz-first-boot/state.json").read_text())["host"]
    except FileNotFoundError:
        return None
    return told


@pytest.mark.skipif(
    shutil.which("avahi-daemon") is None, reason="no avahi: scripts/system-packages installs it"
)
def test_two_boxes_are_two_names(lan: Lan, tmp_path: Path) -> None:
    """The first is medxz.local, the second gives way; each name leads a foreign finder to its own page on port 80."""
    phone = lan.host("phone")
    names_by_mdns(phone)
    avahi = Avahi(phone, tmp_path)
    for number, expected in enumerate(("medxz.local", "medxz-2.local")):
        box, folder = lan.host(f"box{number}"), tmp_path / f"box{number}"
        flashed(box, folder)
        wait_until(lambda folder=folder: name_of(folder) is not None, "a name")  # type: ignore[misc]
        assert name_of(folder) == expected
        wait_until(lambda name=expected: avahi.resolve(name) is not None, "the name, heard")  # type: ignore[misc]
        assert avahi.resolve(expected) == box.address
        page = phone.run(*avahi.command(*FETCH, f"http://{expected}/")).stdout
        assert "Make this box a hub of your clinic" in page
        assert box.address in page
    # no hub is announced: tablets are not led here
    assert avahi.browse() == []
