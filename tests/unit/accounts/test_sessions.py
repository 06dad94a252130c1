"""Logging in, staying in, and being put out."""

import asyncio

import jwt
import pytest

from medxz import limits
from medxz.accounts.lockout import RENEWALS_A_MINUTE
from medxz.accounts.sessions import RefreshToken
from medxz.errors import (
    CredentialsInvalid,
    Invalid,
    NotFound,
    RateLimited,
    SessionRevoked,
    TokenInvalid,
    TokenMissing,
)
from medxz.service.accounts import Origin
from medxz.store.authority.sessions import SUCCESSORS_MAX
from medxz.wire import LogoutRequest, RefreshRequest, SessionAnswer
from tests.unit.accounts.house import EMAIL, IDS, PASSWORD, House, Relay, Tablet

DAY_MS = 86_400_000


async def refresh(relay: Relay, token: str | None) -> SessionAnswer:
    assert token is not None
    return await relay.accounts.refresh(RefreshRequest(refresh_token=token), Origin("198.51.100.7"))


async def test_who_logs_in_is_let_in(house: House, relay: Relay) -> None:
    """A person with the right password on a device of their clinic gets tokens that say who, where and what they are."""
    tablet = await relay.tablet(house.clinic_id)
    answer = await relay.login(tablet, EMAIL.upper())
    assert (answer.user.user_id, answer.user.email, answer.user.name) == (house.admin_id, EMAIL, "Ada")
    assert (answer.clinic.clinic_id, answer.clinic.name) == (house.clinic_id, "North River Clinic")
    assert (answer.roles, answer.expires_in) == (["admin"], 900)
    caller = await relay.caller(answer.access_token)
    assert (caller.device_id, caller.site_id, caller.scope) == (tablet.device_id, house.site_id, "full")
    assert caller.issuer == house.server_id
    claims = jwt.decode(answer.access_token, options={"verify_signature": False})
    assert claims["exp"] - claims["iat"] == limits.ACCESS_TOKEN_S
    [noted] = await relay.events(house.clinic_id, "login")
    assert (noted.user_id, noted.device_id, noted.address) == (
        house.admin_id,
        tablet.device_id,
        "198.51.100.7",
    )


async def test_the_device_decides_what_it_sees(house: House, relay: Relay) -> None:
    """The scope of the device counts, whoever is at it."""
    tablet = await relay.tablet(house.clinic_id, scope="front_desk")
    caller = await relay.caller((await relay.login(tablet)).access_token)
    assert (caller.scope, caller.roles) == ("front_desk", frozenset({"admin"}))


async def test_what_is_wrong_is_not_told(house: House, relay: Relay) -> None:
    """An unknown address, a wrong password, a disabled user and a device that is nobody's get one answer."""
    tablet = await relay.tablet(house.clinic_id)
    await relay.admin.users.add(house.clinic_id, "bob@example.org", "Bob", ["clinician"], PASSWORD)
    await relay.admin.users.disable(house.clinic_id, "bob@example.org")
    told = set()
    for device, email, password in (
        (tablet, "nobody@example.org", PASSWORD),
        (tablet, EMAIL, "another long password"),
        (tablet, "bob@example.org", PASSWORD),
        (Tablet(device_id=IDS.uuid7()), EMAIL, PASSWORD),
    ):
        with pytest.raises(CredentialsInvalid) as refusal:
            await relay.login(device, email, password)
        told.add((refusal.value.message, refusal.value.field, refusal.value.retry_after_s))
    assert len(told) == 1
    assert len(await relay.events(house.clinic_id, "login_refused")) == 3
    assert len(await relay.events("", "login_refused")) == 1


async def test_another_clinic_s_people_do_not_get_in(house: House, relay: Relay) -> None:
    """A person of one clinic can't log in on a device of another, even where both have the address."""
    other = await relay.admin.clinics.add("South", ["S"], "eve@example.org", "Eve", "another long password")
    await relay.admin.users.add(other.clinic_id, EMAIL, "Ada of South", ["admin"], "a third long password")
    ours, theirs = await relay.tablet(house.clinic_id), await relay.tablet(other.clinic_id, "S")
    with pytest.raises(CredentialsInvalid):
        await relay.login(ours, "eve@example.org", "another long password")
    with pytest.raises(CredentialsInvalid):
        await relay.login(ours, EMAIL, "a third long password")
    with pytest.raises(CredentialsInvalid):
        await relay.login(theirs, EMAIL, PASSWORD)
    assert (await relay.login(theirs, EMAIL, "a third long password")).clinic.clinic_id == other.clinic_id


async def test_a_refresh_gives_a_successor(house: House, relay: Relay) -> None:
    """Each refresh goes on with the same session and roles as they are now, by tokens that were not there before."""
    first = await relay.login(await relay.tablet(house.clinic_id))
    await relay.admin.users.set_roles(house.clinic_id, EMAIL, ["clinician", "admin"])
    house.clock.time_ms += 14 * 60_000
    second = await refresh(relay, first.refresh_token)
    assert second.refresh_token != first.refresh_token
    assert second.roles == ["admin", "clinician"]
    before, after = await relay.caller(first.access_token), await relay.caller(second.access_token)
    assert before.session_id == after.session_id


async def test_a_lost_answer_is_asked_for_again(house: House, relay: Relay) -> None:
    """A token works again and again until a successor of it was used."""
    first = await relay.login(await relay.tablet(house.clinic_id))
    lost = await refresh(relay, first.refresh_token)
    again = await refresh(relay, first.refresh_token)
    assert again.refresh_token not in {lost.refresh_token, first.refresh_token}
    assert (await refresh(relay, again.refresh_token)).refresh_token


async def test_a_stolen_token_ends_the_session(house: House, relay: Relay) -> None:
    """A use of a token after its successor was used revokes the family, for the thief and the owner alike."""
    first = await relay.login(await relay.tablet(house.clinic_id))
    second = await refresh(relay, first.refresh_token)
    third = await refresh(relay, second.refresh_token)
    with pytest.raises(SessionRevoked):
        await refresh(relay, first.refresh_token)
    for token in (second.refresh_token, third.refresh_token):
        with pytest.raises(SessionRevoked):
            await refresh(relay, token)
    with pytest.raises(SessionRevoked):
        await relay.caller(third.access_token)
    assert len(await relay.events(house.clinic_id, "token_reused")) == 1


async def test_a_sibling_that_lost_is_a_theft_too(house: House, relay: Relay) -> None:
    """Of two successors of one token the first that is used goes on; the other is at its end."""
    first = await relay.login(await relay.tablet(house.clinic_id))
    one, other = await refresh(relay, first.refresh_token), await refresh(relay, first.refresh_token)
    await refresh(relay, one.refresh_token)
    with pytest.raises(SessionRevoked):
        await refresh(relay, other.refresh_token)


async def test_two_refreshes_at_once_both_go_on(house: House, relay: Relay) -> None:
    """A token that two processes of the cloud are shown at one moment gives each a successor, and no theft."""
    other = await house.relay()
    first = await relay.login(await relay.tablet(house.clinic_id))
    answers = await asyncio.gather(
        *(refresh(one, first.refresh_token) for one in (relay, other, relay, other))
    )
    assert len({answer.refresh_token for answer in answers}) == 4
    assert (await refresh(other, answers[0].refresh_token)).access_token


async def test_two_uses_of_a_fresh_token_and_its_successor(house: House, relay: Relay) -> None:
    """However a token's second use and its successor's first one meet, the tokens are in order or the session is over."""
    other = await house.relay()
    tablet = await relay.tablet(house.clinic_id)
    for _ in range(4):
        first = await relay.login(tablet)
        second = await refresh(relay, first.refresh_token)
        met = await asyncio.gather(
            refresh(relay, first.refresh_token), refresh(other, second.refresh_token), return_exceptions=True
        )
        revoked = len(await relay.events(house.clinic_id, "token_reused"))
        over = [isinstance(answer, SessionRevoked) for answer in met]
        assert all(isinstance(answer, SessionAnswer | SessionRevoked) for answer in met)
        session = RefreshToken.read(first.refresh_token or "").session_id
        row = next(
            row for row in await relay.admin.sessions.list(house.clinic_id) if row.session_id == session
        )
        assert row.revoked == any(over)
        assert revoked <= 4


async def test_what_is_no_refresh_token(house: House, relay: Relay) -> None:
    """A text that no session gave is refused as an invalid token."""
    guess = RefreshToken.new(IDS.uuid7(), IDS.uuid7()).text
    for token in (
        "x",
        "a.b",
        "a.b.c",
        "..",
        "é.é.é",
        "%.%.%",
        "A" * 2_000,
        guess,
        guess + ".",
        guess[:-2] + "!!",
    ):
        with pytest.raises(TokenInvalid):
            await refresh(relay, token)


async def test_the_secret_of_another_session_does_not_fit(house: House, relay: Relay) -> None:
    """A session's id with another session's secret is nobody's token, and revokes nothing."""
    tablet = await relay.tablet(house.clinic_id)
    one, other = await relay.login(tablet), await relay.login(tablet)
    mixed = RefreshToken(
        house.clinic_id,
        RefreshToken.read(one.refresh_token or "").session_id,
        RefreshToken.read(other.refresh_token or "").secret,
    )
    with pytest.raises(TokenInvalid):
        await refresh(relay, mixed.text)
    assert (await refresh(relay, one.refresh_token)).access_token


async def test_only_hashes_are_kept(house: House, relay: Relay) -> None:
    """The store has neither a refresh token nor its secret."""
    answer = await relay.login(await relay.tablet(house.clinic_id))
    rows = await relay.transactions.read(
        lambda tx: tx.rows("SELECT token_hash FROM refresh_token WHERE clinic_id = $1", house.clinic_id)
    )
    token = RefreshToken.read(answer.refresh_token or "")
    assert [bytes(row[0]) for row in rows] == [token.digest]
    assert token.secret not in [bytes(row[0]) for row in rows]


async def test_thirty_days_unused_end_a_session(house: House, relay: Relay) -> None:
    """A session that was used every few weeks goes on; one that was not for thirty days is over."""
    token = (await relay.login(await relay.tablet(house.clinic_id))).refresh_token
    for _ in range(3):
        house.clock.time_ms += 29 * DAY_MS
        token = (await refresh(relay, token)).refresh_token
    house.clock.time_ms += 30 * DAY_MS
    with pytest.raises(SessionRevoked, match="thirty days"):
        await refresh(relay, token)


async def test_the_cloud_renews_by_its_own_tokens(house: House, relay: Relay) -> None:
    """An access token with a proof is what a hub takes while it is alone: the cloud does not."""
    with pytest.raises(Invalid) as refusal:
        await relay.accounts.refresh(RefreshRequest(access_token="a", proof="b"), Origin("198.51.100.7"))
    assert refusal.value.field == "refresh_token"


async def test_logging_out_ends_the_session(house: House, relay: Relay) -> None:
    """By the access token or by the refresh token, a logout ends that session alone; a second one changes nothing."""
    tablet = await relay.tablet(house.clinic_id)
    one, two, third = [await relay.login(tablet) for _ in range(3)]
    await relay.accounts.logout(await relay.caller(one.access_token), LogoutRequest())
    for _ in range(2):
        await relay.accounts.logout(None, LogoutRequest(refresh_token=two.refresh_token))
    for answer in (one, two):
        with pytest.raises(SessionRevoked):
            await relay.caller(answer.access_token)
        with pytest.raises(SessionRevoked):
            await refresh(relay, answer.refresh_token)
    assert (await refresh(relay, third.refresh_token)).access_token
    assert len(await relay.events(house.clinic_id, "logout")) == 2
    with pytest.raises(TokenMissing):
        await relay.accounts.logout(None, LogoutRequest())
    with pytest.raises(TokenInvalid):
        guess = RefreshToken.new(house.clinic_id, RefreshToken.read(third.refresh_token or "").session_id)
        await relay.accounts.logout(None, LogoutRequest(refresh_token=guess.text))


async def test_what_ends_a_session_at_once(house: House, relay: Relay) -> None:
    """Disabling, a new password, revoking the device or the session puts out who is in, in every process that heard."""
    admin, clinic = relay.admin, house.clinic_id
    other = await house.relay()
    await admin.users.add(clinic, "bob@example.org", "Bob", ["clinician"], PASSWORD)
    for end in (
        lambda _, __: admin.users.set_password(clinic, "bob@example.org", PASSWORD),
        lambda _, sid: admin.sessions.revoke(clinic, sid, by=house.admin_id),
        lambda did, _: admin.devices.revoke(clinic, did, by=house.admin_id),
        lambda _, __: admin.users.disable(clinic, "bob@example.org"),
    ):
        tablet = await relay.tablet(clinic)
        answer = await relay.login(tablet, "bob@example.org")
        await other.directories.refresh(clinic)
        caller = await other.caller(answer.access_token)
        await end(tablet.device_id, caller.session_id)
        with pytest.raises(SessionRevoked):
            await relay.caller(answer.access_token)
        with pytest.raises(SessionRevoked):
            await refresh(relay, answer.refresh_token)
        rows = await admin.sessions.list(clinic)
        assert [row.revoked for row in rows if row.session_id == caller.session_id] == [True]
        await other.directories.refresh(clinic)
        with pytest.raises(SessionRevoked):
            await other.caller(answer.access_token)
    with pytest.raises(NotFound):
        await admin.sessions.revoke(clinic, IDS.uuid7())
    names = [entry.event for entry in await relay.events(clinic)]
    assert {"password_changed", "session_revoked", "device_revoked", "user_disabled"} <= set(names)


async def test_a_revoked_device_is_told_so(house: House, relay: Relay) -> None:
    """Who has the right password on a revoked device hears of the device; with a wrong one, of nothing."""
    tablet = await relay.tablet(house.clinic_id)
    await relay.admin.devices.revoke(house.clinic_id, tablet.device_id)
    with pytest.raises(SessionRevoked, match="device"):
        await relay.login(tablet)
    with pytest.raises(CredentialsInvalid):
        await relay.login(tablet, EMAIL, "another long password")


async def test_a_login_races_with_a_disabling(house: House, relay: Relay) -> None:
    """However a login and a disabling meet, nobody is in afterwards."""
    other = await house.relay()
    tablet = await relay.tablet(house.clinic_id)
    await relay.admin.users.add(house.clinic_id, "bob@example.org", "Bob", ["clinician"], PASSWORD)
    for _ in range(6):
        await relay.admin.users.disable(house.clinic_id, "bob@example.org", disabled=False)
        answers = await asyncio.gather(
            relay.login(tablet, "bob@example.org"),
            other.admin.users.disable(house.clinic_id, "bob@example.org"),
            return_exceptions=True,
        )
        assert not isinstance(answers[1], BaseException)
        if isinstance(answers[0], SessionAnswer):
            with pytest.raises(SessionRevoked):
                await refresh(relay, answers[0].refresh_token)
        else:
            assert isinstance(answers[0], CredentialsInvalid | RateLimited)


async def test_an_old_hash_is_renewed_at_login(house: House, relay: Relay) -> None:
    """A password that was hashed by other parameters is hashed by those of now when it is used."""
    from argon2 import PasswordHasher

    from medxz.store.authority import users

    old = PasswordHasher(time_cost=2, memory_cost=128, parallelism=1).hash(PASSWORD)
    await relay.transactions.run(lambda tx: users.set_password_hash(tx, house.clinic_id, house.admin_id, old))
    tablet = await relay.tablet(house.clinic_id)
    await relay.login(tablet)
    row = await relay.transactions.read(lambda tx: users.get(tx, house.clinic_id, house.admin_id))
    assert row is not None
    assert row.password_hash is not None
    assert "m=64,t=1" in row.password_hash
    await relay.login(tablet)


async def test_who_has_no_password_or_role_does_not_get_in(house: House, relay: Relay) -> None:
    """A person without a password, or without a role, logs in with nothing."""
    from medxz.store.authority import users

    tablet = await relay.tablet(house.clinic_id)
    await relay.transactions.run(lambda tx: users.set_roles(tx, house.clinic_id, house.admin_id, []))
    with pytest.raises(CredentialsInvalid):
        await relay.login(tablet)
    await relay.transactions.run(
        lambda tx: users.set_password_hash(tx, house.clinic_id, house.admin_id, None)
    )
    with pytest.raises(CredentialsInvalid):
        await relay.login(tablet)


async def test_a_clinic_s_morning(house: House, relay: Relay) -> None:
    """When all tablets of a clinic refresh at one moment, at two processes, each of them goes on."""
    other = await house.relay()
    answers = [await relay.login(await relay.tablet(house.clinic_id)) for _ in range(30)]
    asked = [refresh((relay, other)[number % 2], one.refresh_token) for number, one in enumerate(answers)]
    assert len({answer.refresh_token for answer in await asyncio.gather(*asked)}) == 30
    assert len(await relay.events(house.clinic_id, "refresh")) == 30


async def test_a_device_that_another_relay_let_in_is_known_at_once(house: House, relay: Relay) -> None:
    """A relay that was not told yet looks once more before it says that it knows no such device."""
    other = await house.relay()
    await other.directories.of(house.clinic_id)
    tablet = await relay.tablet(house.clinic_id)
    session = await relay.login(tablet)
    assert (await other.caller(session.access_token)).device_id == tablet.device_id


async def test_who_is_let_back_in_by_another_process_is_known_at_once(house: House, relay: Relay) -> None:
    """A relay that has only heard of the disabling looks once more before it refuses a new session's token."""
    other, tablet = await house.relay(), await relay.tablet(house.clinic_id)
    await relay.admin.users.disable(house.clinic_id, house.admin_id)
    await other.directories.of(house.clinic_id)
    await relay.admin.users.disable(house.clinic_id, house.admin_id, disabled=False)
    session = await relay.login(tablet)
    assert (await other.caller(session.access_token)).user_id == house.admin_id


async def test_a_token_is_used_without_end_by_nobody(house: House, relay: Relay) -> None:
    """One token gives so many renewals a minute, keeps its newest successors alone, and its first use alone is noted."""
    first = await relay.login(await relay.tablet(house.clinic_id))
    answers = [await refresh(relay, first.refresh_token) for _ in range(RENEWALS_A_MINUTE)]
    with pytest.raises(RateLimited) as refusal:
        await refresh(relay, first.refresh_token)
    assert refusal.value.retry_after_s == 60
    [(kept,)] = await relay.transactions.read(
        lambda tx: tx.rows("SELECT count(*) FROM refresh_token WHERE clinic_id = $1", house.clinic_id)
    )
    assert kept == 1 + SUCCESSORS_MAX
    assert len(await relay.events(house.clinic_id, "refresh")) == 1
    house.clock.time_ms += 60_000
    assert (await refresh(relay, answers[-1].refresh_token)).access_token
