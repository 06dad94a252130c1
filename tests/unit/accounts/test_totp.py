"""The second factor."""

import pyotp
import pytest

from medxz.errors import CredentialsInvalid, Invalid, RateLimited, TotpRequired
from tests.unit.accounts.house import EMAIL, PASSWORD, House, Relay


async def enabled(house: House, relay: Relay) -> pyotp.TOTP:
    """An authenticator app that was set up a minute ago."""
    text = await relay.admin.totp.begin(house.clinic_id, EMAIL)
    app = pyotp.parse_uri(text)
    assert isinstance(app, pyotp.TOTP)
    await relay.admin.totp.confirm(house.clinic_id, EMAIL, app.at(house.clock.time_ms // 1_000))
    house.clock.time_ms += 60_000
    return app


async def test_a_login_needs_it_once_it_is_on(house: House, relay: Relay) -> None:
    """With a second factor the password alone is asked for more, and both together get in."""
    tablet = await relay.tablet(house.clinic_id)
    app = await enabled(house, relay)
    with pytest.raises(TotpRequired):
        await relay.login(tablet)
    with pytest.raises(CredentialsInvalid):
        await relay.login(tablet, EMAIL, "another long password", totp=app.at(house.clock.time_ms // 1_000))
    assert (await relay.login(tablet, totp=app.at(house.clock.time_ms // 1_000))).access_token
    assert await relay.events(house.clinic_id, "totp_enabled")


async def test_each_code_is_good_once(house: House, relay: Relay) -> None:
    """A code that was used, and every one before it, is refused; the next one is taken."""
    tablet = await relay.tablet(house.clinic_id)
    app, now_s = await enabled(house, relay), house.clock.time_ms // 1_000
    assert (await relay.login(tablet, totp=app.at(now_s))).access_token
    for used in (app.at(now_s), app.at(now_s - 30)):
        with pytest.raises(CredentialsInvalid):
            await relay.login(tablet, totp=used)
    assert (await relay.login(tablet, totp=app.at(now_s + 30))).access_token


async def test_clocks_may_differ_by_one_step(house: House, relay: Relay) -> None:
    """The code of the step before and after is taken, that of two steps away is not."""
    tablet = await relay.tablet(house.clinic_id)
    app, now_s = await enabled(house, relay), house.clock.time_ms // 1_000
    for away in (-60, 60):
        with pytest.raises(CredentialsInvalid):
            await relay.login(tablet, totp=app.at(now_s + away))
    assert (await relay.login(tablet, totp=app.at(now_s - 30))).access_token


async def test_wrong_codes_lock_like_wrong_passwords(house: House, relay: Relay) -> None:
    """Who has the password can't try the codes through."""
    tablet = await relay.tablet(house.clinic_id)
    app, now_s = await enabled(house, relay), house.clock.time_ms // 1_000
    right = {app.at(now_s + away) for away in (-30, 0, 30)}
    guesses = [code for number in range(20) if (code := f"{number:06d}") not in right]
    with pytest.raises(RateLimited):
        for code in guesses:
            with pytest.raises(CredentialsInvalid):
                await relay.login(tablet, totp=code)


async def test_nothing_is_on_before_it_is_confirmed(house: House, relay: Relay) -> None:
    """A secret that was shown and not confirmed is not asked for, and a code of another secret confirms nothing."""
    tablet = await relay.tablet(house.clinic_id)
    await relay.admin.totp.begin(house.clinic_id, EMAIL)
    with pytest.raises(Invalid, match="secret that was shown"):
        await relay.admin.totp.confirm(house.clinic_id, EMAIL, pyotp.TOTP(pyotp.random_base32()).at(0))
    assert (await relay.login(tablet)).access_token


async def test_it_is_turned_off_for_who_lost_it(house: House, relay: Relay) -> None:
    """Without the second factor the password is enough again, and a new one can be begun."""
    tablet = await relay.tablet(house.clinic_id)
    await enabled(house, relay)
    await relay.admin.totp.disable(house.clinic_id, house.admin_id)
    assert (await relay.login(tablet, EMAIL, PASSWORD)).access_token
    await enabled(house, relay)
    with pytest.raises(TotpRequired):
        await relay.login(tablet)


async def test_the_secret_is_sealed(house: House, relay: Relay) -> None:
    """What is kept of the secret does not hold it."""
    app = await enabled(house, relay)
    [(sealed,)] = await relay.transactions.read(
        lambda tx: tx.rows("SELECT totp_sealed FROM clinic_user WHERE clinic_id = $1", house.clinic_id)
    )
    assert app.secret.encode() not in bytes(sealed)
