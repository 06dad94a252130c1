"""The units of updates under a real systemd: what they may do is enough for what they do, and a version that can't even say
how it is gets left. RAUC and the restart are written down here; they are real in tests/system/test_update.py and in the image.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from hub.update.schemas import told
from tests.appliance.conftest import started
from tests.appliance.nspawn import Container
from tests.system.hub_process import CLINIC

pytestmark = [pytest.mark.xdist_group("nspawn"), pytest.mark.slow]

DATA = "/var/lib/medxz/hub"
CONFIRM, UPDATE = "medxz-hub-confirm.service", "medxz-hub-update.service"
SLOT = {"type": "raw", "parent": None, "mountpoint": None, "boot_status": "good", "class": "rootfs"}
STATUS = {
    "booted": "B", "boot_primary": "rootfs.1",
    "slots": [{"rootfs.0": SLOT | {"bootname": "A"}}, {"rootfs.1": SLOT | {"bootname": "B"}}],
}  # fmt: skip
BUNDLE = {"version": "0.3.0", "compatible": "medxz-hub-amd64", "build": told()}
RAUC = f"""#!/bin/sh
case "$*" in
    *info*) echo '{json.dumps(BUNDLE)}' ;;
    *--output-format=json*) echo '{json.dumps(STATUS)}' ;;
    *) echo "$*" >>/run/rauc-was-asked ;;
esac
"""
RESTART = """[Unit]
Description=the restart that is asked for
DefaultDependencies=no
"""
SOON = f"""[Service]
ExecStart=
ExecStart=/usr/bin/medxz-hub update --confirm --data {DATA} --within 6
"""
# which slot it is, a container has no kernel to ask: an empty condition takes back all of them
STICK = "medxz-hub-stick@stick.service"
# a folder for a stick: a container has no disks
PLUGGED_IN = """[Service]
ExecCondition=
ExecCondition=+/usr/bin/systemd-mount --quiet --fsck=no --options=bind,ro /var/stick /run/medxz-stick
ExecCondition=/bin/sh -c 'set -- /run/medxz-stick/*.raucb; test -e "$$1"'
"""
ANYWHERE = "[Unit]\nConditionKernelCommandLine=\nConditionPathExists=/var/lib/medxz-update/trying-%i\n"


class Imaged(Container):
    """One that runs from an image, in whose slot B a version is."""

    def make(self) -> Container:
        super().make()
        (self.overlay / "lib/medxz-hub/image.json").write_text(
            json.dumps({"version": "0.2.0", "built": "", "arch": "amd64"})
        )
        rauc = self.overlay / "bin/rauc"
        rauc.write_text(RAUC)
        rauc.chmod(0o755)
        units = self.root / "etc/systemd/system"
        (units / "reboot.target").write_text(RESTART)
        for unit, text in {
            CONFIRM: SOON,
            "medxz-hub-giveback@.service": ANYWHERE,
            "medxz-hub-stick@.service": PLUGGED_IN,
        }.items():
            (units / f"{unit}.d").mkdir()
            (units / f"{unit}.d/test.conf").write_text(text)
        return self


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    with started(Imaged(tmp_path_factory.mktemp("imaged"))) as box:
        box.run("medxz-hub", "init", "--data", DATA, "--clinic", CLINIC)
        yield box


@pytest.fixture
def box(made: Container) -> Iterator[Container]:
    """Just started, with nothing known of updates."""
    yield made
    for unit in (CONFIRM, UPDATE, STICK, "medxz-hub.service", "reboot.target"):
        made.run("systemctl", "stop", unit, check=False)
    made.run("systemctl", "reset-failed", check=False)
    made.run("rm", "-rf", "/var/lib/medxz-update", "/run/rauc-was-asked")


def tries(box: Container, state: str = "installed") -> None:
    """It is in the first start of version 0.2.0."""
    folder = box.path("/var/lib/medxz-update")
    folder.mkdir(exist_ok=True)
    trial = {
        "version": "0.2.0", "before": "0.1.0", "slot": "B", "began_at": "t", "boot_id": "before", "must_sync": False,
        "state": state,
    }  # fmt: skip
    (folder / "trial.json").write_text(json.dumps(trial))
    (folder / "trying-B").touch()


def trial(box: Container) -> dict[str, Any]:
    return dict(json.loads(box.path("/var/lib/medxz-update/trial.json").read_text()))


def asked(box: Container) -> list[str]:
    return box.run("cat", "/run/rauc-was-asked", check=False).stdout.splitlines()


def is_restarting(box: Container) -> bool:
    return box.show("reboot.target", "ActiveState") == "active"


def test_a_start_like_any_other(box: Container) -> None:
    """What runs is confirmed, whether the hub does or not, and nothing restarts."""
    box.run("systemctl", "start", CONFIRM)
    assert asked(box) == ["status mark-good booted"]
    assert not is_restarting(box)


def test_a_version_that_is_well(box: Container) -> None:
    """Closed off as it is, the unit can look at the hub as a device does, confirm it, and write that down."""
    tries(box)
    box.run("systemctl", "start", "medxz-hub.service", CONFIRM)
    assert asked(box) == ["status mark-good booted"]
    assert trial(box)["state"] == "confirmed"
    assert not box.path("/var/lib/medxz-update/trying-B").exists()
    assert not is_restarting(box)


def test_a_version_that_is_not(box: Container) -> None:
    """Where no hub serves in time, the other slot is next, why is written down, and the machine restarts."""
    tries(box)
    box.run("systemctl", "start", CONFIRM, check=False)
    box.until(lambda: is_restarting(box), "the restart")
    assert asked(box) == ["status mark-bad booted", "status mark-active other"]
    assert trial(box)["state"] == "failed"
    assert "does not answer" in trial(box)["why"]


def test_a_version_whose_program_does_not_run(box: Container) -> None:
    """What can't confirm itself is left by a unit that needs nothing of it; a version that was kept before is not."""
    drop_in = f"/run/systemd/system/{CONFIRM}.d/then-broken.conf"
    box.run("mkdir", "-p", drop_in.rpartition("/")[0])
    box.run("sh", "-c", f"printf '[Service]\\nExecStart=\\nExecStart=/bin/false\\n' >{drop_in}")
    box.run("systemctl", "daemon-reload")
    try:
        box.run("systemctl", "start", CONFIRM, check=False)
        box.until(
            lambda: box.show("medxz-hub-giveback@B.service", "ConditionResult") == "no", "its condition"
        )
        assert asked(box) == []
        tries(box)
        box.run("systemctl", "start", CONFIRM, check=False)
        box.until(lambda: is_restarting(box), "the restart")
        assert asked(box) == ["status mark-bad booted", "status mark-active other"]
    finally:
        box.run("rm", drop_in)
        box.run("systemctl", "daemon-reload")


def test_the_hourly_question(box: Container) -> None:
    """A hub without a cloud has nobody to ask, which is no failure; nothing was tried."""
    box.run("systemctl", "start", "medxz-hub.service")
    box.run("systemctl", "start", UPDATE)
    assert box.show(UPDATE, "Result") == "success"
    assert "no cloud to take updates from" in box.run("journalctl", "--no-pager", "--unit", UPDATE).stdout
    box.run("systemctl", "stop", "medxz-hub.service")
    box.run("systemctl", "start", UPDATE)
    assert box.show(UPDATE, "ConditionResult") == "no"


def test_what_the_hub_fetched_is_taken(box: Container) -> None:
    """Closed off as it is, the unit takes a bundle out of the hub's own folder, and has it for root alone."""
    fetched, taken = "/var/lib/medxz/hub.update", "/var/lib/medxz-update/taken"
    box.run("install", "--directory", "--owner=medxz", "--group=medxz", "--mode=700", fetched)
    box.run(
        "sh",
        "-c",
        f"echo a bundle >{fetched}/x.raucb; chmod 600 {fetched}/x.raucb; chown medxz: {fetched}/x.raucb",
    )
    take = f"from hub.update.taking import *; take_fetched(P('{fetched}'), 'x.raucb', P('{taken}'))"
    with_in_it(box, take)
    assert box.run("cat", taken).stdout == "a bundle\n"
    assert box.run("stat", "-c", "%a %U", taken).stdout == "600 root\n"
    assert box.run("ls", fetched).stdout == ""
    box.run("rm", "-r", fetched)


def test_a_package_is_laid_beside_the_one_that_runs(box: Container) -> None:
    """Closed off as it is, the unit can read what the package is that would be gone back to."""
    folder = "/var/lib/medxz-update"
    described = "Package: medxz-hub\\nVersion: 0.2.0\\nArchitecture: all\\nMaintainer: x <x@y.example>\\nDescription: x\\n"
    box.run("mkdir", "-p", f"{folder}/made/DEBIAN")
    box.run("sh", "-c", f"printf '{described}' >{folder}/made/DEBIAN/control")
    box.run("dpkg-deb", "--root-owner-group", "--build", f"{folder}/made", f"{folder}/A.deb")
    box.run("sh", "-c", f"echo the next one >{folder}/new.deb")
    with_in_it(
        box,
        f"from hub.update.debian import Debian; Debian(P('/')).install(P('{folder}/new.deb'), lambda *_: None)",
    )
    assert box.run("cat", f"{folder}/B.deb").stdout == "the next one\n"


def with_in_it(box: Container, program: str) -> None:
    """Run this in place of what the unit that takes updates runs."""
    interpreter = (box.overlay / "bin/medxz-hub").read_text().partition("exec ")[2].partition(" -m ")[0]
    tree = "/usr/lib/medxz-hub"
    drop_in = f"/run/systemd/system/{UPDATE}.d/instead.conf"
    lines = (
        "[Unit]", "ConditionPathExists=", "[Service]", "ExecStart=", f"Environment=PYTHONPATH={tree}/tree:{tree}/site-packages",
        f'ExecStart={interpreter} -c "from pathlib import Path as P; {program}"',
    )  # fmt: skip
    box.run("mkdir", "-p", drop_in.rpartition("/")[0])
    box.run("sh", "-c", 'printf "%s\n" "$@" >"$0"', drop_in, *lines)
    box.run("systemctl", "daemon-reload")
    try:
        box.run("systemctl", "start", UPDATE)
    finally:
        box.run("rm", drop_in)
        box.run("systemctl", "daemon-reload")


def test_a_stick(box: Container) -> None:
    """What is put in is looked at, taken if there is an update on it, and let go again; without one nothing happens."""
    stick = box.path("/var/stick")
    stick.mkdir()
    box.run("systemctl", "start", STICK, check=False)
    assert box.show(STICK, "Result") in {"success", "exec-condition"}
    assert asked(box) == []
    (stick / "new.raucb").write_text("a bundle")
    box.run("systemctl", "start", STICK)
    box.until(lambda: is_restarting(box), "the restart")
    assert asked(box) == ["install /var/lib/medxz-update/bundle.raucb"]
    assert (trial(box)["version"], trial(box)["slot"]) == ("0.3.0", "A")
    assert box.run("ls", "/run/medxz-stick").stdout == "", "it can be pulled out"
