"""A hub that began alone is taken in with everything that it has."""

from typing import Any

import pytest
from argon2 import PasswordHasher
from cryptography import x509

from medxz.accounts.sessions import RefreshToken
from medxz.errors import CredentialsInvalid, Forbidden, Invalid
from medxz.store.authority.audit import CHAIN_BEGAN
from medxz.store.authority.proof import verify
from medxz.trust.certificates import issue_server, make_root
from medxz.trust.clinic_ca import verify_chain
from medxz.wire import Adopt, ClaimAnswer, RefreshRequest
from tests.unit.accounts.house import EMAIL, HERE, IDS, PASSWORD, Box, House, Relay, Tablet


class Alone:
    """A hub by itself, with two tablets and two people."""

    def __init__(self, house: House) -> None:
        self.box = Box()
        self.clinic_id, self.site_id, self.ada, self.nameless = (IDS.uuid7() for _ in range(4))
        self.root = make_root(self.box.hub_id, house.clock.now_ms())
        self.tablets = [Tablet(device_id=IDS.uuid7()), Tablet(device_id=IDS.uuid7())]

    def adopt(self, **changes: Any) -> Adopt:
        brought: dict[str, Any] = {
            "clinic_id": self.clinic_id,
            "ca_certificate": self.root.certificate_pem.decode(),
            "sites": [{"site_id": self.site_id, "name": "Here"}],
            "users": [
                {"user_id": self.ada, "email": EMAIL, "name": "Ada L", "roles": ["clinician"]},
                {"user_id": self.nameless, "roles": ["front_desk"]},
            ],
            "devices": [
                {
                    "device_id": tablet.device_id, "name": "T", "site_id": self.site_id, "scope": "full",
                    "public_keys": [tablet.public_key], "authors": [self.ada, self.nameless],
                    "revoked": number == 1,
                }
                for number, tablet in enumerate(self.tablets)
            ],
        }  # fmt: skip
        return Adopt.model_validate({**brought, **changes})


async def adopted(house: House, relay: Relay, alone: Alone, **changes: Any) -> ClaimAnswer:
    [code] = await relay.admin.codes.make(house.clinic_id, "hub", "North")
    return await relay.claim(code.code, alone.box, adopt=alone.adopt(**changes))


async def test_everything_is_taken_in(house: House, relay: Relay) -> None:
    """The clinic has the hub's id, devices, keys, people and site afterwards, and trusts its CA beside its own."""
    alone = Alone(house)
    await relay.admin.config.set(house.clinic_id, "keep_own_days", 21)
    answer = await adopted(house, relay, alone)
    assert (answer.clinic_id, answer.site_id, answer.hub_id) == (
        alone.clinic_id,
        alone.site_id,
        alone.box.hub_id,
    )
    assert answer.config.keep_own_days == 21
    roots = {x509.load_pem_x509_certificate(pem.encode()) for pem in answer.ca_certificates}
    assert len(roots) == 2
    assert alone.root.certificate in roots
    directory = (await relay.directories.of(alone.clinic_id)).directory
    assert directory.sites == {
        alone.site_id: "North",
        **{k: v for k, v in directory.sites.items() if v == "South"},
    }
    assert set(directory.devices) == {tablet.device_id for tablet in alone.tablets}
    first = directory.devices[alone.tablets[0].device_id]
    assert first.public_keys == (alone.tablets[0].key.public_key().public_bytes_raw(),)
    assert first.authors == {alone.ada, alone.nameless}
    assert [directory.devices[tablet.device_id].revoked for tablet in alone.tablets] == [False, True]
    assert directory.users[alone.ada].roles == {"admin", "clinician"}
    assert directory.users[alone.nameless].roles == {"front_desk"}
    assert set(directory.users) == {alone.ada, alone.nameless}


async def test_life_goes_on_under_its_id(house: House, relay: Relay) -> None:
    """The administrator logs in on a tablet that nobody touched, hubs and codes work, secrets open, under the new id."""
    alone = Alone(house)
    [later] = await relay.admin.codes.make(house.clinic_id, "device", "North")
    await relay.admin.totp.begin(house.clinic_id, EMAIL)
    await adopted(house, relay, alone)
    session = await relay.login(alone.tablets[0])
    assert (session.user.user_id, session.clinic.clinic_id) == (alone.ada, alone.clinic_id)
    assert await relay.hub_token(alone.box)
    assert (await relay.enrol(later.code, Tablet())).site_id == alone.site_id
    await relay.box(alone.clinic_id, "South")
    assert [row.clinic_id for row in await relay.admin.clinics.list()] == [alone.clinic_id]
    assert not await (await house.relay()).is_known(house.clinic_id)


async def test_the_audit_says_what_became_of_it(house: House, relay: Relay) -> None:
    """The audit of the empty clinic stays under its id and names the other; that one begins its own. Both hold."""
    alone = Alone(house)
    await adopted(house, relay, alone)
    [left] = await relay.events(house.clinic_id, "clinic_adopted")
    [came] = await relay.events(alone.clinic_id, "clinic_adopted")
    assert alone.clinic_id in left.detail
    assert house.clinic_id in came.detail
    assert (await relay.events(alone.clinic_id))[0].event == CHAIN_BEGAN
    for clinic_id in (house.clinic_id, alone.clinic_id):
        assert all(check.ok for check in await verify(relay.transactions, clinic_id))


async def test_a_second_factor_moves_along(house: House, relay: Relay) -> None:
    """A second factor that was on before the clinic got its id, and its owner theirs, is asked for and opens after."""
    import pyotp

    alone = Alone(house)
    app = pyotp.parse_uri(await relay.admin.totp.begin(house.clinic_id, EMAIL))
    assert isinstance(app, pyotp.TOTP)
    await relay.admin.totp.confirm(house.clinic_id, EMAIL, app.at(house.clock.time_ms // 1_000))
    await adopted(house, relay, alone)
    house.clock.time_ms += 60_000
    assert (await relay.login(alone.tablets[0], totp=app.at(house.clock.time_ms // 1_000))).access_token


async def test_asked_again_the_answer_is_the_same(house: House, relay: Relay) -> None:
    """A hub that lost the answer asks again with all that it brings, and gets the same."""
    alone = Alone(house)
    [code] = await relay.admin.codes.make(house.clinic_id, "hub", "North")
    first = await relay.claim(code.code, alone.box, adopt=alone.adopt())
    assert await relay.claim(code.code, alone.box, adopt=alone.adopt()) == first


async def test_only_an_empty_clinic_takes_one_in(house: House, relay: Relay) -> None:
    """A clinic that has let a device or a hub in takes no hub's id, and nothing of it is left changed."""
    await relay.tablet(house.clinic_id)
    with pytest.raises(Forbidden, match="empty clinic"):
        await adopted(house, relay, Alone(house))
    assert await relay.is_known(house.clinic_id)


async def test_an_id_that_is_taken_is_not_given(house: House, relay: Relay) -> None:
    """A hub that says it is another clinic of this cloud is refused."""
    other = await relay.admin.clinics.add("South", ["S"], "s@example.org", "S", "a lamp in the hall")
    with pytest.raises(Forbidden, match="another clinic has that id"):
        await adopted(house, relay, Alone(house), clinic_id=other.clinic_id)
    assert (await relay.directories.of(other.clinic_id)).directory.devices == {}


async def test_a_ca_that_is_none_is_refused(house: House, relay: Relay) -> None:
    """What is not one root that signed itself does not become a trust anchor."""
    alone = Alone(house)
    leaf = issue_server(alone.root, alone.box.hub_id, house.clock.now_ms())
    two = alone.root.certificate_pem + make_root(IDS.uuid7(), house.clock.now_ms()).certificate_pem
    for pem in (
        "x",
        leaf.certificate_pem.decode().partition("-----END")[0],
        two.decode(),
        leaf.certificate_pem.decode(),
        make_root(IDS.uuid7(), house.clock.now_ms()).certificate_pem.decode(),
    ):
        with pytest.raises(Invalid) as refusal:
            await adopted(house, relay, alone, ca_certificate=pem)
        assert refusal.value.field == "adopt.ca_certificate"
    with pytest.raises(Invalid):
        await adopted(house, relay, alone, sites=[])


async def test_people_and_sites_that_are_alike(house: House, relay: Relay) -> None:
    """Two people of one address and two sites of one name are all there afterwards, under ids of their own."""
    alone, second = Alone(house), IDS.uuid7()
    users = [
        {"user_id": alone.ada, "email": "twin@example.org", "roles": ["clinician"]},
        {"user_id": alone.nameless, "email": "TWIN@example.org", "roles": ["clinician"]},
    ]
    sites = [{"site_id": alone.site_id, "name": "Here"}, {"site_id": second, "name": "South"}]
    await adopted(house, relay, alone, users=users, sites=sites)
    directory = (await relay.directories.of(alone.clinic_id)).directory
    assert {alone.site_id, second} <= set(directory.sites)
    assert len(directory.sites) == 3
    assert {alone.ada, alone.nameless} <= set(directory.users)


async def test_its_ca_stands_for_it_alone_until_it_is_revoked(house: House, relay: Relay) -> None:
    """The CA of a hub that began alone proves no other hub, and nobody is told of it once that hub is revoked."""
    alone = Alone(house)
    answer = await adopted(house, relay, alone)
    other = await relay.box(alone.clinic_id, "South")
    roots = [x509.load_pem_x509_certificate(pem.encode()) for pem in answer.ca_certificates]
    now_ms = house.clock.now_ms()
    own = issue_server(alone.root, alone.box.hub_id, now_ms).certificate
    forged = issue_server(alone.root, other.hub_id, now_ms).certificate
    verify_chain([own], roots, alone.box.hub_id, now_ms)
    with pytest.raises(ValueError, match="does not hold"):
        verify_chain([forged], roots, other.hub_id, now_ms)
    await relay.admin.hubs.revoke(alone.clinic_id, alone.box.hub_id)
    held = (await relay.directories.of(alone.clinic_id)).config.ca_certificates
    assert len(held) == 1
    assert alone.root.certificate_pem.decode() not in held


async def test_another_clinic_s_tablets_are_not_brought(house: House, relay: Relay) -> None:
    """A hub that says it has the devices of another clinic here is refused, and hears of no reason; its code stays good."""
    other = await relay.admin.clinics.add("South", ["S"], "s@example.org", "S", "a lamp in the hall")
    theirs, alone = await relay.tablet(other.clinic_id, "S"), Alone(house)
    [code] = await relay.admin.codes.make(house.clinic_id, "hub", "North")
    own, alone.tablets = alone.tablets, [theirs]
    with pytest.raises(Invalid) as refusal:
        await relay.claim(code.code, alone.box, adopt=alone.adopt())
    assert refusal.value.field == "adopt.devices"
    assert await relay.is_known(house.clinic_id)
    alone.tablets = own
    assert (await relay.claim(code.code, alone.box, adopt=alone.adopt())).clinic_id == alone.clinic_id


def kept_hash(password: str = PASSWORD) -> str:
    """As another server with lawful parameters keeps it."""
    return PasswordHasher(time_cost=1, memory_cost=8 * 1024, parallelism=1).hash(password)


def a_session(
    alone: Alone, user_id: str, tablet: int = 0, **changes: Any
) -> tuple[RefreshToken, dict[str, Any]]:
    """A session that the hub began, with its refresh token."""
    token = RefreshToken.new(alone.clinic_id, IDS.uuid7())
    told = {
        "session_id": token.session_id, "user_id": user_id, "device_id": alone.tablets[tablet].device_id,
        "fresh": [token.digest.hex()],
    }  # fmt: skip
    return token, {**told, **changes}


async def test_nobody_logs_in_anew(house: House, relay: Relay) -> None:
    """A person comes along with their password and their session; the answer says which sessions go on."""
    alone, nora = Alone(house), IDS.uuid7()
    token, session = a_session(alone, nora)
    users = [
        {"user_id": nora, "email": "nora@example.org", "name": "Nora", "roles": ["clinician"], "password_hash": kept_hash()}
    ]  # fmt: skip
    answer = await adopted(house, relay, alone, users=users, sessions=[session])
    assert answer.sessions == [token.session_id]
    renewed = await relay.accounts.refresh(RefreshRequest(refresh_token=token.text), HERE)
    assert (renewed.user.user_id, renewed.roles) == (nora, ["clinician"])
    assert (await relay.login(alone.tablets[0], "nora@example.org")).user.user_id == nora


async def test_a_session_of_somebody_with_more_here_is_left_behind(house: House, relay: Relay) -> None:
    """Of a person whom the clinic knows with another role, or a second factor, no session goes on, and no password."""
    alone = Alone(house)
    _, session = a_session(alone, alone.ada)
    users = [
        {
            "user_id": alone.ada,
            "email": EMAIL,
            "roles": ["clinician"],
            "password_hash": kept_hash("another of hers"),
        }
    ]
    answer = await adopted(house, relay, alone, users=users, sessions=[session])
    assert answer.sessions == []
    with pytest.raises(CredentialsInvalid):
        await relay.login(alone.tablets[0], password="another of hers")
    assert (await relay.login(alone.tablets[0])).user.user_id == alone.ada


@pytest.mark.parametrize(
    "kept", ["x", "$argon2i$v=19$m=65536,t=3,p=1$" + "A" * 22 + "$" + "A" * 43, "4194304", "t=99"]
)
async def test_a_hash_that_is_none_of_ours_is_not_taken(house: House, relay: Relay, kept: str) -> None:
    """Another algorithm, or a cost that would stop the cloud, refuses the claim, and nothing is changed."""
    alone = Alone(house)
    if kept.isdigit():
        kept = kept_hash().replace("m=8192", f"m={kept}")
    elif kept.startswith("t="):
        kept = kept_hash().replace("t=1", kept)
    users = [{"user_id": alone.ada, "email": EMAIL, "roles": ["clinician"], "password_hash": kept}]
    with pytest.raises(Invalid) as refusal:
        await adopted(house, relay, alone, users=users)
    assert refusal.value.field == "adopt.users"
    assert await relay.is_known(house.clinic_id)


async def test_sessions_that_do_not_fit_are_refused(house: House, relay: Relay) -> None:
    """A session of nobody, on a revoked device, or with another's token, refuses the claim."""
    alone = Alone(house)
    _, good = a_session(alone, alone.nameless)
    for bad in (
        a_session(alone, IDS.uuid7())[1],
        a_session(alone, alone.nameless, tablet=1)[1],
        a_session(alone, alone.nameless, fresh=good["fresh"])[1],
        a_session(alone, alone.nameless, session_id=good["session_id"])[1],
    ):
        with pytest.raises(Invalid) as refusal:
            await adopted(house, relay, alone, sessions=[good, bad])
        assert refusal.value.field == "adopt.sessions"
