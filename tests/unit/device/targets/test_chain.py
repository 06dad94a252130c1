"""One sync, and one question: with whom, where somebody does not answer or will not."""

from __future__ import annotations

from pathlib import Path

import jwt
import pytest

from medxz import wire
from medxz.device.store.logs import RESUME_OPS_MIN
from medxz.errors import PeerRefused, PeerUnreachable
from tests.making import CLINIC, DEVICE, OTHER_DEVICE, USER, make_op
from tests.unit.device.scripted import refusing
from tests.unit.device.targets.places import CLOUD, HUB, OTHER_HUB, Place, Site


async def test_the_hub_then_the_cloud(tmp_path: Path) -> None:
    """A sync goes to the hub; where that is down the same sync goes to the cloud; and each op says where it is safe."""
    site = Site()
    async with site.device(tmp_path / "d") as device:
        first = await device.record("Patient", {})
        await device.sync()
        assert (await device.safety(first.op_id), (await device.status()).target) == ("hub", HUB)
        await site.hub.go_down()
        second = await device.record("Patient", {})
        report = await device.sync(attempts=1)
        assert (report.status.target, await device.safety(second.op_id)) == (CLOUD, "cloud")
        assert await device.safety(first.op_id) == "cloud"
        states = {one.url: (one.state, one.why) for one in report.status.targets}
        assert states == {CLOUD: ("current", None), HUB: ("down", f"{HUB} is down")}
        site.hub.is_down = False
        assert (await device.sync()).status.target == CLOUD  # it was down a moment ago
        await site.clock.pass_by(60)
        assert (await device.sync()).status.target == HUB


async def test_another_hub_before_the_cloud(tmp_path: Path) -> None:
    """Of a site's two hubs the other one takes the place of the one that is down."""
    site = Site()
    other = site.add(OTHER_HUB, "hub", 7)
    async with site.device(tmp_path / "d") as device:
        await site.hub.go_down()
        op = await device.record("Patient", {})
        assert (await device.sync(attempts=1)).status.target == OTHER_HUB
        assert other.stored_ids() == [op.op_id]


async def test_nobody_is_there(tmp_path: Path) -> None:
    """With hub and cloud down the op stays here, the error says so, and the status that there is nobody."""
    site = Site()
    async with site.device(tmp_path / "d") as device:
        await site.hub.go_down()
        await site.cloud.go_down()
        op = await device.record("Patient", {})
        with pytest.raises(PeerUnreachable, match="is down"):
            await device.sync(attempts=1)
        status = await device.status()
        assert (status.target, status.here, await device.safety(op.op_id)) == (None, 1, "here")
        site.cloud.is_down = False
        await site.clock.pass_by(60)
        assert (await device.sync()).status.target == CLOUD


async def test_what_one_refuses_another_takes(tmp_path: Path) -> None:
    """A hub whose disk is full is read from, and what it can't take goes to the cloud."""
    site = Site()
    async with site.device(tmp_path / "d") as device:
        theirs = make_op(1, device_id=OTHER_DEVICE)
        site.hub.log.append(theirs)
        op = await device.record("Patient", {})
        site.hub.before_push = iter([refusing(507, "storage_full")] * 9)
        report = await device.sync(attempts=1)
        assert (report.status.target, site.cloud.stored_ids()) == (CLOUD, [op.op_id])
        assert (report.done.accepted, report.done.pulled) == (1, 1)


async def test_a_session_that_is_over_is_over_everywhere(tmp_path: Path) -> None:
    """A revoked session is not shown to one server after the other."""
    site = Site()
    async with site.device(tmp_path / "d") as device:
        site.hub.before_pull = iter([refusing(401, "session_revoked")])
        with pytest.raises(PeerRefused, match="session_revoked"):
            await device.sync()
        assert site.cloud.pulls == []


async def test_the_role_decides(tmp_path: Path) -> None:
    """Where the clinic sends the front desk to the cloud alone, its hub is not asked, even when the cloud is down."""
    site = Site(routing={"front_desk": ["cloud"]})
    async with site.device(tmp_path / "d", "front_desk") as device:
        before = len(site.hub.pulls)
        assert (await device.sync()).status.target == CLOUD
        await site.cloud.go_down()
        with pytest.raises(PeerUnreachable):
            await device.sync(attempts=1)
        assert len(site.hub.pulls) == before


async def test_a_move_costs_what_is_missing(tmp_path: Path) -> None:
    """What came from the cloud, or went there, is neither given again by the hub that has it by now nor pushed to it."""
    site = Site()
    many = RESUME_OPS_MIN * 3
    async with site.device(tmp_path / "d") as device:
        await site.hub.go_down()
        for number in range(many):
            await device.record("Patient", {"n": number})
        theirs = [make_op(number, device_id=OTHER_DEVICE) for number in range(1, many + 1)]
        site.cloud.log.extend(theirs)
        await device.sync(attempts=1)
        site.hub.log.extend(site.cloud.log)  # as its uplink brings them
        late = make_op(many + 1, device_id=OTHER_DEVICE)
        site.hub.log.append(late)
        site.hub.is_down, site.hub.given = False, 0
        pushed = len(site.hub.pushes)
        await site.clock.pass_by(60)
        report = await device.sync()
        assert (report.status.target, report.done.pulled, site.hub.given) == (HUB, 1, 1)
        assert len(site.hub.pushes) == pushed
        assert report.status.cloud == many


async def test_a_login_finds_somebody(tmp_path: Path) -> None:
    """A hub without its cloud lets nobody in; the cloud itself does, where it is reached. A wrong password is final."""
    site = Site()
    async with site.device(tmp_path / "d") as device:
        site.hub.has_cloud = False
        site.cloud.roles = ("clinician",)
        assert (await device.login("dan@clinic.example", "right")).email == "dan@clinic.example"
        with pytest.raises(PeerRefused, match="credentials_invalid"):
            await device.login("dan@clinic.example", "wrong")
        await site.cloud.go_down()
        with pytest.raises(PeerRefused, match="cloud_required"):
            await device.login("dan@clinic.example", "right")


def token_by(issuer: str) -> str:
    return jwt.encode({"cid": CLINIC, "did": DEVICE, "sub": USER, "iss": issuer}, "k" * 32, algorithm="HS256")


async def test_the_cloud_gets_no_token_of_a_hub_s(tmp_path: Path) -> None:
    """A token that the hub signed while it had no cloud is exchanged before the device goes to the cloud."""
    site = Site()

    class Signing(Place):
        async def refresh(self, request: wire.RefreshRequest) -> wire.SessionAnswer:
            answer = await super().refresh(request)
            return answer.model_copy(update={"access_token": token_by(self.server_id)})

    for url in (HUB, CLOUD):
        site.places[url].__class__ = Signing
    async with site.device(tmp_path / "d") as device:
        await device.sync()
        site.hub.has_cloud = False
        site.cloud.family = site.hub.family
        await site.clock.pass_by(900)
        await device.sync()
        assert site.hub.shown == token_by(site.hub.server_id)
        await site.hub.go_down()
        assert (await device.sync(attempts=1)).status.target == CLOUD
        assert site.cloud.shown == token_by(site.cloud.server_id)
