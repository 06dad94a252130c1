"""Hubs that are claimed, prove themselves, renew their certificates, and go."""

import asyncio
from collections import Counter

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from medxz.accounts.lockout import PROOFS_AT_ADDRESS
from medxz.errors import CodeInvalid, Forbidden, Invalid, NotFound, RateLimited, SessionRevoked, TokenInvalid
from medxz.trust.certificates import Credential, client_context, key_text, server_context
from medxz.trust.clinic_ca import verify_chain
from medxz.trust.jwks import keys_of
from medxz.trust.proofs import sign_proof
from medxz.wire import AssertionRequest, ClaimAnswer, ClaimRequest, RenewRequest
from tests.unit.accounts.house import HERE, IDS, URL, Box, House, Relay, Tablet
from tests.unit.trust.handshakes import serving, shake_hands


async def hub_code(house: House, relay: Relay, site: str = "North", **options: str) -> str:
    [code] = await relay.admin.codes.make(house.clinic_id, "hub", site, **options)  # type: ignore[arg-type]
    return code.code


def chain_of(pem: str) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates(pem.encode())


async def test_a_hub_is_claimed(house: House, relay: Relay) -> None:
    """A code and a request make a hub of the clinic with a certificate, the clinic's roots, keys and configuration."""
    box = Box()
    answer = await relay.claim(await hub_code(house, relay), box)
    assert (answer.hub_id, answer.clinic_id, answer.site_id) == (box.hub_id, house.clinic_id, house.site_id)
    assert (answer.cloud.server_id, answer.cloud.url) == (house.server_id, URL)
    assert answer.config.clinic_id == house.clinic_id
    assert keys_of(answer.keys) == dict(relay.ring.public())
    roots = [x509.load_pem_x509_certificate(pem.encode()) for pem in answer.ca_certificates]
    chain, now_ms = chain_of(answer.certificate), house.clock.now_ms()
    assert len(chain) == 2
    assert verify_chain(chain, roots, box.hub_id, now_ms) == box.key.public_key()
    [noted] = await relay.events(house.clinic_id, "hub_claimed")
    assert noted.hub_id == box.hub_id
    assert len(await relay.events(house.clinic_id, "certificate_issued")) == 1


async def test_a_tablet_trusts_it(house: House, relay: Relay) -> None:
    """A device that was enrolled in the clinic shakes hands with a hub that was claimed, and with no other clinic's."""
    from medxz.clock import SystemClock

    house.clock.time_ms = SystemClock().now_ms()
    made = await relay.admin.clinics.add("Now", ["N"], "n@example.org", "N", "a lamp in the hall")
    box = Box()
    [code] = await relay.admin.codes.make(made.clinic_id, "hub", "N")
    claimed = await relay.claim(code.code, box)
    [code] = await relay.admin.codes.make(made.clinic_id, "device", "N")
    enrolled = await relay.enrol(code.code, Tablet())
    served = server_context(Credential(claimed.certificate.encode(), key_text(box.key)))
    with serving(served) as port:
        trusted = "".join(enrolled.ca_certificates).encode()
        assert shake_hands(port, client_context(trusted, box.hub_id), "127.0.0.1") == "TLSv1.3"
        [code] = await relay.admin.codes.make(house.clinic_id, "device", "North")
        elsewhere = "".join((await relay.enrol(code.code, Tablet())).ca_certificates).encode()
        with pytest.raises(OSError, match="CERTIFICATE_VERIFY_FAILED"):
            shake_hands(port, client_context(elsewhere, box.hub_id), "127.0.0.1")


async def test_the_same_key_is_answered_the_same(house: House, relay: Relay) -> None:
    """A hub that lost the answer asks again and gets the same; another key does not get in by that code."""
    code, box = await hub_code(house, relay), Box()
    first = await relay.claim(code, box)
    house.clock.time_ms += 31 * 86_400_000
    assert await relay.claim(code, box) == first
    with pytest.raises(CodeInvalid):
        await relay.claim(code, Box())
    with pytest.raises(CodeInvalid):
        await relay.claim(code, Box(hub_id=box.hub_id))
    assert len(await relay.admin.hubs.list(house.clinic_id)) == 1


async def test_of_two_hubs_one_wins(house: House, relay: Relay) -> None:
    """Of two boxes with one code at one moment, at two processes, one is claimed."""
    other, code = await house.relay(), await hub_code(house, relay)
    answers = await asyncio.gather(relay.claim(code, Box()), other.claim(code, Box()), return_exceptions=True)
    assert Counter(type(answer) for answer in answers) == {ClaimAnswer: 1, CodeInvalid: 1}


async def test_an_id_is_one_hub_s(house: House, relay: Relay) -> None:
    """An id that a hub of the clinic has is not given to another key; the same hub is claimed anew by a new code."""
    box = await relay.box(house.clinic_id)
    with pytest.raises(Forbidden, match="another key"):
        await relay.claim(await hub_code(house, relay), Box(hub_id=box.hub_id))
    assert (await relay.claim(await hub_code(house, relay), box)).hub_id == box.hub_id
    await relay.admin.hubs.revoke(house.clinic_id, box.hub_id)
    with pytest.raises(Forbidden, match="revoked"):
        await relay.claim(await hub_code(house, relay), box)


async def test_a_code_for_a_device_claims_no_hub(house: House, relay: Relay) -> None:
    """Each code lets in what it was made for."""
    [code] = await relay.admin.codes.make(house.clinic_id, "device", "North")
    with pytest.raises(CodeInvalid):
        await relay.claim(code.code, Box())


async def test_a_new_hub_replaces_an_old_one(house: House, relay: Relay) -> None:
    """A code that replaces a hub revokes the old one when the new one comes, not before."""
    old = await relay.box(house.clinic_id)
    code = await hub_code(house, relay, replaces=old.hub_id)
    assert await relay.hub_token(old)
    new = Box()
    await relay.claim(code, new)
    with pytest.raises(SessionRevoked):
        await relay.hub_token(old)
    assert await relay.hub_token(new)
    [noted] = await relay.events(house.clinic_id, "hub_revoked")
    assert noted.hub_id == old.hub_id


async def test_a_hub_proves_its_key(house: House, relay: Relay) -> None:
    """A proof of the certificate's key gives a token of role hub for fifteen minutes; its address becomes a target."""
    box = await relay.box(house.clinic_id)
    caller = await relay.caller(await relay.hub_token(box, "https://192.168.1.2:8443/"))
    assert (caller.roles, caller.hub_id, caller.device_id) == (frozenset({"hub"}), box.hub_id, None)
    assert (caller.clinic_id, caller.site_id) == (house.clinic_id, house.site_id)
    [row] = await relay.admin.hubs.list(house.clinic_id)
    assert (row.url, row.last_seen_ms) == ("https://192.168.1.2:8443", house.clock.time_ms)
    revision = caller.known.directory.revision
    await relay.hub_token(box, "https://192.168.1.2:8443")
    assert caller.known.directory.revision == revision


async def test_a_proof_is_good_once_everywhere(house: House, relay: Relay) -> None:
    """A proof that one process of the cloud took is refused by all, at the same moment too."""
    other, box = await house.relay(), await relay.box(house.clinic_id)
    text = sign_proof(box.key, box.hub_id, house.server_id, house.clock, IDS)
    request = AssertionRequest(assertion=text)
    answers = await asyncio.gather(
        *(one.accounts.hub_token(request, HERE) for one in (relay, other, relay)), return_exceptions=True
    )
    assert sum(isinstance(answer, TokenInvalid) for answer in answers) == 2
    with pytest.raises(TokenInvalid, match="used before"):
        await other.accounts.hub_token(request, HERE)


async def test_proofs_that_are_refused(house: House, relay: Relay) -> None:
    """A proof by another key, for another server, of another time or of a hub that nobody claimed gives no token."""
    box, stranger = await relay.box(house.clinic_id), Box()
    late = sign_proof(box.key, box.hub_id, house.server_id, house.clock, IDS)
    early = sign_proof(box.key, box.hub_id, IDS.uuid7(), house.clock, IDS)
    house.clock.time_ms += 70_000
    for text in (
        late,
        early,
        sign_proof(stranger.key, box.hub_id, house.server_id, house.clock, IDS),
        sign_proof(stranger.key, stranger.hub_id, house.server_id, house.clock, IDS),
        sign_proof(Tablet().key, box.hub_id, house.server_id, house.clock, IDS),
        "x",
    ):
        with pytest.raises(TokenInvalid):
            await relay.accounts.hub_token(AssertionRequest(assertion=text), HERE)


async def test_addresses_that_are_none(house: House, relay: Relay) -> None:
    """What is not https://host:port does not become a target."""
    box = await relay.box(house.clinic_id)
    for url in (
        "x",
        "ftp://a",
        "https://",
        "https://u:p@host",
        "https://host/path",
        "https://host?q",
        "https://[::1",
    ):
        with pytest.raises(Invalid) as refusal:
            await relay.hub_token(box, url)
        assert refusal.value.field == "url"


async def test_one_hub_id_in_two_clinics(house: House, relay: Relay) -> None:
    """Two clinics' hubs that chose one id are told apart by their keys; a hub that moved is where it came in last."""
    other = await relay.admin.clinics.add("South", ["S"], "s@example.org", "S", "a lamp in the hall")
    box = await relay.box(house.clinic_id)
    theirs = Box(hub_id=box.hub_id)
    [code] = await relay.admin.codes.make(other.clinic_id, "hub", "S")
    await relay.claim(code.code, theirs)
    assert (await relay.caller(await relay.hub_token(box))).clinic_id == house.clinic_id
    assert (await relay.caller(await relay.hub_token(theirs))).clinic_id == other.clinic_id
    moving = await relay.box(house.clinic_id)
    house.clock.time_ms += 1
    [code] = await relay.admin.codes.make(other.clinic_id, "hub", "S")
    await relay.claim(code.code, moving)
    assert (await relay.caller(await relay.hub_token(moving))).clinic_id == other.clinic_id


async def test_a_certificate_is_renewed(house: House, relay: Relay) -> None:
    """A hub with its token gets a new certificate, for a new key if it likes; from then on that key is its proof."""
    box = await relay.box(house.clinic_id)
    caller = await relay.caller(await relay.hub_token(box))
    before = box.key
    box.key = ec.generate_private_key(ec.SECP256R1())
    answer = await relay.accounts.renew(caller, RenewRequest(csr=box.csr()))
    roots = [x509.load_pem_x509_certificate(pem.encode()) for pem in answer.ca_certificates]
    now_ms = house.clock.now_ms()
    assert verify_chain(chain_of(answer.certificate), roots, box.hub_id, now_ms) == box.key.public_key()
    assert await relay.hub_token(box)
    with pytest.raises(TokenInvalid):
        await relay.hub_token(Box(box.hub_id, before))
    for csr in (box.csr(IDS.uuid7()), "x"):
        with pytest.raises(Invalid):
            await relay.accounts.renew(caller, RenewRequest(csr=csr))
    tablet = await relay.tablet(house.clinic_id)
    person = await relay.caller((await relay.login(tablet)).access_token)
    with pytest.raises(Forbidden):
        await relay.accounts.renew(person, RenewRequest(csr=box.csr()))


async def test_revoking_a_hub_counts_at_once(house: House, relay: Relay) -> None:
    """A hub that is revoked is out with the token that it has, gets no other, no certificate, and is no target."""
    box = await relay.box(house.clinic_id)
    token = await relay.hub_token(box, "https://192.168.1.2:8443")
    caller = await relay.caller(token)
    await relay.admin.hubs.revoke(house.clinic_id, box.hub_id, by=house.admin_id)
    with pytest.raises(SessionRevoked):
        await relay.caller(token)
    with pytest.raises(SessionRevoked):
        await relay.hub_token(box)
    with pytest.raises(SessionRevoked):
        await relay.accounts.renew(caller, RenewRequest(csr=box.csr()))
    assert [target.kind for target in caller.known.config.targets] == ["cloud"]
    with pytest.raises(NotFound):
        await relay.admin.hubs.revoke(house.clinic_id, IDS.uuid7())


async def test_what_a_hub_mirrors(house: House, relay: Relay) -> None:
    """A hub is told everything of its clinic once for each revision, with the keys; nobody else is told."""
    box, tablet = await relay.box(house.clinic_id), await relay.tablet(house.clinic_id, scope="front_desk")
    session = await relay.login(tablet)
    caller = await relay.caller(await relay.hub_token(box, "https://192.168.1.2:8443"))
    told = await relay.accounts.directory(caller, None)
    assert told is not None
    assert [(user.user_id, user.email, user.roles) for user in told.users] == [
        (house.admin_id, "ada@example.org", ["admin"])
    ]
    [device] = told.devices
    assert (device.device_id, device.scope, device.authors) == (
        tablet.device_id,
        "front_desk",
        [house.admin_id],
    )
    assert device.public_keys == [tablet.public_key]
    assert {site.name for site in told.sites} == {"North", "South"}
    assert [(hub.hub_id, hub.url, hub.revoked) for hub in told.hubs] == [
        (box.hub_id, "https://192.168.1.2:8443", False)
    ]
    assert told.keys == relay.accounts.keys()
    assert told.config.name == "North River Clinic"
    assert await relay.accounts.directory(caller, told.revision) is None
    await relay.admin.devices.revoke(house.clinic_id, tablet.device_id)
    after = await relay.accounts.directory(caller, told.revision)
    assert after is not None
    assert after.devices[0].revoked
    assert len(after.revoked_sessions) == 1
    assert session.user.user_id == house.admin_id
    other = await relay.tablet(house.clinic_id)
    person = await relay.caller((await relay.login(other)).access_token)
    with pytest.raises(Forbidden):
        await relay.accounts.directory(person, None)


async def test_a_request_that_does_not_hold_uses_no_code(house: House, relay: Relay) -> None:
    """A claim with a broken request is refused before the code is looked at, which is good afterwards."""
    code = await hub_code(house, relay)
    with pytest.raises(Invalid):
        await relay.accounts.claim(ClaimRequest(code=code, csr="x", name="Hub"), HERE)
    assert (await relay.claim(code, Box())).hub_id


async def test_nobody_takes_the_cloud_s_id(house: House, relay: Relay) -> None:
    """A hub is not claimed under the id of the cloud itself, whose tokens would end with it; the code stays good."""
    code = await hub_code(house, relay)
    with pytest.raises(Invalid) as refusal:
        await relay.claim(code, Box(hub_id=house.server_id))
    assert refusal.value.field == "csr"
    assert (await relay.claim(code, Box())).hub_id


async def test_proofs_by_a_wrong_key_are_noted_and_end(house: House, relay: Relay) -> None:
    """Wrong keys come to an end for their address, each noted; a proof by the right key is held up by none of it."""
    box = await relay.box(house.clinic_id)
    for _ in range(PROOFS_AT_ADDRESS.free):
        with pytest.raises(TokenInvalid):
            await relay.hub_token(Box(hub_id=box.hub_id))
    for _ in range(3):
        with pytest.raises(RateLimited):
            await relay.hub_token(Box(hub_id=box.hub_id))
    assert await relay.hub_token(box)
    noted = await relay.events(house.clinic_id, "hub_token_refused", "locked_out")
    assert len(noted) == PROOFS_AT_ADDRESS.free + 1
    assert {(entry.hub_id, entry.address) for entry in noted} == {(box.hub_id, HERE.address)}


async def test_a_claim_of_another_hub_s_id_is_noted(house: House, relay: Relay) -> None:
    """Who comes with a good code and the id of a hub whose key they lack leaves a trace, and the code unused."""
    box, code = await relay.box(house.clinic_id), await hub_code(house, relay)
    with pytest.raises(Forbidden):
        await relay.claim(code, Box(hub_id=box.hub_id))
    [noted] = await relay.events(house.clinic_id, "claim_refused")
    assert (noted.hub_id, noted.address) == (box.hub_id, HERE.address)
    assert (await relay.claim(code, Box())).hub_id
