"""How a box becomes a clinic's hub, whenever it is interrupted, and how one that began alone is taken in."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cryptography import x509

from hub import claim as claiming
from hub.claim import Order, claim_hub
from hub.claimed import keep_claim
from hub.issue import TokenDesk, TokenRequest
from hub.making import make_hub
from medxz.clock import SystemClock
from medxz.errors import CloudRequired
from medxz.ids import RandomIds
from medxz.program.errors import CommandFailed
from medxz.trust.certificates import server_name
from tests.system.hub_process import command
from tests.uplink.conftest import IDS, Box, Relay, Tablet, until


class Interrupted(Exception):
    """The power is cut."""


async def test_a_claim_makes_a_hub(relay: Relay, make_box) -> None:
    """In an empty directory: a hub of the code's clinic and site, whose certificate chains to the clinic's CA."""
    box = make_box("box")
    told = await box.claim(relay, "North")
    await box.start()
    identity = box.running.identity
    [north] = [site.site_id for site in await relay.admin.sites.list(relay.clinic_id) if site.name == "North"]
    assert told == {
        "hub_id": identity.server_id,
        "clinic_id": relay.clinic_id,
        "site_id": north,
    }
    assert (identity.clinic_id, identity.site_id) == (relay.clinic_id, north)
    assert identity.claim is not None
    leaf, intermediate = x509.load_pem_x509_certificates(identity.claim.certificate.encode())
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert server_name(identity.server_id) in names.get_values_for_type(x509.DNSName)
    [root] = x509.load_pem_x509_certificates(identity.claim.config.ca_certificates[0].encode())
    leaf.verify_directly_issued_by(intermediate)
    intermediate.verify_directly_issued_by(root)


@pytest.mark.parametrize("at", ["before", "after", "kept", "whole"])
async def test_a_claim_goes_on_where_it_was_interrupted(
    relay: Relay, make_box, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    """Cut off before the request, before its answer came, before that was kept or after: the same code, the same hub."""
    box, code = make_box("box"), await relay.code("hub", "North")
    asked, kept = claiming._asked, keep_claim

    async def asking(order, request, clock):
        if at == "before":
            raise Interrupted
        answer = await asked(order, request, clock)
        if at == "after":
            raise Interrupted
        return answer

    async def keeping(registry, claim):
        if at == "kept":
            raise Interrupted
        await kept(registry, claim)
        raise Interrupted

    monkeypatch.setattr(claiming, "_asked", asking)
    monkeypatch.setattr(claiming, "keep_claim", keeping)
    with pytest.raises(Interrupted):
        await box.claim(relay, "North", code)
    assert not box.settings.places.store.exists()
    monkeypatch.undo()
    first = await box.claim(relay, "North", code)
    assert await box.claim(relay, "North", code) == first
    assert [hub.hub_id for hub in await relay.admin.hubs.list(relay.clinic_id)] == [first["hub_id"]]
    await box.start()
    await until(lambda: box.is_online, "that it runs with its cloud")


async def test_what_can_not_be_claimed(relay: Relay, north: Box, make_box) -> None:
    """A wrong code, a hub in place of a cloud, a cloud that is away, an address without TLS, a second claim."""
    box = make_box("box")
    with pytest.raises(CommandFailed, match="refused") as wrong:
        await box.claim(relay, "North", "AAAA-BBBB-CCCC-DDDD-EEEE")
    assert wrong.value.code == "code_invalid"
    with pytest.raises(CommandFailed, match="is a hub"):
        await claimed(box, north.url, await relay.code("hub", "North"))
    with pytest.raises(CommandFailed, match="TLS"):
        await claimed(box, "http://192.0.2.1:8443", "x")
    with pytest.raises(CloudRequired):
        await claimed(box, "http://127.0.0.1:9", "x")
    await box.claim(relay, "North")
    with pytest.raises(CommandFailed, match="already") as second:
        await box.claim(relay, "South")
    assert second.value.code == "claimed"


async def claimed(box: Box, url: str, code: str) -> dict[str, str]:
    return await claim_hub(box.settings.places, Order(url, code, "box"), {}, SystemClock(), RandomIds())


async def test_a_claimed_hub_gives_no_tokens(north: Box) -> None:
    """People log in: `medxz-hub token` is for a hub that belongs to no cloud."""
    desk = TokenDesk(north.running.identity, north.running.storage.registry, SystemClock(), RandomIds())
    with pytest.raises(CommandFailed, match="claimed"):
        await desk.issue(TokenRequest(user=IDS.uuid7(), role="admin", device=IDS.uuid7()))


async def test_a_hub_that_began_alone_is_taken_in(relay: Relay, make_box) -> None:
    """Same clinic_id, same devices, no tablet touched: their tokens go on, their ops go up, their CA stays trusted."""
    box, clinic_id = make_box("alone"), IDS.uuid7()
    await make_hub(box.settings.places, clinic_id, SystemClock(), RandomIds(), None)
    await box.start()
    identity = box.running.identity
    tablet = Tablet(box, clinic_id, IDS.uuid7(), IDS.uuid7())
    desk = TokenDesk(identity, box.running.storage.registry, SystemClock(), RandomIds())
    tablet.token = await desk.issue(
        TokenRequest(user=tablet.user_id, role="clinician", device=tablet.device_id, ttl=3_600)
    )
    before = await tablet.record(30)
    await box.stop()
    told = await box.claim(relay, "North")
    assert told == {
        "hub_id": identity.server_id,
        "clinic_id": clinic_id,
        "site_id": identity.site_id,
    }
    await box.start()
    after = await tablet.record(5)

    async def is_told() -> bool:
        return await tablet.cloud_through() == 35

    await until(is_told, "everything in the cloud")
    relay.clinic_id = clinic_id
    ada = await Tablet.enrolled(box, relay, "North", "ada@clinic.example")
    assert await relay.stored(ada.token) == before + after
    own_ca = identity.root.certificate_pem.decode()
    config = (await tablet.ask("GET", "/v1/config", token=tablet.token)).json()
    assert own_ca in config["ca_certificates"]
    assert len(config["ca_certificates"]) == 2
    certificate = box.running.doors.certificate
    assert certificate is not None
    assert not certificate.serves
    devices = {device.device_id for device in await relay.admin.devices.list(clinic_id)}
    assert devices == {tablet.device_id, ada.device_id}


async def test_a_hub_alone_that_holds_nothing_joins_any_clinic(relay: Relay, north: Box, make_box) -> None:
    """One that was made for trying, and never used, becomes a hub of a clinic that has others."""
    box = make_box("tried")
    made = await make_hub(box.settings.places, IDS.uuid7(), SystemClock(), RandomIds(), None)
    told = await box.claim(relay, "South")
    assert (told["hub_id"], told["clinic_id"]) == (made["server_id"], relay.clinic_id)
    await box.start()
    await until(lambda: box.is_online, "that it runs with its cloud")


async def test_a_hub_with_a_past_is_not_taken_into_a_clinic_with_another(
    relay: Relay, north: Box, make_box
) -> None:
    """Two clinics' records are never put into one: the claim is refused, and the hub goes on alone."""
    box, clinic_id = make_box("alone"), IDS.uuid7()
    await make_hub(box.settings.places, clinic_id, SystemClock(), RandomIds(), None)
    await box.start()
    desk = TokenDesk(box.running.identity, box.running.storage.registry, SystemClock(), RandomIds())
    tablet = Tablet(box, clinic_id, IDS.uuid7(), IDS.uuid7())
    tablet.token = await desk.issue(
        TokenRequest(user=tablet.user_id, role="clinician", device=tablet.device_id)
    )
    await tablet.record(1)
    await box.stop()
    with pytest.raises(CommandFailed, match="empty clinic"):
        await box.claim(relay, "North")
    await box.start()
    assert len(await tablet.record(1)) == 1


async def test_a_hub_that_was_revoked_is_let_in_no_more(relay: Relay, north: Box, nora: Tablet) -> None:
    """It goes on serving its site, tells why it is alone, and is let in to nothing of the cloud."""
    await nora.record(1)
    await until(lambda: north.backlog == 0, "the first op in the cloud")
    await relay.admin.hubs.revoke(relay.clinic_id, north.running.identity.server_id)
    await until(lambda: not north.is_online, "that the hub is out")
    await nora.record(2)
    status = (await nora.status())["upstream"]
    assert (status["state"], status["backlog"]) == ("offline", 2)
    refused = await nora.refresh()
    assert (refused.status_code, refused.json()["code"]) == (503, "cloud_required")


async def test_a_cloud_with_tls_is_taken_by_its_own_ca_alone(tmp_path: Path, make_box) -> None:
    """Claimed and then followed over TLS, by the CA that the operator gave; one that nobody vouches for is told nothing."""
    relay = Relay(tmp_path / "secure", tls=True)
    await relay.make()
    await relay.start()
    box, code = make_box("box"), await relay.code("hub", "North")
    with pytest.raises(CloudRequired, match="certificate"):
        await claimed(box, relay.url, code)
    await box.claim(relay, "North", code)
    await box.start()
    await until(lambda: box.is_online, "that it runs with its cloud")
    await box.stop()
    await relay.stop()


@pytest.mark.slow
def test_the_command_tells_how_it_ended(tmp_path: Path) -> None:
    """`medxz-hub claim` ends with 3 where the cloud is away, with 1 where it refuses to go, and says why in JSON."""
    flags = ("claim", "--data", tmp_path / "hub", "--code", "AAAA", "--name", "box", "--json")
    away = command(*flags, "--cloud", "http://127.0.0.1:9")
    bare = command(*flags, "--cloud", "http://192.0.2.1")
    no_ca = command(*flags, "--cloud", "https://192.0.2.1", "--cloud-ca", tmp_path / "none")
    assert (away.returncode, json.loads(away.stderr)["code"]) == (3, "cloud_required")
    nameless = command(*flags, "--cloud", "http://127.0.0.1:9", "--name", "")
    assert (bare.returncode, no_ca.returncode, nameless.returncode) == (1, 1, 2)
    assert "TLS" in json.loads(bare.stderr)["message"]
    assert str(tmp_path / "none") in json.loads(no_ca.stderr)["message"]
