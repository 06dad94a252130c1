"""Here, hub, cloud: each of them lost in turn, and nothing that was acknowledged with it. Nobody types at a tablet."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from medxz.clock import SystemClock, format_time
from tests.system.hub_process import wait_until
from tests.system.world import ADMIN, IDS, NURSE, PASSWORD, CloudProcess, EnrolledTablet, SiteHub

pytestmark = pytest.mark.slow

DOCTOR = "dan@clinic.example"


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[CloudProcess]:
    made = CloudProcess(tmp_path, "North", "South")
    made.add_user(NURSE)
    made.add_user(DOCTOR)
    yield made.start()
    made.end()


@pytest.fixture
def hub(tmp_path: Path, cloud: CloudProcess) -> Iterator[SiteHub]:
    made = SiteHub(tmp_path, cloud, "North")
    made.claim()
    yield made.start()
    made.end()


def test_a_hub_that_is_destroyed_takes_nothing_with_it(
    cloud: CloudProcess, hub: SiteHub, tmp_path: Path
) -> None:
    """Ops that only the lost hub had are pushed again, by the tablets themselves, to the hub that takes its place."""
    nora = EnrolledTablet(tmp_path / "nora", hub, cloud, "North", NURSE)
    dan = EnrolledTablet(tmp_path / "dan", hub, cloud, "North", DOCTOR)
    nora.record("Early")
    nora.until_in_the_cloud()
    cloud.end()
    nora.record("Unforwarded")
    dan.record("Unforwarded-too")
    for tablet in (nora, dan):
        tablet.sync()
    assert (nora.status()["hub"], dan.status()["hub"]) == (1, 1)

    hub.destroy()
    cloud.start()
    successor = SiteHub(tmp_path, cloud, "North", "successor")
    successor.port, successor.url = hub.port, hub.url
    successor.claim()
    successor.start()
    try:
        for tablet in (nora, dan):
            tablet.until_in_the_cloud()
        elsewhere = EnrolledTablet(tmp_path / "elsewhere", cloud, cloud, "South", DOCTOR)
        elsewhere.sync()
        assert elsewhere.families() == {"Early", "Unforwarded", "Unforwarded-too"}
    finally:
        successor.end()


def test_a_cloud_that_is_restored_gets_back_what_its_backup_lacks(
    cloud: CloudProcess, hub: SiteHub, tmp_path: Path
) -> None:
    """From a backup the cloud comes back under a new epoch: hubs push every device's ops again, devices their own."""
    nora = EnrolledTablet(tmp_path / "nora", hub, cloud, "North", NURSE)
    roaming = EnrolledTablet(tmp_path / "roaming", cloud, cloud, "South", DOCTOR)
    nora.record("Backed-up")
    nora.until_in_the_cloud()
    cloud.end()
    backup = cloud.copied_to(tmp_path / "backup")
    cloud.start()
    nora.record("After-by-hub")
    nora.until_in_the_cloud()
    roaming.record("After-straight-to-the-cloud")
    roaming.until_in_the_cloud()

    cloud.end()
    shutil.rmtree(cloud.data)
    shutil.copytree(backup, cloud.data)
    cloud.start()
    roaming.sync()
    newcomer = EnrolledTablet(tmp_path / "newcomer", cloud, cloud, "South", DOCTOR)
    wanted = {"Backed-up", "After-by-hub", "After-straight-to-the-cloud"}

    def are_all_there() -> bool:
        newcomer.sync()
        return newcomer.families() == wanted

    wait_until(are_all_there, "what the backup lacked")
    for tablet in (nora, roaming):
        tablet.until_in_the_cloud()


def test_what_was_done_offline_by_who_was_sent_away_is_kept_and_reviewed(
    cloud: CloudProcess, hub: SiteHub, tmp_path: Path
) -> None:
    """Ops of a user disabled and a device revoked while their hub was offline are stored, applied and marked."""
    nora = EnrolledTablet(tmp_path / "nora", hub, cloud, "North", NURSE)
    dan = EnrolledTablet(tmp_path / "dan", hub, cloud, "North", DOCTOR)
    boss = EnrolledTablet(tmp_path / "boss", cloud, cloud, "South", ADMIN)
    for tablet in (nora, dan):
        tablet.sync()
    cloud.end()
    by_disabled, by_revoked = nora.record("By-a-disabled-user"), dan.record("By-a-revoked-device")
    for tablet in (nora, dan):
        tablet.sync()
        assert tablet.status()["hub"] == 1
    cloud.command("user", "disable", "--email", NURSE)
    cloud.command("device", "revoke", "--device", dan.device_id)
    cloud.start()

    token = login(cloud, boss.device_id, ADMIN)

    def reviewed() -> dict[str, str]:
        answer = httpx.get(
            f"{cloud.url}/v1/reviews", headers={"Authorization": f"Bearer {token}"}, timeout=30
        )
        assert answer.status_code == 200, answer.text
        return {review["op_id"]: review["code"] for review in answer.json()["reviews"]}

    wait_until(lambda: set(reviewed()) == {by_disabled, by_revoked}, "both marked for review")
    assert set(reviewed().values()) == {"forbidden"}
    boss.sync()
    assert boss.families() == {"By-a-disabled-user", "By-a-revoked-device"}


def test_a_rejected_op_blocks_no_watermark(cloud: CloudProcess, hub: SiteHub, tmp_path: Path) -> None:
    """A number that a hub rejected counts as settled in the cloud too: what follows it gets through and is confirmed."""
    clerk = "cleo@clinic.example"
    user_id = cloud.add_user(clerk, "front_desk")
    tablet = EnrolledTablet(tmp_path / "cleo", hub, cloud, "North", clerk)
    headers = {"Authorization": f"Bearer {login(hub, tablet.device_id, clerk)}"}

    def an_op(number: int, entity_type: str) -> dict[str, Any]:
        return {
            "op_id": IDS.uuid7(), "clinic_id": cloud.clinic_id, "device_id": tablet.device_id, "user_id": user_id,
            "entity_type": entity_type, "entity_id": IDS.uuid7(), "op_type": "create", "parents": [],
            "device_time": format_time(SystemClock().now_ms()), "device_seq": number, "schema_version": 1,
            "payload": {"resourceType": entity_type},
        }  # fmt: skip

    ops = [an_op(1, "Patient"), an_op(2, "Condition"), an_op(3, "Patient")]
    pushed = httpx.post(f"{hub.url}/v1/sync/push", json={"ops": ops}, headers=headers, timeout=30)
    assert [result["status"] for result in pushed.json()["results"]] == ["accepted", "rejected", "accepted"]

    def cloud_through() -> int:
        status = httpx.get(f"{hub.url}/v1/sync/status", headers=headers, timeout=30)
        return int(status.json()["cloud_through"])

    wait_until(lambda: cloud_through() == 3, "the cloud to have settled all three")


def login(server: CloudProcess | SiteHub, device_id: str, email: str) -> str:
    """An access token, as a foreign client gets one."""
    answer = httpx.post(
        f"{server.url}/v1/auth/login",
        json={"email": email, "password": PASSWORD, "device_id": device_id},
        timeout=30,
    )
    assert answer.status_code == 200, answer.text
    return str(answer.json()["access_token"])
