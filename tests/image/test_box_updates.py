"""Updates of a box that serves a clinic: taken, refused, cut off, given back; and what was recorded is always there."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.image import images
from tests.image.clinic import wait_until_served
from tests.image.conftest import Box
from tests.image.machine import wait_for

pytestmark = pytest.mark.xdist_group("a box that is updated")

DATA = "/var/lib/medxz/hub"
UPDATE_S = 600.0
# how long a version may take to become well: fifteen minutes are for a card in a Pi, not for a test of what never does
SOON = "[Service]\nExecStart=\nExecStart=/usr/bin/medxz-hub update --confirm --data /var/lib/medxz/hub --within 60\n"
CONFIRM = "/etc/systemd/system/medxz-hub-confirm.service.d"


def next_version(count: int) -> str:
    """One that is `count` later than the image's."""
    major, minor, _ = images.described("amd64")["version"].split(".", 2)
    return f"{major}.{int(minor) + count}.0"


@pytest.fixture(scope="module")
def better(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A version that works."""
    folder = tmp_path_factory.mktemp("better")
    root = images.changed("amd64", folder / "rootfs.ext4", next_version(1))
    return images.bundle(root, folder / "better.raucb", next_version(1))


def altered(bundle: Path) -> Path:
    """One byte in its middle is another one."""
    out = bundle.with_name("altered.raucb")
    content = bytearray(bundle.read_bytes())
    content[len(content) // 2] ^= 255
    out.write_bytes(content)
    return out


def broken(folder: Path) -> Path:
    """One whose hub does not start, since what opens its database is missing."""
    library = "/usr/lib/medxz-hub/lib/python3.11/site-packages/sqlcipher3/dbapi2.py"
    root = images.changed("amd64", folder / "rootfs.ext4", next_version(2), without=library)
    soon = folder / "soon.conf"
    soon.write_text(SOON)
    images.edit(root, f"mkdir {CONFIRM}", f"write {soon} {CONFIRM}/soon.conf")
    return images.bundle(root, folder / "broken.raucb", next_version(2))


def older(folder: Path) -> Path:
    root = folder / "older.ext4"
    root.write_bytes(os.urandom(2**20))  # nobody gets as far as to what is in it
    return images.bundle(root, folder / "older.raucb", "0.0.1")


@pytest.fixture(scope="module")
def box(box: Box, better: Path, tmp_path_factory: pytest.TempPathFactory) -> Box:
    """With a stick that has all of them."""
    folder = tmp_path_factory.mktemp("stick")
    bundles = (better, altered(better), broken(folder), older(folder))
    box.machine.stick = images.stick(folder / "stick.img", *bundles)
    return box


def updated(box: Box, *words: str, seconds: float = UPDATE_S) -> tuple[int, dict[str, Any]]:
    done = box.machine.ssh(
        "medxz-hub", "update", "--data", DATA, *words, "--json", check=False, seconds=seconds
    )
    lines = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("{")]
    assert lines, done.stderr or done.stdout
    return done.returncode, dict(json.loads(lines[-1]))


def status(box: Box) -> dict[str, Any]:
    return updated(box, "--status")[1]


def all_is_there(box: Box, family: str) -> None:
    """What was recorded before, and that the box takes more."""
    tablet = box.tablet()
    tablet.record(family)
    box.families.add(family)
    tablet.until_in_the_cloud()
    assert tablet.families() == box.families


def wait_until_confirmed(box: Box) -> None:
    def is_over() -> bool:
        done = box.machine.ssh("systemctl", "is-active", "medxz-hub-confirm", check=False)
        return done.stdout.strip() in {"active", "failed"}

    wait_for(is_over, "the health gate", UPDATE_S)


def test_a_bundle_that_was_altered_is_refused(box: Box) -> None:
    """One flipped byte in the middle of a bundle, and nothing of it becomes the box's next start."""
    code, told = updated(box, "--from", box.machine.on_stick("altered.raucb"))
    assert code == 1, told
    assert status(box)["next_slot"] == box.machine.slot() == "A"


def test_a_power_cut_in_an_update_leaves_what_ran(box: Box) -> None:
    """The plug is pulled while the other slot is written: the box starts as it was, with all that it had."""
    bundle = box.machine.on_stick("better.raucb")
    before = box.machine.written()
    box.machine.ssh_in_the_background("medxz-hub", "update", "--data", DATA, "--from", bundle)
    wait_for(lambda: box.machine.written() > before + 150 * 2**20, "the other slot being written", UPDATE_S)
    box.machine.pull_the_plug()
    box.machine.start()
    wait_until_served(box.machine)
    box.machine.wait_for_ssh()
    assert box.machine.slot() == "A"
    assert status(box)["version"] == images.described("amd64")["version"]
    all_is_there(box, "AfterACut")


def test_an_update_is_installed_tried_and_kept(box: Box, better: Path) -> None:
    """The cloud offers a version: the box takes it into its other slot, starts it, finds it well and keeps it."""
    wait_until_confirmed(box)
    box.cloud.ask_operator("release", "add", "--bundle", better)
    before = box.machine.boot_id()
    code, told = updated(box)
    assert code == 0, told
    box.machine.wait_for_another_start(before)
    wait_until_served(box.machine)
    wait_until_confirmed(box)
    told = status(box)
    assert box.machine.slot() == "B"
    assert told["version"] == next_version(1)
    assert told["last_update"]["state"] == "confirmed"
    all_is_there(box, "AfterAnUpdate")


def test_an_older_version_is_refused(box: Box) -> None:
    """What is older than what runs is not installed unless somebody insists."""
    wait_until_confirmed(box)
    code, told = updated(box, "--from", box.machine.on_stick("older.raucb"))
    assert (code, told["code"]) == (1, "downgrade")


def test_a_broken_update_is_given_back(box: Box) -> None:
    """A version whose hub does not serve is tried, found wanting and left, by nobody but the box itself."""
    before = box.machine.boot_id()
    code, told = updated(box, "--from", box.machine.on_stick("broken.raucb"))
    assert code == 0, told
    box.machine.wait_for_another_start(before)
    tried = box.machine.boot_id()
    assert box.machine.slot() == "A"
    box.machine.wait_for_another_start(tried, UPDATE_S)
    wait_until_served(box.machine)
    wait_until_confirmed(box)
    told = status(box)
    assert box.machine.slot() == "B"
    assert told["version"] == next_version(1)
    assert told["last_update"]["state"] == "failed"
    all_is_there(box, "AfterABrokenOne")
