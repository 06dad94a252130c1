"""A fleet's life in one go, each test where the one before has left it: from bare machines to a restored hub."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import httpx
import pytest

from tests.fleet.boxes import Box
from tests.fleet.conftest import PASSWORD, SITES, Fleet
from tests.fleet.workers import Workers
from tests.lan.clinic import LanTablet
from tests.system.hub_process import wait_until

pytestmark = [pytest.mark.fleet, pytest.mark.xdist_group("alone")]

PLANTED = "Zwetschgenbaum"


def is_well(box: Box) -> bool:
    status = box.status()
    return bool(status["healthy"]) and status["upstream"] == "online" and status["backlog"] == 0


def runs(box: Box, version: str) -> bool:
    return box.version() == version and box.update()["last_update"]["state"] == "confirmed"


def test_bare_machines_become_a_fleet(fleet: Fleet) -> None:
    """From the folder of `make dist` alone a cloud and three hubs are made; `--check` tells of it and touches nothing."""
    fleet.operator.played(
        "cloud", "-i", fleet.inventory,
        cloud_dist=str(fleet.dist), cloud_public_url=fleet.cloud.url, cloud_clinic="Riverside",
        cloud_sites=[*SITES.values()], cloud_admin_email="ada@clinic.example", cloud_admin_password=PASSWORD,
    )  # fmt: skip
    fleet.cloud_ca.write_text(fleet.cloud.command("ca", "show")["ca_certificate"])
    fleet.operator.variables = {
        "hub_dist": str(fleet.dist),
        "hub_cloud_url": fleet.cloud.url,
        "hub_cloud_ca": str(fleet.cloud_ca),
        "hub_cloud_host": "cloud",
        "hub_settings": {"backup_to": "cloud"},
    }
    told = fleet.operator.played("provision", "-i", fleet.inventory, "--check", "--diff")
    assert min(told.changed[name] for name in SITES) > 0
    assert not any(box.path("/etc/medxz").exists() for box in fleet.hubs.values())
    fleet.operator.played("provision", "-i", fleet.inventory)
    for name, box in fleet.hubs.items():
        box.until(partial(is_well, box), f"that {name} is well")
        assert box.version() == fleet.cloud.run("dpkg-query", "-f${Version}", "-W", "medxz-cloud").stdout
    assert sorted(fleet.ids()) == sorted(SITES)


def test_a_second_run_changes_nothing(fleet: Fleet) -> None:
    """Provisioned again, no task of any host has changed anything; `--check` says so of a cloud beforehand."""
    again = fleet.operator.played("provision", "-i", fleet.inventory)
    assert again.changed == dict.fromkeys(SITES, 0), again.said[-4_000:]
    cloud = fleet.operator.played(
        "cloud", "-i", fleet.inventory, "--check", "--diff",
        cloud_dist=str(fleet.dist), cloud_public_url=fleet.cloud.url, cloud_clinic="Riverside",
        cloud_sites=[*SITES.values()], cloud_admin_email="ada@clinic.example", cloud_admin_password=PASSWORD,
    )  # fmt: skip
    assert cloud.changed == {"cloud": 0}, cloud.said[-4_000:]


def test_the_inventory_is_the_clouds(fleet: Fleet) -> None:
    """An operator's token reads every hub with its groups, over TLS that is verified; another token, or no CA, is refused."""
    fleet.cloud.command("operator", "add", "--name", "ansible")
    token = fleet.cloud.command("operator", "token", "--operator", "ansible")["access_token"]
    (fleet.operator.folder / "token").write_text(token + "\n")
    fleet.operator.variables |= {
        "update_cloud_url": fleet.cloud.url,
        "update_cloud_ca": str(fleet.cloud_ca),
        "update_token": token,
    }
    for name, ring in {"north": "canary", "south": "early"}.items():
        fleet.cloud.command("hub", "ring", fleet.ids()[name], ring)
    told = listed(fleet)
    assert set(told["medxz_hubs"]["hosts"]) == {f"{name}-{hub[-8:]}" for name, hub in fleet.ids().items()}
    assert [host.partition("-")[0] for host in told["ring_canary"]["hosts"]] == ["north"]
    assert [host.partition("-")[0] for host in told["site_riverside_east"]["hosts"]] == ["east"]
    assert "clinic_riverside" in told
    variables = told["_meta"]["hostvars"][told["ring_canary"]["hosts"][0]]
    assert plain(variables["ansible_host"]) == fleet.hubs["north"].host.address
    assert plain(variables["medxz_ring"]) == "canary"


def test_a_version_comes_to_all(fleet: Fleet) -> None:
    """Ring by ring while people work: no op is lost, nobody waits, and a hub that was off meanwhile catches up."""
    tablets = [fleet.tablet(f"{name}-tablet", name) for name in SITES]
    reader = fleet.tablet("reader", "north")
    reader.record(PLANTED)
    fleet.release(fleet.hubs["north"].version())  # what a rollout is taken back to has to be there too
    fleet.release("0.2.0")
    fleet.hubs["east"].stop()
    with Workers(tablets) as workers:
        run = fleet.operator.played(
            "update", "-i", fleet.in_cloud,
            update_version="0.2.0", update_follow_every_s=2,
            update_rollout={"serial": 1, "max_failures": 0, "wait_for_away_s": 0},
        )  # fmt: skip
        assert run.changed["localhost"] == 1
        for name in ("north", "south"):
            fleet.hubs[name].until(partial(runs, fleet.hubs[name], "0.2.0"), f"0.2.0 at {name}")
        fleet.hubs["east"].start()
        fleet.hubs["east"].until(partial(runs, fleet.hubs["east"], "0.2.0"), "0.2.0 at east", 300)
    print(f"recorded {len(workers.recorded())}, longest wait {workers.longest_wait_s():.2f} s,", end=" ")
    print(f"longest on a device alone {workers.longest_here_s():.1f} s")
    assert workers.longest_wait_s() < 5
    assert len(workers.recorded()) > 30
    for tablet in tablets:
        tablet.until_in_the_cloud()
    assert workers.recorded() <= everything(reader)


def test_a_bad_version_ends_at_the_canary(fleet: Fleet) -> None:
    """One that does not serve is given back by the first hub, the rollout pauses, and nobody else has touched it."""
    fleet.release("0.3.0", is_bad=True)
    run = fleet.operator.play(
        "update", "-i", fleet.in_cloud,
        update_version="0.3.0", update_follow_every_s=2,
        update_rollout={"serial": 1, "max_failures": 0, "wait_for_away_s": 0},
    )  # fmt: skip
    assert run.status != 0
    assert "is paused at canary" in " ".join(run.said.split())
    canary = fleet.hubs["north"]
    canary.until(partial(is_well, canary), "the canary is well again")
    assert canary.version() == "0.2.0"
    assert canary.update()["last_update"]["state"] == "failed"
    for name in ("south", "east"):
        assert fleet.hubs[name].update()["last_update"]["version"] == "0.2.0"
    fleet.cloud.command("rollout", "abort")


def test_over_ssh(fleet: Fleet) -> None:
    """The same code by another way: hub after hub takes a version that is brought, and a second run changes nothing."""
    dist = fleet.version("0.4.0").parent
    first = fleet.operator.played("update", "-i", fleet.in_cloud, update_by="ssh", update_dist=str(dist))
    assert all(runs(box, "0.4.0") for box in fleet.hubs.values()), first.said[-3_000:]
    again = fleet.operator.played("update", "-i", fleet.in_cloud, update_by="ssh", update_dist=str(dist))
    assert sum(again.changed.values()) == 0, again.said[-3_000:]


def test_the_next_keys(fleet: Fleet) -> None:
    """The cloud signs with another key, and nobody notices: hubs stay connected, devices sync."""
    before = key_ids(fleet)
    too_soon = fleet.operator.play("rotate_keys", "-i", fleet.inventory)
    assert "published less than an hour ago" in too_soon.said
    fleet.cloud.hurry()
    fleet.operator.played("rotate_keys", "-i", fleet.inventory)
    wait_until(lambda: bool(key_ids(fleet) - before), "that another key is published")
    tablet = fleet.tablet("after", "south")
    tablet.record("After")
    tablet.until_in_the_cloud()
    assert all(is_well(box) for box in fleet.hubs.values())


def test_what_is_collected_tells_of_nobody(fleet: Fleet) -> None:
    """Diagnostics say how hubs are; a name that was recorded there is nowhere in them."""
    place = fleet.folder / "diagnostics"
    fleet.operator.played("collect_diagnostics", "-i", fleet.inventory, diagnostics_to=str(place))
    assert sorted(file.stem for file in place.iterdir()) == sorted(SITES)
    for file in place.iterdir():
        text = file.read_text()
        told = json.loads(text)
        assert json.loads("\n".join(told["status"]))["running"] is True
        assert len(told["journal"]) > 10
        assert PLANTED.lower() not in text.lower()
        assert "Family-" not in text


def test_a_restore(fleet: Fleet) -> None:
    """A backup from the cloud is brought back, the hub begins a new epoch, and what came after the backup comes back too."""
    box, tablet = fleet.hubs["north"], fleet.tablet("later", "north")
    fleet.operator.played("backup", "-i", fleet.inventory, "--limit", "north", backup_to="cloud")
    op = tablet.record("After-the-backup")
    tablet.until_in_the_cloud()
    before = box.status()
    refused = fleet.operator.play("restore", "-i", fleet.inventory, "--limit", "north", restore_confirm=False)
    assert refused.status != 0
    fleet.operator.played("restore", "-i", fleet.inventory, "--limit", "north", restore_confirm=True)
    box.until(lambda: box.status()["ops"] >= before["ops"], "everything is there again")
    assert box.status()["epoch"] != before["epoch"]
    tablet.sync()
    assert op in everything(tablet)


def test_a_hub_is_shut_out(fleet: Fleet) -> None:
    """Revoked, a hub is in the fleet no more; said again, nothing changes."""
    hub = fleet.ids()["east"]
    first = fleet.operator.played("revoke", "-i", fleet.inventory, revoke_hub=hub)
    assert first.changed == {"cloud": 1}
    again = fleet.operator.played("revoke", "-i", fleet.inventory, revoke_hub=hub)
    assert again.changed == {"cloud": 0}
    assert "ring_all" not in listed(fleet)


def listed(fleet: Fleet) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(
        fleet.operator.done("ansible-inventory", "-i", fleet.in_cloud, "--list")
    )
    return answer


def plain(value: Any) -> Any:
    """A text that ansible marks as somebody else's, as a text."""
    return value["__ansible_unsafe"] if isinstance(value, dict) else value


def everything(tablet: LanTablet) -> set[str]:
    """Every op that a device has, once it has asked for them."""
    tablet.sync()
    return {str(op["op_id"]) for op in tablet.ask("log", "--limit", 10_000)["ops"]}


def key_ids(fleet: Fleet) -> set[str]:
    with fleet.operator.host.namespace.entered():
        told = httpx.get(f"{fleet.cloud.url}/.well-known/jwks.json", verify=False, timeout=30).json()
    return {str(key["kid"]) for key in told["keys"]}
