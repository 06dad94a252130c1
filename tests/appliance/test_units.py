"""The unit files as systemd itself reads them, without one that runs."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.appliance.nspawn import UNITS

EXPOSURE_MAX = 1.5
# unit -> why it can't be closed off so far
OPEN_BY_NATURE: dict[str, str] = {
    "medxz-hub-confirm.service": "1.6: as root it asks the hub over the network, as a device would, and restarts the machine",
    "medxz-hub-exchange.service": "5.2: it is dpkg, which writes to all of the system and runs what packages bring",
}

SERVICES = sorted(path.name for path in UNITS.glob("*.service"))
TIMERS = sorted(path.name for path in UNITS.glob("*.timer"))
RUNNING = {"medxz-hub.service", "medxz-cloud.service"}


def read(name: str) -> configparser.RawConfigParser:
    """A unit; of a setting that stands several times the last one."""
    parser = configparser.RawConfigParser(strict=False, comment_prefixes=("#",), delimiters=("=",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(UNITS / name)
    return parser


def analysed(*arguments: object) -> subprocess.CompletedProcess[str]:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze on this machine")
    return subprocess.run(
        ["systemd-analyze", *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize("name", [name for name in SERVICES if name not in OPEN_BY_NATURE])
def test_a_service_is_closed_off(name: str) -> None:
    """`systemd-analyze security` finds an exposure of at most 1.5 in each service."""
    told = analysed("security", "--offline=yes", "--no-pager", UNITS / name).stdout
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", told)
    assert found is not None, told
    assert float(found[1]) <= EXPOSURE_MAX, told


def test_units_are_lawful(tmp_path: Path) -> None:
    """`systemd-analyze verify` finds nothing wrong in any of them, once their programs are where they will be."""
    for path in UNITS.glob("medxz*.*"):
        if path.suffix in {".service", ".timer"}:
            text = re.sub(r"(?m)^(Exec\w+=[-+!@:]*)/\S+", r"\1/bin/true", path.read_text("utf-8"))
            (tmp_path / path.name).write_text(text.replace("Documentation=man:", "#"))
    done = analysed("verify", "--man=no", *sorted(tmp_path.iterdir()))
    complaints = [line for line in done.stderr.splitlines() if "medxz" in line]
    assert complaints == []
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", TIMERS)
def test_a_timer_has_its_service(name: str) -> None:
    """Each timer starts a service of its name, catches up what it slept through, and not all boxes at one moment."""
    timer = read(name)
    assert name.replace(".timer", ".service") in SERVICES
    assert "RandomizedDelaySec" in timer["Timer"]
    assert timer["Install"]["WantedBy"] == "timers.target"
    service = read(name.replace(".timer", ".service"))
    assert service["Service"]["Type"] == "oneshot"
    assert not service.has_section("Install")


@pytest.mark.parametrize("name", sorted(RUNNING))
def test_a_server_is_kept_up(name: str) -> None:
    """Hub and cloud tell systemd when they serve and that they live, and are started again for ever when they fail."""
    service = read(name)["Service"]
    assert service["Type"] == "notify"
    assert int(service["WatchdogSec"]) > 0
    assert service["Restart"] == "on-failure"
    assert read(name)["Unit"]["StartLimitIntervalSec"] == "0"
    # wrong settings end with 2, and only a person mends them
    assert service["RestartPreventExitStatus"] == "2"


@pytest.mark.parametrize("name", SERVICES)
def test_nothing_in_memory_is_written_out(name: str) -> None:
    """No service leaves a core file: there would be medical records in it."""
    assert read(name)["Service"]["LimitCORE"] == "0"


@pytest.mark.parametrize("name", SERVICES)
def test_what_follows_a_stop_has_its_time(name: str) -> None:
    """A service that has something to say when it has ended gets a minute for it: a worn card takes long to write."""
    service = read(name)["Service"]
    if "ExecStopPost" in service:
        assert int(service.get("TimeoutStopSec", "90")) >= 60  # systemd's own is 90


def test_the_check_may_ask_the_disks() -> None:
    """Who runs without the unit's limits is still in its control group: the disks that it asks are let in there by name."""
    text = (UNITS / "medxz-hub-check.service").read_text("utf-8")
    assert re.search(r"(?m)^ExecStartPre=\+-/bin/sh .*smartctl", text)
    asked = {"sd": "block-sd", "nvme": "block-blkext"}
    for kind, group in asked.items():
        assert f"/sys/block/{kind}*" in text
        assert f"\nDeviceAllow={group} rw\n" in text
    assert "\nPrivateDevices=yes\n" in text, "the rest of it sees none of them"
