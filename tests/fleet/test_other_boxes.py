"""What `test_a_fleet.py` does not show: a Debian 13 made from wheels, a disk for the records, firewalls, updates that break off or
fail, a box in the place of another. Each test goes on where the one before has left it.

`north` is the Debian 13, `south` (the canary) and `east` (early) have the package.
"""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest

from tests.appliance.nspawn import TREE
from tests.fleet.boxes import Box
from tests.fleet.conftest import PASSWORD, SITES, Fleet, make_dist, possible
from tests.fleet.disks import DISK, DiskBox
from tests.fleet.same import enabled, exposure, ports, result
from tests.fleet.suite import SuiteBox
from tests.fleet.test_a_fleet import everything, is_well, runs
from tests.lan.clinic import answered
from tests.lan.hosts import Host
from tests.system.world import DEVICE

pytestmark = [pytest.mark.fleet_rest, pytest.mark.xdist_group("alone")]

SPARE: Final = "spare"
# what only a package and an image have: they exchange themselves
OF_UPDATES: Final = {"medxz-hub-confirm.service", "medxz-hub-update.timer"}
REFUSED_S: Final = 1.0


class Trixie(SuiteBox):
    def __init__(self, folder: Path, host: Host, key: Path) -> None:
        super().__init__(folder, host, key, "trixie")

    def version(self) -> str:
        place = self.run("readlink", "/usr/lib/medxz-hub").stdout.strip()
        return place.removeprefix("/usr/lib/medxz-hub-").rpartition("-")[0]


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with ExitStack() as stack:
        kinds: dict[str, Callable[[Path, Host, Path], Box]] = {"north": Trixie, "east": DiskBox}
        made = possible(lambda: Fleet(tmp_path_factory.mktemp("others"), stack, kinds))
        make_dist(made.operator, made.keys, made.dist, "--python", "3.13")
        made.variables["north"] = {"hub_install": "wheel", "ansible_python_interpreter": "/usr/bin/python3"}
        made.variables["east"] = {"hub_data_device": DISK}
        yield made


def test_boxes_of_all_kinds_become_hubs(fleet: Fleet) -> None:
    """A Debian 13 without pip, venv and internet, and two with the package, are hubs then; again, and nothing changes."""
    fleet.operator.played(
        "cloud", "-i", fleet.inventory,
        cloud_dist=str(fleet.dist), cloud_public_url=fleet.cloud.url, cloud_clinic="Riverside",
        cloud_sites=[*SITES.values()], cloud_admin_email="ada@clinic.example", cloud_admin_password=PASSWORD,
    )  # fmt: skip
    fleet.cloud_ca.write_text(fleet.cloud.command("ca", "show")["ca_certificate"])
    fleet.cloud.command("operator", "add", "--name", "ansible")
    token = fleet.cloud.command("operator", "token", "--operator", "ansible")["access_token"]
    (fleet.operator.folder / "token").write_text(token + "\n")
    fleet.operator.variables = {
        "hub_dist": str(fleet.dist),
        "hub_cloud_url": fleet.cloud.url,
        "hub_cloud_ca": str(fleet.cloud_ca),
        "hub_cloud_host": "cloud",
        "hub_settings": {"backup_to": "cloud"},
        "hub_firewall": True,
        "update_cloud_url": fleet.cloud.url,
        "update_cloud_ca": str(fleet.cloud_ca),
        "update_token": token,
    }
    told = fleet.operator.played("provision", "-i", fleet.inventory, "--check", "--diff")
    assert min(told.changed[name] for name in SITES) > 0
    assert not any(box.path("/etc/medxz").exists() for box in fleet.hubs.values())
    fleet.operator.played("provision", "-i", fleet.inventory)
    for name, box in fleet.hubs.items():
        box.until(partial(is_well, box), f"that {name} is well")
    assert fleet.hubs["north"].run("/usr/lib/medxz-hub/bin/python", "-V").stdout.startswith("Python 3.13")
    again = fleet.operator.played("provision", "-i", fleet.inventory)
    assert again.changed == dict.fromkeys(SITES, 0), again.said[-4_000:]
    for name, ring in {"south": "canary", "east": "early"}.items():
        fleet.cloud.command("hub", "ring", fleet.ids()[name], ring)


def test_wheels_make_the_same(fleet: Fleet) -> None:
    """User, directories, modes, settings, ports and how closed off it is are those of the package; updates are not."""
    wheel, package = result(fleet.hubs["north"]), result(fleet.hubs["south"])
    assert package.pop("starts by itself") - wheel.pop("starts by itself") == OF_UPDATES
    assert wheel == package
    for box in (fleet.hubs["north"], fleet.hubs["south"]):
        print(box.run("systemctl", "--version").stdout.split()[1], exposure(box), end="; ")
        complaints = box.run("systemd-analyze", "verify", "--man=no", "medxz-hub.service", check=False).stderr
        assert [line for line in complaints.splitlines() if "medxz" in line] == []
        assert enabled(box)


def test_nothing_else_comes_in(fleet: Fleet) -> None:
    """Behind the firewall another machine reaches SSH and the hub, finds it by mDNS, and no other port; also after a power cut."""
    outsider = fleet.lan.host("outsider")
    open_to_all = fleet.cloud  # it has none
    boxes = {name: fleet.hubs[name] for name in ("north", "south")}
    for box in (*boxes.values(), open_to_all):
        listens(box)
    assert reached(outsider, open_to_all, 22, 9_999) == {22, 9_999}
    for name, box in boxes.items():
        assert {"tcp 22", "tcp 8443", "tcp 9999"} <= ports(box)
        assert reached(outsider, box, 22, 8_443, 9_999, 8_080) == {22, 8_443}, name
    found = answered(outsider.command(*DEVICE, "discover", "--wait", "3"), fails=True)["found"]
    assert {box.status()["server_id"] for box in boxes.values()} <= {one["server_id"] for one in found}
    box = boxes["south"]
    box.stop()
    box.start()
    listens(box)
    box.until(partial(is_well, box), "that it is well again")
    assert reached(outsider, box, 22, 8_443, 9_999) == {22, 8_443}


def test_records_on_a_disk_of_their_own(fleet: Fleet) -> None:
    """They lie on the disk, also after a power cut; without the disk no hub begins anew beside it."""
    box = fleet.hubs["east"]
    assert isinstance(box, DiskBox)
    tablet = fleet.tablet("disk", "east")
    op = tablet.record("On-the-disk")
    tablet.until_in_the_cloud()
    assert mounted(box) == DISK
    before = box.status()
    box.stop()
    box.is_plugged_in = False
    box.start()
    box.until(lambda: box.show("var-lib-medxz.mount", "ActiveState") == "failed", "that there is no disk")
    assert box.show("medxz-hub.service", "ActiveState") == "inactive"
    assert box.run("find", "/var/lib/medxz", "-name", "hub.db").stdout == ""
    box.stop()
    box.is_plugged_in = True
    box.start()
    box.until(partial(is_well, box), "that it is well again")
    assert mounted(box) == DISK
    assert (box.status()["server_id"], box.status()["ops"]) == (before["server_id"], before["ops"])
    assert op in everything(tablet)


def test_a_bad_version_over_ssh(fleet: Fleet) -> None:
    """The first hub gives it back and runs what it ran; no other hub is asked."""
    before = {name: box.version() for name, box in fleet.hubs.items()}
    dist = fleet.version("0.2.0", is_bad=True).parent
    for _ in range(2):  # and again: what failed there is not tried once more
        run = fleet.operator.play("update", "-i", fleet.in_cloud, update_by="ssh", update_dist=str(dist))
        assert run.status != 0
        assert {host.partition("-")[0] for host, failed in run.failed.items() if failed} == {"south"}
        assert not any(host.startswith(("north", "east")) for host in run.changed)
    assert "has given 0.2.0 back" in said_in(fleet, "update")
    canary = fleet.hubs["south"]
    canary.until(partial(is_well, canary), "the canary is well again")
    assert {name: box.version() for name, box in fleet.hubs.items()} == before
    assert canary.update()["last_update"]["state"] == "failed"


def test_what_does_not_go_up_over_ssh(fleet: Fleet) -> None:
    """A hub that keeps a version, and does not hand up what it stored, is taken back, and the run ends there; nothing is lost."""
    canary, tablet = fleet.hubs["south"], fleet.tablet("later", "south")
    before = canary.version()
    dist = fleet.version("0.3.0").parent
    with cut_off_from_its_cloud(fleet, canary):
        op = tablet.record("Before-the-update")
        tablet.sync()  # to its hub; the cloud has nothing of it
        canary.until(lambda: bool(canary.status()["backlog"]), "a backlog")
        # otherwise it would give back by itself what cost it its cloud
        canary.until(lambda: canary.status()["upstream"] != "online", "that it knows")
        run = fleet.operator.play(
            "update", "-i", fleet.in_cloud,
            update_by="ssh", update_dist=str(dist), update_forwarded_within_s=15,
        )  # fmt: skip
        assert run.status != 0
        assert f"It was told to go back to {before}" in " ".join(run.said.split())
        assert runs(canary, before)
        assert canary.update()["last_update"]["before"] == "0.3.0"
        assert not any(host.startswith(("north", "east")) for host in run.changed)
    tablet.until_in_the_cloud()
    assert op in everything(tablet)


def test_an_update_over_ssh_that_breaks_off(fleet: Fleet) -> None:
    """The operator's machine dies while the second hub is tried: begun again, it goes on there and does nothing twice."""
    dist = with_wheels(fleet, "0.4.0")
    exchanges = {name: exchanged(fleet.hubs[name]) for name in ("south", "east")}
    arguments: dict[str, Any] = {"update_by": "ssh", "update_dist": str(dist)}
    with fleet.operator.until_a_power_cut("update", "-i", fleet.in_cloud, **arguments) as goes_on:
        fleet.hubs["east"].until(
            lambda: not goes_on() or last(fleet.hubs["east"]) in {"installing 0.4.0", "installed 0.4.0"},
            "the second hub", 300,
        )  # fmt: skip
        assert goes_on(), said_in(fleet, "update")[-3_000:]
    assert runs(fleet.hubs["south"], "0.4.0")
    begun = fleet.hubs["south"].update()["last_update"]["began_at"]
    again = fleet.operator.played("update", "-i", fleet.in_cloud, **arguments)
    assert all(runs(fleet.hubs[name], "0.4.0") for name in ("south", "east"))
    assert fleet.hubs["north"].version() == "0.4.0"
    assert of(again.changed, "south") == 0
    assert fleet.hubs["south"].update()["last_update"]["began_at"] == begun
    assert {name: exchanged(fleet.hubs[name]) - count for name, count in exchanges.items()} == {
        "south": 1,
        "east": 1,
    }
    assert is_well(fleet.hubs["north"])
    third = fleet.operator.played("update", "-i", fleet.in_cloud, **arguments)
    assert sum(third.changed.values()) == 0, third.said[-3_000:]


def test_wheels_go_back_too(fleet: Fleet) -> None:
    """A hub from wheels that does not hand up what it stored runs again what it ran, and tells of no update that it can't take."""
    box, tablet = fleet.hubs["north"], fleet.tablet("wheel", "north")
    dist = with_wheels(fleet, "0.5.0", packages=False)
    with cut_off_from_its_cloud(fleet, box):
        tablet.record("Before-the-wheels")
        tablet.sync()
        box.until(lambda: bool(box.status()["backlog"]), "a backlog")
        run = fleet.operator.play(
            "update", "-i", fleet.in_cloud, "--limit", "north*,localhost",
            update_by="ssh", update_dist=str(dist), update_forwarded_within_s=15,
        )  # fmt: skip
        assert run.status != 0
        assert "It was told to go back to 0.4.0" in " ".join(run.said.split())
        assert box.version() == "0.4.0"
    tablet.until_in_the_cloud()
    box.until(partial(is_well, box), "that it is well again")


def test_a_rollout_whose_operator_breaks_off(fleet: Fleet) -> None:
    """The cloud goes on with it by itself; begun again, the playbook follows the same rollout, and tells whom it left out."""
    fleet.release("0.4.0")
    fleet.release("0.6.0")
    arguments: dict[str, Any] = {
        "update_version": "0.6.0",
        "update_follow_every_s": 2,
        "update_rollout": {"serial": 1, "max_failures": 0, "wait_for_away_s": 0},
    }
    with fleet.operator.until_a_power_cut("update", "-i", fleet.in_cloud, **arguments) as goes_on:
        fleet.hubs["south"].until(
            lambda: not goes_on() or last(fleet.hubs["south"]) in {"installing 0.6.0", "installed 0.6.0"},
            "the first hub", 300,
        )  # fmt: skip
        assert goes_on(), said_in(fleet, "update")[-3_000:]
    begun = fleet.cloud.command("rollout", "status")
    assert begun["state"] == "running"
    again = fleet.operator.played("update", "-i", fleet.in_cloud, **arguments)
    assert again.changed["localhost"] == 0
    assert "1 hubs were left out" in " ".join(again.said.split())
    ended = fleet.cloud.command("rollout", "status")
    assert (ended["rollout_id"], ended["state"], ended["begun_at"]) == (
        begun["rollout_id"], "done", begun["begun_at"],
    )  # fmt: skip
    assert (ended["hubs"]["done"], ended["hubs"]["skipped"], ended["hubs"]["failed"]) == (2, 1, 0)
    assert all(runs(fleet.hubs[name], "0.6.0") for name in ("south", "east"))


def test_a_box_in_the_place_of_another(fleet: Fleet) -> None:
    """A bare machine takes a dead hub's place: that one is revoked, its tablets go on here, and again nothing changes."""
    tablet = fleet.tablet("orphan", "east")
    kept = tablet.record("Before-it-died")
    tablet.until_in_the_cloud()
    dead = fleet.ids()["east"]
    fleet.hubs.pop("east").stop()
    late = tablet.record("While-there-was-none")
    box = fleet.started(Box(fleet.folder / SPARE, fleet.lan.host(SPARE), fleet.operator.key))
    fleet.hubs[SPARE], fleet.variables[SPARE] = box, {}
    arguments = ("-i", spare_inventory(fleet), "--limit", SPARE)
    fleet.operator.played("replace", *arguments, replace_hub=dead, hub_site="East")
    box.until(partial(is_well, box), "that it is well")
    listed = fleet.cloud.command("hub", "list")["hubs"]
    assert {hub["name"] for hub in listed if not hub["revoked"]} == {*SITES, SPARE} - {"east"}
    assert [hub["hub_id"] for hub in listed if hub["revoked"]] == [dead]
    again = fleet.operator.played("replace", *arguments, replace_hub=dead, hub_site="East")
    assert again.changed[SPARE] == 0, again.said[-3_000:]
    tablet.until_in_the_cloud()
    box.until(lambda: box.status()["backlog"] == 0, "that it has handed up what it has")
    assert {kept, late} <= everything(tablet)


# ---------------------------------------------------------------------------------------------- what is looked at


def spare_inventory(fleet: Fleet) -> Path:
    spare = {SPARE: {"ansible_host": fleet.hubs[SPARE].host.address}}
    cloud = {"cloud": {"ansible_host": fleet.cloud.host.address}}
    return fleet.operator.inventory("spare", {"medxz_hubs": spare, "medxz_cloud": cloud})


def with_wheels(fleet: Fleet, version: str, *, packages: bool = True) -> Path:
    """A folder of `make dist` of another version."""
    folder = fleet.folder / f"wheels-{version}"
    command = [sys.executable, "-m", "firmware.dist", "--arch", "amd64", "--python", "3.13", "--no-packages"]
    subprocess.run([*command, "--version", version, "--out", folder], cwd=TREE, check=True)
    if packages:
        package = fleet.version(version)
        for file in (package, package.with_name(f"{package.name}.json")):
            (folder / file.name).write_bytes(file.read_bytes())
    return folder


@contextmanager
def cut_off_from_its_cloud(fleet: Fleet, box: Box) -> Iterator[None]:
    """By a rule of its own, beside those of its firewall: SSH goes on."""
    rules = (
        "add table inet cut; add chain inet cut output { type filter hook output priority 0; }; "
        f"add rule inet cut output ip daddr {fleet.cloud.host.address} drop"
    )
    box.run("nft", rules)
    try:
        yield
    finally:
        box.run("nft", "delete table inet cut")


def listens(box: Box) -> None:
    """Something that nobody outside is to reach."""
    box.run("systemd-run", "--quiet", "--unit=stranger", "--collect", "python3", "-m", "http.server", "9999")
    box.until(lambda: "tcp 9999" in ports(box), "the stranger listens")


def reached(outsider: Host, box: Box, *numbers: int) -> set[int]:
    """Which of these ports answers another machine."""
    found = set()
    for number in numbers:
        with outsider.namespace.entered(), contextlib.suppress(OSError):
            socket.create_connection((box.host.address, number), REFUSED_S).close()
            found.add(number)
    return found


def mounted(box: Box) -> str:
    return box.run(
        "findmnt", "--noheadings", "--output", "SOURCE", "/var/lib/medxz", check=False
    ).stdout.strip()


def exchanged(box: Box) -> int:
    """How many times its package was exchanged for another."""
    return int(box.run("cat", "/var/lib/medxz-update/exchanges", check=False).stdout or 0)


def last(box: Box) -> str:
    """How its last update stands; nothing while its program is exchanged."""
    told = box.run(
        "medxz-hub", "update", "--data", "/var/lib/medxz/hub", "--status", "--json", check=False
    ).stdout
    update = (json.loads(told) if told else {}).get("last_update") or {}
    return f"{update.get('state')} {update.get('version')}"


def of(counts: dict[str, int], hub: str) -> int:
    [count] = [count for host, count in counts.items() if host.startswith(f"{hub}-")]
    return count


def said_in(fleet: Fleet, playbook: str) -> str:
    return " ".join((fleet.operator.folder / f"{playbook}.log").read_text().split())
