"""A flashed card with a claim file: the box becomes the clinic's hub by itself, and is shut but for the hub's door."""

from __future__ import annotations

import re

import pytest

from tests.image.clinic import health, wait_until_served
from tests.image.conftest import Box
from tests.image.machine import HUB_PORT, wait_for

pytestmark = pytest.mark.xdist_group("a box at work")


def test_it_claims_itself_and_serves(box: Box) -> None:
    """With nothing but its card's file, a box becomes a hub that serves, grows its data partition and asks for nothing."""
    print(f"\nfirst boot, from power to a hub that serves: {box.first_start_s:.0f} s")
    assert [hub["name"] for hub in box.cloud.hubs()] == ["Reception"]


def test_the_code_leaves_the_card_and_a_report_stands_there(box: Box) -> None:
    """What was used is no longer on the card, and the card says how the box is."""
    file = box.machine.ssh("cat", "/boot/firmware/medxz-hub.toml").stdout
    assert box.code not in file.replace("-", "")
    assert "Reception" in file
    assert box.machine.ssh("cat", "/boot/firmware/medxz-hub-report.txt").stdout.strip()


def test_a_device_pairs_and_pushes(box: Box) -> None:
    """A tablet that is let in by a code records, and what it recorded goes through the hub to the cloud."""
    tablet = box.tablet()
    tablet.record("Abara")
    tablet.until_in_the_cloud()
    box.families.add("Abara")
    assert tablet.families() == box.families


def test_the_root_can_not_be_written(box: Box) -> None:
    """Nothing but the data partition and the card can be written, and no memory is swapped out."""
    mounts = box.machine.ssh("cat", "/proc/mounts").stdout.splitlines()
    writable = {
        line.split()[1]
        for line in mounts
        if line.split()[2] in {"ext4", "vfat"} and "rw" in line.split()[3].split(",")
    }
    assert writable - {"/boot/firmware"} == {"/var"}
    assert box.machine.ssh("touch", "/etc/here", check=False).returncode != 0
    assert len(box.machine.ssh("cat", "/proc/swaps").stdout.splitlines()) == 1


def test_the_data_partition_is_encrypted_and_as_large_as_the_card(box: Box) -> None:
    """The last partition was grown over the card and is LUKS inside; the rest of the card holds no records."""
    told = box.machine.ssh("cryptsetup", "isLuks", "/dev/medxz/data", check=False)
    assert told.returncode == 0
    size = int(box.machine.ssh("df", "--output=size", "--block-size=1M", "/var").stdout.split()[-1])
    assert size > 1_500


def test_nothing_listens_but_the_hub(box: Box) -> None:
    """The hub's port and the ssh that the card's file turned on are all that can be reached from outside."""
    told = box.machine.ssh("cat", "/proc/net/tcp", "/proc/net/tcp6").stdout.splitlines()
    listening = set()
    for line in told:
        parts = line.split()
        if (
            len(parts) > 3
            and parts[3] == "0A"
            and not parts[1].startswith(("0100007F", "3500007F", "3600007F"))
        ):
            listening.add(int(parts[1].rpartition(":")[2], 16))
    assert listening == {HUB_PORT, 22}
    rules = box.machine.ssh("nft", "list", "ruleset").stdout
    assert re.search(r"hook input priority \w+; policy drop;", rules)
    opened = re.search(r"elements = \{ ([^}]*) \}", rules)
    assert opened is not None
    assert {int(port) for port in opened.group(1).split(",")} == {HUB_PORT, 22}


def test_nobody_has_a_password(box: Box) -> None:
    """No account can log in with a password, on the screen or over ssh, and no screen asks for one."""
    shadow = box.machine.ssh("cat", "/etc/shadow").stdout
    assert {line.split(":")[1] for line in shadow.splitlines()} <= {"*", "!", "!*", "!!"}
    told = box.machine.ssh("sshd", "-T").stdout
    assert "passwordauthentication no" in told
    assert "kbdinteractiveauthentication no" in told
    assert "getty" not in box.machine.ssh("ps", "-e", "-o", "comm", check=False).stdout


def test_it_looks_after_itself(box: Box) -> None:
    """The time is set unattended, the journal is bounded, the hardware's watchdog is fed, and no unit has failed."""
    shown = box.machine.ssh("systemctl", "show", "--property", "RuntimeWatchdogUSec,WatchdogDevice").stdout
    assert "RuntimeWatchdogUSec=15s" in shown
    assert "WatchdogDevice=/dev/watchdog" in shown
    assert (
        box.machine.ssh("systemctl", "is-active", "systemd-timesyncd", "nftables").stdout.split()
        == ["active"] * 2
    )
    settings = box.machine.ssh("systemd-analyze", "cat-config", "systemd/journald.conf").stdout
    assert "SystemMaxUse=64M" in settings
    failed = box.machine.ssh("systemctl", "list-units", "--failed", "--plain", "--no-legend").stdout
    assert failed == ""


def test_the_watchdog_starts_a_box_that_hangs(box: Box) -> None:
    """A box whose kernel stands still is started again by its hardware, and serves as before."""
    before = box.machine.boot_id()
    identity = box.machine.ssh("cat", "/etc/machine-id").stdout
    box.machine.let_the_watchdog_bite()
    # a kernel that stops everything and waits for somebody to look at it; this connection ends before
    box.machine.ssh_in_the_background(
        "sh", "-c", "'sleep 2; echo 0 >/proc/sys/kernel/panic; echo c >/proc/sysrq-trigger'"
    )
    box.machine.wait_for_another_start(before)
    wait_until_served(box.machine)
    assert box.machine.ssh("cat", "/etc/machine-id").stdout == identity
    wait_for(lambda: (health(box.machine) or {}).get("ok") is True, "its health", 120)
    assert box.tablet().families() == box.families
