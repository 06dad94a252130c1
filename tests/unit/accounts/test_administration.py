"""What an operator does: making a cloud, clinics with a CA, people, configuration, keys."""

import pytest
from cryptography import x509
from joserfc import jwt as foreign
from joserfc.jwk import KeySet

from medxz.accounts.base import Authority
from medxz.accounts.key_ring import KeyRing
from medxz.accounts.server import Server
from medxz.errors import CredentialsInvalid, Invalid, NotFound, StoreError, StoreKeyWrong, TokenInvalid
from medxz.store.authority.audit import AuditTrail
from medxz.store.authority.proof import verify
from medxz.store.authority.secrets import Seal
from medxz.trust.clinic_ca import verify_chain
from tests.unit.accounts.house import IDS, PASSWORD, Box, House, Relay

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
YEAR_MS = 365 * DAY_MS


async def test_a_cloud_is_made_once(house: House, relay: Relay) -> None:
    """Making a cloud again gives the one that is there: its id, its epoch, its keys."""
    made, keys = await relay.admin.server.init(), relay.accounts.keys()
    assert made == await relay.admin.server.init() == await relay.admin.server.get()
    assert made.server_id == house.server_id
    await relay.ring.refresh()
    assert relay.accounts.keys() == keys
    assert len(keys.keys) == 2
    epoch = await relay.admin.server.begin_epoch()
    assert (await relay.admin.server.get()).epoch == epoch != made.epoch


async def test_nothing_opens_with_another_key(house: House, relay: Relay) -> None:
    """With another key file the server's keys do not open, and say so."""
    wrong = Authority(relay.transactions, Seal(bytes(32)), AuditTrail(IDS, house.clock), house.clock, IDS)
    with pytest.raises(StoreKeyWrong):
        await KeyRing(wrong, house.server_id).refresh()


async def test_a_database_without_a_cloud_says_so(house: House) -> None:
    """Before it is made there is no cloud, and a ring without keys signs nothing."""
    transactions = await house._open()
    authority = Authority(transactions, Seal(bytes(32)), AuditTrail(IDS, house.clock), house.clock, IDS)
    with pytest.raises(StoreError, match="medxz-cloud init"):
        await Server(authority).get()
    ring = KeyRing(authority, IDS.uuid7())
    await ring.refresh()
    with pytest.raises(StoreError, match="no key"):
        _ = ring.signer
    await transactions.close()


async def test_a_clinic_begins_whole(house: House, relay: Relay) -> None:
    """A clinic has its sites in the order that they were named, an administrator who can log in, and a CA."""
    clinic_id = IDS.uuid7()
    made = await relay.admin.clinics.add("South", ["B", "A"], "s@example.org", "S", PASSWORD, clinic_id)
    assert made.clinic_id == clinic_id
    assert [site.name for site in made.sites] == ["B", "A"]
    tablet = await relay.tablet(clinic_id, "A")
    answer = await relay.login(tablet, "s@example.org")
    assert (answer.user.user_id, answer.roles) == (made.admin_user_id, ["admin"])
    names = [entry.event for entry in await relay.events(clinic_id)]
    assert {"clinic_added", "ca_made", "user_added", "code_made", "enrolled", "login"} <= set(names)
    assert all(check.ok for check in await verify(relay.transactions, clinic_id))
    assert len(await relay.admin.clinics.list()) == 2


async def test_clinics_that_are_not_made(house: House, relay: Relay) -> None:
    """A clinic whose values are not lawful is not made at all, and the field is named."""
    add = relay.admin.clinics.add
    for field, asked in {
        "clinic": add(" ", ["A"], "s@example.org", "S", PASSWORD),
        "site": add("C", ["A", "A "], "s@example.org", "S", PASSWORD),
        "email": add("C", ["A"], "nobody", "S", PASSWORD),
        "name": add("C", ["A"], "s@example.org", " ", PASSWORD),
        "password": add("C", ["A"], "s@example.org", "S", "password1234"),
        "clinic_id": add("C", ["A"], "s@example.org", "S", PASSWORD, house.clinic_id),
    }.items():
        with pytest.raises(Invalid) as refusal:
            await asked
        assert refusal.value.field == field
    for asked in (
        add("C", [], "s@example.org", "S", PASSWORD),
        add("C", ["A"], "s@example.org", "S", PASSWORD, "C" * 36),
    ):
        with pytest.raises(Invalid):
            await asked
    assert len(await relay.admin.clinics.list()) == 1


async def test_sites(house: House, relay: Relay) -> None:
    """A site is added once by its name, and codes are made for it at once."""
    site = await relay.admin.sites.add(house.clinic_id, " West ")
    assert {one.name for one in await relay.admin.sites.list(house.clinic_id)} == {"North", "South", "West"}
    with pytest.raises(Invalid):
        await relay.admin.sites.add(house.clinic_id, "West")
    with pytest.raises(NotFound):
        await relay.admin.sites.add(IDS.uuid7(), "West")
    assert (await relay.tablet(house.clinic_id, "West")).device_id
    assert (await relay.directories.of(house.clinic_id)).directory.sites[site.site_id] == "West"


async def test_people(house: House, relay: Relay) -> None:
    """People are added, given other roles and passwords, disabled and let in again; each is noted."""
    users, clinic = relay.admin.users, house.clinic_id
    bob = await users.add(clinic, " Bob@Example.org ", "Bob", ["clinician"], PASSWORD)
    assert [row.email for row in await users.list(clinic)] == ["ada@example.org", "bob@example.org"]
    for email, roles, password, field in (
        ("bob@example.org", ["clinician"], PASSWORD, "email"),
        ("b@example.org", ["operator"], PASSWORD, "roles"),
        ("b@example.org", ["hub"], PASSWORD, "roles"),
        ("b@example.org", [], PASSWORD, "roles"),
        ("b@example.org", ["admin"], "North River Clinic", "password"),
    ):
        with pytest.raises(Invalid) as refusal:
            await users.add(clinic, email, "B", roles, password)
        assert refusal.value.field == field
    tablet = await relay.tablet(clinic)
    await users.set_roles(clinic, bob, ["front_desk", "clinician"])
    assert (await relay.login(tablet, "bob@example.org")).roles == ["clinician", "front_desk"]
    await users.set_password(clinic, "BOB@example.org", "a lamp in the hall")
    with pytest.raises(CredentialsInvalid):
        await relay.login(tablet, "bob@example.org")
    await users.disable(clinic, bob)
    with pytest.raises(CredentialsInvalid):
        await relay.login(tablet, "bob@example.org", "a lamp in the hall")
    await users.disable(clinic, bob, disabled=False)
    assert (await relay.login(tablet, "bob@example.org", "a lamp in the hall")).access_token
    for asked in (users.disable(clinic, "x@example.org"), users.set_roles(clinic, IDS.uuid7(), ["admin"])):
        with pytest.raises(NotFound):
            await asked
    with pytest.raises(Invalid):
        await users.set_password(clinic, bob, "bob@example.org")
    events = [entry.event for entry in await relay.events(clinic) if entry.user_id == bob]
    assert [event for event in events if not event.startswith("login")] == [
        "user_added", "roles_changed", "password_changed", "user_disabled", "user_enabled",
    ]  # fmt: skip


async def test_people_are_their_clinic_s(house: House, relay: Relay) -> None:
    """Another clinic's people, devices, sessions and hubs are not found under this one's id."""
    other = await relay.admin.clinics.add("South", ["S"], "s@example.org", "S", PASSWORD)
    tablet, box = await relay.tablet(other.clinic_id, "S"), await relay.box(other.clinic_id, "S")
    session = await relay.caller((await relay.login(tablet, "s@example.org")).access_token)
    admin, ours = relay.admin, house.clinic_id
    for asked in (
        admin.users.disable(ours, other.admin_user_id),
        admin.users.set_password(ours, "s@example.org", PASSWORD),
        admin.totp.begin(ours, other.admin_user_id),
        admin.devices.revoke(ours, tablet.device_id),
        admin.hubs.revoke(ours, box.hub_id),
        admin.sessions.revoke(ours, session.session_id),
    ):
        with pytest.raises(NotFound):
            await asked
    with pytest.raises(Invalid):
        await admin.codes.make(ours, "hub", "North", replaces=box.hub_id)
    with pytest.raises(Invalid):
        await admin.codes.make(ours, "device", other.sites[0].site_id)
    relay.gate.hold(session)
    assert (await admin.devices.list(ours), await admin.hubs.list(ours)) == ([], [])


async def test_configuration(house: House, relay: Relay) -> None:
    """What a clinic decides is told to its devices at once; what is not lawful is named and changes nothing."""
    config, clinic = relay.admin.config, house.clinic_id
    before = await config.get(clinic)
    assert (before["name"], before["keep_own_days"], before["offline_session_hours"]) == (
        "North River Clinic",
        14,
        72,
    )
    assert before["routing"]["clinician"] == ["hub", "cloud"]
    for name, value in (
        ("keep_own_days", 0), ("keep_own_days", "14"), ("keep_own_days", True), ("offline_session_hours", 721),
        ("require_signed_ops", 1), ("routing", {"clinician": []}), ("routing", {"root": ["hub"]}),
        ("routing", {"clinician": ["hub", "hub"]}), ("routing", [1]), ("routing", {"clinician": [["hub"]]}),
        ("hub_names", "hub.example"), ("hub_names", ["hub.example"] * 2 + [f"h{n}" for n in range(8)]),
        ("hub_names", ["https://hub.example"]), ("hub_names", ["hub.example:0"]), ("hub_names", ["hub:65536"]),
        ("hub_names", ["hub..example"]), ("hub_names", ["-hub"]), ("hub_names", [""]), ("hub_names", [8443]),
        ("name", ""), ("name", 7), ("targets", []), ("x", 1),
    ):  # fmt: skip
        with pytest.raises(Invalid) as refusal:
            await config.set(clinic, name, value)
        assert refusal.value.field == name
    assert await config.get(clinic) == before
    await config.set(clinic, "keep_own_days", 30)
    await config.set(clinic, "require_signed_ops", True)
    await config.set(clinic, "routing", {"front_desk": ["cloud"]}, by=house.admin_id)
    await config.set(clinic, "name", "River Clinic")
    await config.set(clinic, "hub_names", ["Hub.River.example.", "10.0.7.2:8444", "[fd00::2]:8443"])
    known = (await relay.directories.of(clinic)).config
    assert (known.keep_own_days, known.require_signed_ops, known.name) == (30, True, "River Clinic")
    assert {role: list(kinds) for role, kinds in known.routing.items()} == {
        "admin": ["hub", "cloud"], "clinician": ["hub", "cloud"], "front_desk": ["cloud"],
    }  # fmt: skip
    assert list(known.hub_names) == ["hub.river.example", "10.0.7.2:8444", "[fd00::2]:8443"]
    await config.set(clinic, "keep_own_days", None)
    assert (await config.get(clinic))["keep_own_days"] == 14
    assert len(await relay.events(clinic, "config_changed")) == 6


@pytest.mark.filterwarnings("ignore:EdDSA is deprecated")
async def test_keys_rotate(house: House, relay: Relay) -> None:
    """The next key was published before it signs, old tokens go on, and hubs are told: every clinic has another revision."""
    tablet, other = await relay.tablet(house.clinic_id), await house.relay()
    old = (await relay.login(tablet)).access_token
    [current, coming] = [key.kid for key in relay.accounts.keys().keys]
    revision = (await relay.directories.of(house.clinic_id)).directory.revision
    with pytest.raises(Invalid, match="less than an hour"):
        await relay.admin.keys.rotate()
    house.clock.time_ms += HOUR_MS
    token = (await relay.login(tablet)).access_token
    assert await relay.admin.keys.rotate() == coming
    assert (await relay.directories.of(house.clinic_id)).directory.revision > revision
    await relay.ring.refresh()
    kids = [key.kid for key in relay.accounts.keys().keys]
    assert (kids[0], kids[2], len(kids)) == (coming, current, 3)
    new = (await relay.login(tablet)).access_token
    await other.directories.refresh(house.clinic_id)
    assert (await other.caller(new)).device_id == tablet.device_id  # another process had the key before
    assert (await relay.caller(token)).device_id == tablet.device_id
    keys = KeySet.import_key_set(relay.accounts.keys().model_dump())  # type: ignore[arg-type]
    assert foreign.decode(new, keys, algorithms=["EdDSA"]).header["kid"] == coming
    assert old != token
    assert len(await relay.events("", "key_rotated")) == 1


async def test_a_key_that_leaked_is_gone_at_once(house: House, relay: Relay) -> None:
    """A rotation at once waits for nothing and forgets the old key: its tokens are refused."""
    tablet = await relay.tablet(house.clinic_id)
    token = (await relay.login(tablet)).access_token
    await relay.admin.keys.rotate(at_once=True)
    await relay.ring.refresh()
    with pytest.raises(TokenInvalid):
        await relay.caller(token)
    assert len(relay.accounts.keys().keys) == 2


async def test_the_ring_follows(house: House, relay: Relay) -> None:
    """A process that follows has a rotation of another process by itself."""
    import asyncio

    await relay.admin.keys.rotate(at_once=True)
    before = relay.accounts.keys()
    following = asyncio.create_task(relay.ring.follow())
    async with asyncio.timeout(30):
        while relay.accounts.keys() == before:
            await asyncio.sleep(0.01)
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)


async def test_the_root_s_key_in_a_safe(house: House, relay: Relay) -> None:
    """With the root's key taken away hubs are claimed on; an intermediate is renewed only with it back, for once or kept."""
    cas, clinic = relay.admin.cas, house.clinic_id
    exported = await cas.export_root(clinic)
    with pytest.raises(Invalid):
        await cas.remove_root(clinic, b"x")
    await cas.remove_root(clinic, exported)
    await relay.box(clinic)
    for asked in (cas.export_root(clinic), cas.renew(clinic)):
        with pytest.raises(NotFound, match="root key is not here"):
            await asked
    other = await relay.admin.clinics.add("South", ["S"], "s@example.org", "S", PASSWORD)
    with pytest.raises(Invalid):
        await cas.renew(clinic, await cas.export_root(other.clinic_id))
    await cas.renew(clinic, exported)
    box, [code] = Box(), await relay.admin.codes.make(clinic, "hub", "North")
    answer = await relay.claim(code.code, box)
    chain = x509.load_pem_x509_certificates(answer.certificate.encode())
    roots = [x509.load_pem_x509_certificate(pem.encode()) for pem in answer.ca_certificates]
    assert len(roots) == 1
    assert verify_chain(chain, roots, box.hub_id, house.clock.time_ms) == box.key.public_key()
    names = [entry.event for entry in await relay.events(clinic)]
    assert {"ca_root_exported", "ca_root_removed"} <= set(names)
    assert names.count("ca_made") == 2


async def test_an_intermediate_is_renewed_in_time(house: House, relay: Relay) -> None:
    """At two thirds of its life an intermediate is renewed where the root's key is; without it, it works to its end."""
    [code] = await relay.admin.codes.make(house.clinic_id, "device", "North")
    house.clock.time_ms += int(3.5 * YEAR_MS)
    await relay.box(house.clinic_id)
    assert len(await relay.events(house.clinic_id, "ca_made")) == 2
    await relay.admin.cas.remove_root(house.clinic_id, await relay.admin.cas.export_root(house.clinic_id))
    house.clock.time_ms += 4 * YEAR_MS
    await relay.box(house.clinic_id)
    house.clock.time_ms += 2 * YEAR_MS
    with pytest.raises(Invalid, match="has ended"):
        await relay.box(house.clinic_id)
    assert code.code


async def test_secrets_are_sealed(house: House, relay: Relay) -> None:
    """No table has a private key in clear."""
    tables = (
        "SELECT sealed FROM secret",
        "SELECT sealed FROM server_secret",
        "SELECT sealed FROM server_key",
    )
    for table in tables:
        rows = await relay.transactions.read(lambda tx, table=table: tx.rows(table))  # type: ignore[misc]
        assert rows
        assert not any(b"PRIVATE KEY" in bytes(sealed) for (sealed,) in rows)
    keys = {key.x for key in relay.accounts.keys().keys}
    assert len(keys) == 2
