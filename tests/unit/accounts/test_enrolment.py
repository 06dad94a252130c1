"""Pairing codes, and the devices that come in by them."""

import asyncio
import re
from collections import Counter

import pytest

from medxz.accounts.codes import ALPHABET, printed
from medxz.errors import CodeInvalid, Forbidden, Invalid, NotFound, SessionRevoked
from medxz.service.configuration import Configuration
from medxz.trust.certificates import ca_fingerprint
from medxz.wire import CodeRequest, EnrolAnswer, EnrolRequest, ReenrolRequest, RefreshRequest
from tests.unit.accounts.house import HERE, IDS, URL, House, Relay, Tablet

MINUTE_MS = 60_000


async def test_a_code_as_it_is_made(house: House, relay: Relay) -> None:
    """Device codes have 8 characters and ten minutes, hub codes 20 and thirty days, none of them mistaken for another."""
    for kind, chars, life_ms in (("device", 8, 10 * MINUTE_MS), ("hub", 20, 30 * 1_440 * MINUTE_MS)):
        made = await relay.admin.codes.make(house.clinic_id, kind, "North", count=50)  # type: ignore[arg-type]
        assert {len(code.code) for code in made} == {chars}
        assert len({code.code for code in made}) == 50
        assert {code.expires_at_ms - house.clock.time_ms for code in made} == {life_ms}
        assert set("".join(code.code for code in made)) <= set(ALPHABET)
    assert not set(ALPHABET) & set("01OILU")
    assert printed("ABCDEFGH") == "ABCD-EFGH"
    [hub] = await relay.admin.codes.make(house.clinic_id, "hub", "North")
    assert re.fullmatch(r"([A-Z2-9]{4}-){4}[A-Z2-9]{4}", hub.printed)


async def test_the_qr_says_where_and_whom_to_trust(house: House, relay: Relay) -> None:
    """A QR's text has the address, the code, and the fingerprint of the root that the device gets at enrolment."""
    from cryptography import x509

    [code] = await relay.admin.codes.make(house.clinic_id, "device", house.site_id)
    answer = await relay.enrol(code.code, Tablet())
    [root] = answer.ca_certificates
    assert code.fp == ca_fingerprint(x509.load_pem_x509_certificate(root.encode()))
    assert code.url == f"{URL}/#c={code.code}&fp={code.fp}"


async def test_an_admin_makes_codes(house: House, relay: Relay) -> None:
    """An administrator's token makes codes of its own clinic, noted with their name; nobody else's does."""
    tablet = await relay.tablet(house.clinic_id)
    await relay.admin.users.add(
        house.clinic_id, "bob@example.org", "Bob", ["clinician"], "a lamp in the hall"
    )
    admin = await relay.caller((await relay.login(tablet)).access_token)
    request = CodeRequest.model_validate({"for": "device", "site": "South", "scope": "front_desk"})
    code = await relay.accounts.make_code(admin, request)
    answer = await relay.enrol(code.code, Tablet())
    assert (answer.clinic_id, answer.scope) == (house.clinic_id, "front_desk")
    assert code.expires_at.endswith("Z")
    [*_, noted] = await relay.events(house.clinic_id, "code_made")
    assert noted.user_id == house.admin_id
    assert code.code not in noted.detail
    bob = await relay.caller(
        (await relay.login(tablet, "bob@example.org", "a lamp in the hall")).access_token
    )
    with pytest.raises(Forbidden):
        await relay.accounts.make_code(bob, request)


async def test_a_hub_makes_codes_for_devices_of_its_own_site(house: House, relay: Relay) -> None:
    """By the site's id or name, noted with the hub; for another site, a hub, or nobody's site it is one refusal."""
    box = await relay.box(house.clinic_id)
    caller = await relay.caller(await relay.hub_token(box))
    for site in (house.site_id, "North"):
        request = CodeRequest(kind="device", site=site, scope="front_desk", name="Reception")
        made = await relay.accounts.make_code(caller, request)
        answer = await relay.enrol(made.code, Tablet())
        assert (answer.site_id, answer.scope) == (house.site_id, "front_desk")
    named = [row.name for row in await relay.admin.devices.list(house.clinic_id)]
    assert named == ["Reception", "Reception"]
    noted = await relay.events(house.clinic_id, "code_made")
    assert [(entry.hub_id, entry.user_id) for entry in noted[-2:]] == [(box.hub_id, None)] * 2
    refused = [CodeRequest(kind="device", site=site) for site in ("South", IDS.uuid7())]
    refused.append(CodeRequest(kind="hub", site=house.site_id))
    told = set()
    for request in refused:
        with pytest.raises(Forbidden) as refusal:
            await relay.accounts.make_code(caller, request)
        told.add(refusal.value.message)
    assert len(told) == 1


async def test_codes_that_are_not_made(house: House, relay: Relay) -> None:
    """A code for what is not there, or that lasts too long, names the field that is wrong."""
    make, clinic = relay.admin.codes.make, house.clinic_id
    for field, asked in {
        "site": make(clinic, "device", "West"),
        "scope": make(clinic, "hub", "North", scope="full"),
        "replaces": make(clinic, "hub", "North", replaces=IDS.uuid7()),
        "expires": make(clinic, "hub", "North", expires_ms=31 * 1_440 * MINUTE_MS),
        "count": make(clinic, "device", "North", count=0),
    }.items():
        with pytest.raises(Invalid) as refusal:
            await asked
        assert refusal.value.field == field
    with pytest.raises(Invalid, match="replaces no hub"):
        await make(clinic, "device", "North", replaces=IDS.uuid7())
    with pytest.raises(NotFound):
        await make(IDS.uuid7(), "device", "North")


async def test_a_device_is_let_in(house: House, relay: Relay) -> None:
    """A code makes a device of the clinic, at its site and in its scope, known at once with its key."""
    [code] = await relay.admin.codes.make(house.clinic_id, "device", "South", scope="front_desk")
    tablet = Tablet()
    answer = await relay.enrol(code.code, tablet)
    known = await relay.directories.of(house.clinic_id)
    device = known.directory.devices[answer.device_id]
    assert (answer.scope, answer.site_id) == (device.scope, device.site_id) == ("front_desk", device.site_id)
    assert known.directory.sites[answer.site_id] == "South"
    assert device.public_keys == (tablet.key.public_key().public_bytes_raw(),)
    assert [target.kind for target in answer.targets] == ["cloud"]
    [noted] = await relay.events(house.clinic_id, "enrolled")
    assert (noted.device_id, noted.address) == (answer.device_id, HERE.address)


async def test_typing_does_not_matter(house: House, relay: Relay) -> None:
    """A code is taken in groups, with spaces, in small letters."""
    for typed in (lambda code: printed(code).lower(), " ".join, lambda code: f" {code}\n"):
        [code] = await relay.admin.codes.make(house.clinic_id, "device", "North")
        assert (await relay.enrol(typed(code.code), Tablet())).device_id


async def test_the_same_key_is_answered_the_same(house: House, relay: Relay) -> None:
    """Whoever lost the answer asks again with the same key and is the same device; the code is over for all others."""
    [code] = await relay.admin.codes.make(house.clinic_id, "device", "North")
    tablet = Tablet()
    first = await relay.enrol(code.code, tablet)
    house.clock.time_ms += 11 * MINUTE_MS
    assert await relay.enrol(code.code, tablet) == first
    with pytest.raises(CodeInvalid):
        await relay.enrol(code.code, Tablet())
    await relay.admin.devices.revoke(house.clinic_id, first.device_id)
    with pytest.raises(CodeInvalid):
        await relay.enrol(code.code, tablet)
    assert len(await relay.admin.devices.list(house.clinic_id)) == 1


async def test_codes_that_are_not_good(house: House, relay: Relay) -> None:
    """A code that is unknown, of a hub, or over gets the one answer that a wrong one gets."""
    [over] = await relay.admin.codes.make(house.clinic_id, "device", "North")
    house.clock.time_ms += 10 * MINUTE_MS
    [hub] = await relay.admin.codes.make(house.clinic_id, "hub", "North")
    told = set()
    for code in (over.code, hub.code, "ABCDEFGH", "", "é"):
        with pytest.raises(CodeInvalid) as refusal:
            await relay.accounts.enrol(
                EnrolRequest.model_construct(code=code, name="T", public_key=Tablet().public_key), HERE
            )
        told.add(refusal.value.message)
    assert len(told) == 1
    assert len(await relay.events(house.clinic_id, "enrol_refused")) == 2


async def test_of_two_keys_one_wins(house: House, relay: Relay) -> None:
    """However many keys come with one code at once, at two processes, exactly one is let in."""
    other = await house.relay()
    for _ in range(3):
        [code] = await relay.admin.codes.make(house.clinic_id, "device", "North")
        before = len(await relay.admin.devices.list(house.clinic_id))
        asked = [(relay, other)[number % 2].enrol(code.code, Tablet()) for number in range(4)]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        assert Counter(type(answer) for answer in answers) == {EnrolAnswer: 1, CodeInvalid: 3}
        assert len(await relay.admin.devices.list(house.clinic_id)) == before + 1


async def test_the_same_key_twice_at_once_is_one_device(house: House, relay: Relay) -> None:
    """A device that asks twice at one moment, at two processes, is one device."""
    other, tablet = await house.relay(), Tablet()
    [code] = await relay.admin.codes.make(house.clinic_id, "device", "North")
    one, two = await asyncio.gather(relay.enrol(code.code, tablet), other.enrol(code.code, tablet))
    assert one == two
    assert len(await relay.admin.devices.list(house.clinic_id)) == 1


async def test_codes_are_kept_as_keyed_hashes(house: House, relay: Relay) -> None:
    """What the store has of a code is neither the code nor a hash that anybody could compute."""
    import hashlib

    [code] = await relay.admin.codes.make(house.clinic_id, "device", "North")
    [(kept,)] = await relay.transactions.read(
        lambda tx: tx.rows("SELECT code_hash FROM code WHERE clinic_id = $1", house.clinic_id)
    )
    assert bytes(kept) != hashlib.sha256(code.code.encode()).digest()
    assert code.code.encode() not in bytes(kept)


@pytest.mark.parametrize("key", ["", "AAAA", "%" * 43, "A" * 44, "é" * 43])
async def test_what_is_no_key(house: House, relay: Relay, key: str) -> None:
    """A public key that is not 32 bytes in base64url is refused before the code is looked at."""
    [code] = await relay.admin.codes.make(house.clinic_id, "device", "North")
    with pytest.raises(Invalid) as refusal:
        request = EnrolRequest.model_construct(code=code.code, name="T", public_key=key)
        await relay.accounts.enrol(request, HERE)
    assert refusal.value.field == "public_key"
    assert (await relay.enrol(code.code, Tablet())).device_id


async def test_a_copied_device_takes_another_id(house: House, relay: Relay) -> None:
    """The same tablet gets another id with its scope, site and authors, and a session that goes on under the new id."""
    tablet = await relay.tablet(house.clinic_id, "South", scope="front_desk")
    await relay.admin.users.add(
        house.clinic_id, "bob@example.org", "Bob", ["clinician"], "a lamp in the hall"
    )
    await relay.login(tablet, "bob@example.org", "a lamp in the hall")
    caller = await relay.caller((await relay.login(tablet)).access_token)
    copy = Tablet()
    asked = ReenrolRequest(name="Tablet 1 again", public_key=copy.public_key)
    answer = await relay.accounts.reenrol(caller, asked)
    directory = (await relay.directories.of(house.clinic_id)).directory
    old, new = directory.devices[tablet.device_id], directory.devices[answer.device_id]
    assert (new.scope, new.site_id, new.authors) == (old.scope, old.site_id, old.authors)
    assert len(new.authors) == 2
    assert new.public_keys == (copy.key.public_key().public_bytes_raw(),)
    assert (await relay.caller(answer.access_token)).device_id == answer.device_id
    renewed = await relay.accounts.refresh(RefreshRequest(refresh_token=answer.refresh_token), HERE)
    assert (await relay.caller(renewed.access_token)).device_id == answer.device_id
    again = await relay.accounts.reenrol(caller, asked)
    assert again.device_id == answer.device_id
    assert len(await relay.events(house.clinic_id, "reenrolled")) == 1


async def test_a_revoked_session_takes_no_id(house: House, relay: Relay) -> None:
    """Between the look at the token and the writing, a session that was revoked takes no new id along."""
    tablet = await relay.tablet(house.clinic_id)
    caller = await relay.caller((await relay.login(tablet)).access_token)
    await relay.admin.devices.revoke(house.clinic_id, tablet.device_id)
    with pytest.raises(Forbidden):
        await relay.accounts.reenrol(caller, ReenrolRequest(name="x", public_key=Tablet().public_key))
    with pytest.raises(SessionRevoked):
        relay.gate.hold(caller)
    assert len(await relay.admin.devices.list(house.clinic_id)) == 1


async def test_targets_are_the_site_s_own(house: House, relay: Relay) -> None:
    """A device is told of its own site's hubs before the cloud, and of no other site's: as it comes in, and ever after."""
    north, south = await relay.box(house.clinic_id, "North"), await relay.box(house.clinic_id, "South")
    await relay.hub_token(north, "https://192.168.1.2:8443")
    await relay.hub_token(south, "https://192.168.2.2:8443")
    [code] = await relay.admin.codes.make(house.clinic_id, "device", "South")
    answer = await relay.enrol(code.code, Tablet())
    assert [target.server_id for target in answer.targets] == [south.hub_id, relay.server_id]
    tablet = await relay.tablet(house.clinic_id, "South")
    caller = await relay.caller((await relay.login(tablet)).access_token)
    told = Configuration(caller.known).told(caller)
    assert [target.server_id for target in told.targets] == [south.hub_id, relay.server_id]
    hub = await relay.caller(await relay.hub_token(north, "https://192.168.1.2:8443"))
    assert len(Configuration(hub.known).told(hub).targets) == 3


async def test_revoking_a_device_revokes_all_its_ids(house: House, relay: Relay) -> None:
    """Whichever id of a device is revoked, the ids that it had and took are out as well, with their sessions."""
    for revoked in range(3):
        tablet = await relay.tablet(house.clinic_id)
        tokens, renewals = [(await relay.login(tablet)).access_token], []
        ids = [tablet.device_id]
        for _ in range(2):
            asked = ReenrolRequest(name="x", public_key=Tablet().public_key)
            answer = await relay.accounts.reenrol(await relay.caller(tokens[-1]), asked)
            tokens.append(answer.access_token)
            renewals.append(answer.refresh_token)
            ids.append(answer.device_id)
        other = await relay.caller((await relay.login(await relay.tablet(house.clinic_id))).access_token)
        before = len(await relay.events(house.clinic_id, "device_revoked"))
        await relay.admin.devices.revoke(house.clinic_id, ids[revoked], by=house.admin_id)
        for token in tokens:
            with pytest.raises(SessionRevoked):
                await relay.caller(token)
        for renewal in renewals:
            with pytest.raises(SessionRevoked):
                await relay.accounts.refresh(RefreshRequest(refresh_token=renewal), HERE)
        noted = (await relay.events(house.clinic_id, "device_revoked"))[before:]
        assert {entry.device_id for entry in noted} == set(ids)
        relay.gate.hold(other)
