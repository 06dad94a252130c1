"""The second factor: one-time passwords as authenticator apps make them (RFC 6238), each good once.

A secret counts only after it was confirmed by a password made with it: a QR code that nobody scanned locks nobody out.
"""

from __future__ import annotations

import hmac
from typing import Final

import pyotp

from medxz.accounts.base import Authority
from medxz.accounts.users import find_user
from medxz.errors import Invalid
from medxz.store.authority import secrets, users
from medxz.store.authority.audit import Entry
from medxz.store.authority.base import Tx
from medxz.store.authority.users import UserRow

STEP_S: Final = 30
_WINDOW: Final = 1
_ISSUER: Final = "medxz"


class Totp:
    """The use cases about the second factor. `user` is a person's id or email address."""

    def __init__(self, authority: Authority) -> None:
        self._authority: Final = authority

    async def begin(self, clinic_id: str, user: str) -> str:
        """A new secret, as the `otpauth://` text of a QR code. Nothing has changed until it is confirmed."""

        async def begin(tx: Tx) -> str:
            found = await find_user(tx, clinic_id, user)
            secret = pyotp.random_base32()
            await secrets.put(tx, self._authority.seal, clinic_id, _pending(found.user_id), secret.encode())
            return pyotp.TOTP(secret, interval=STEP_S).provisioning_uri(name=found.email, issuer_name=_ISSUER)

        return await self._authority.decide(begin)

    async def confirm(self, clinic_id: str, user: str, code: str) -> None:
        """From now on a login needs it. Invalid (field `totp`) where the code is not of the secret that was begun."""

        async def confirm(tx: Tx) -> None:
            found = await find_user(tx, clinic_id, user)
            name, seal = _pending(found.user_id), self._authority.seal
            secret = await secrets.get(tx, seal, clinic_id, name)
            counter = None if secret is None else _counter_of(secret, code, self._authority.clock.now_ms())
            if secret is None or counter is None:
                raise Invalid("this is not a code of the secret that was shown", field="totp")
            await secrets.delete(tx, clinic_id, name)
            sealed = seal.seal(clinic_id, _sealed_as(found.user_id), secret)
            await users.set_totp(tx, clinic_id, found.user_id, sealed)
            await users.take_totp_counter(tx, clinic_id, found.user_id, counter)
            await self._authority.trail.append(tx, clinic_id, Entry("totp_enabled", user_id=found.user_id))

        await self._authority.decide(confirm)

    async def disable(self, clinic_id: str, user: str) -> None:
        """A login needs the password alone again: for somebody whose telephone is gone."""

        async def disable(tx: Tx) -> None:
            found = await find_user(tx, clinic_id, user)
            await secrets.delete(tx, clinic_id, _pending(found.user_id))
            await users.set_totp(tx, clinic_id, found.user_id, None)
            await self._authority.trail.append(tx, clinic_id, Entry("totp_disabled", user_id=found.user_id))

        await self._authority.decide(disable)


async def take(tx: Tx, authority: Authority, clinic_id: str, user: UserRow, code: str) -> bool:
    """Use a one-time password up; False where it is not one of now, or was used before."""
    sealed = await users.get_totp(tx, clinic_id, user.user_id)
    if sealed is None:
        return False
    secret = authority.seal.open(clinic_id, _sealed_as(user.user_id), sealed)
    counter = _counter_of(secret, code, authority.clock.now_ms())
    return counter is not None and await users.take_totp_counter(tx, clinic_id, user.user_id, counter)


def _counter_of(secret: bytes, code: str, now_ms: int) -> int | None:
    """Which step's password it is, of this one and those beside it."""
    maker, now = pyotp.TOTP(secret.decode(), interval=STEP_S), now_ms // 1_000 // STEP_S
    for counter in range(now - _WINDOW, now + _WINDOW + 1):
        if hmac.compare_digest(maker.generate_otp(counter).encode(), code.encode()):
            return counter
    return None


def _pending(user_id: str) -> str:
    return f"totp_pending:{user_id}"


def _sealed_as(user_id: str) -> str:
    return f"totp:{user_id}"
