"""The people of a clinic, as an administrator makes them: who they are, what they may, whether they may at all.

A password that is set anew, and a disabling, end every session of that person at once.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from medxz import limits
from medxz.accounts.base import PEOPLE, Authority, clinic_of
from medxz.accounts.passwords import Passwords, check_password
from medxz.errors import Invalid, NotFound
from medxz.ids import is_uuid
from medxz.store.authority import sessions, users
from medxz.store.authority.audit import Entry
from medxz.store.authority.base import Tx
from medxz.store.authority.users import UserRow, fold_email

# one @ with something on both sides and no space: what an address is beyond that only its mail server knows
_EMAIL: Final = re.compile(r"[^\s@]+@[^\s@]+")


@dataclass(frozen=True, slots=True)
class NewUser:
    email: str
    name: str
    roles: frozenset[str]


class Users:
    """The use cases about people. `user` is a person's id or email address."""

    def __init__(self, authority: Authority, passwords: Passwords) -> None:
        self._authority: Final = authority
        self._passwords: Final = passwords

    async def add(self, clinic_id: str, email: str, name: str, roles: Collection[str], password: str) -> str:
        """A new person; their id. Invalid where the address is taken or a value is not lawful."""
        user = NewUser(email, name, frozenset(roles))
        hashed = await self.check_and_hash(user, password, await self._clinic_name(clinic_id))

        async def add(tx: Tx) -> str:
            return await self.add_hashed(tx, clinic_id, user, hashed)

        return await self._authority.decide(add)

    async def list(self, clinic_id: str) -> list[UserRow]:
        async def read(tx: Tx) -> list[UserRow]:
            await clinic_of(tx, clinic_id)
            return await users.everyone(tx, clinic_id)

        return await self._authority.transactions.read(read)

    async def disable(self, clinic_id: str, user: str, *, disabled: bool = True) -> None:
        """Nobody gets in as this person from now on, and who is in is out; `disabled=False` takes it back."""

        async def disable(tx: Tx) -> None:
            found = await find_user(tx, clinic_id, user)
            await users.set_disabled(tx, clinic_id, found.user_id, disabled=disabled)
            ended = await sessions.revoke_of_user(tx, clinic_id, found.user_id) if disabled else []
            event = "user_disabled" if disabled else "user_enabled"
            entry = Entry(event, user_id=found.user_id, detail={"sessions": len(ended)})
            await self._authority.trail.append(tx, clinic_id, entry)

        await self._authority.decide(disable)

    async def set_password(self, clinic_id: str, user: str, password: str) -> None:
        """A new password; every session of that person ends."""
        clinic_name = await self._clinic_name(clinic_id)
        row = await self._authority.transactions.read(lambda tx: find_user(tx, clinic_id, user))
        check_password(password, row.email, clinic_name)
        hashed = await self._passwords.hash(password)

        async def write(tx: Tx) -> None:
            found = await find_user(tx, clinic_id, row.user_id)
            await users.set_password_hash(tx, clinic_id, found.user_id, hashed)
            ended = await sessions.revoke_of_user(tx, clinic_id, found.user_id)
            entry = Entry("password_changed", user_id=found.user_id, detail={"sessions": len(ended)})
            await self._authority.trail.append(tx, clinic_id, entry)

        await self._authority.decide(write)

    async def set_roles(self, clinic_id: str, user: str, roles: Collection[str]) -> None:
        """What this person may from the next token on."""
        given = _check_roles(roles)

        async def write(tx: Tx) -> None:
            found = await find_user(tx, clinic_id, user)
            await users.set_roles(tx, clinic_id, found.user_id, given)
            detail = {"before": sorted(found.roles), "roles": sorted(given)}
            entry = Entry("roles_changed", user_id=found.user_id, detail=detail)
            await self._authority.trail.append(tx, clinic_id, entry)

        await self._authority.decide(write)

    async def check_and_hash(self, user: NewUser, password: str, clinic_name: str) -> str:
        """The hash of a lawful password of a lawful person; Invalid names the field that is not."""
        check_email(user.email)
        _check_roles(user.roles)
        if not user.name.strip() or len(user.name) > limits.NAME_CHARS_MAX:
            raise Invalid(f"a name has 1 to {limits.NAME_CHARS_MAX} characters", field="name")
        check_password(password, user.email, clinic_name)
        return await self._passwords.hash(password)

    async def add_hashed(self, tx: Tx, clinic_id: str, user: NewUser, password_hash: str) -> str:
        """The same as `add` within a transaction, once the password was checked and hashed."""
        await clinic_of(tx, clinic_id)
        row = UserRow(
            user_id=self._authority.ids.uuid7(),
            email=fold_email(user.email),
            name=user.name.strip(),
            roles=user.roles,
            made_at_ms=self._authority.clock.now_ms(),
            password_hash=password_hash,
        )
        if not await users.add(tx, clinic_id, row):
            raise Invalid("somebody of this clinic has that address already", field="email")
        detail = {"roles": sorted(user.roles)}
        await self._authority.trail.append(
            tx, clinic_id, Entry("user_added", user_id=row.user_id, detail=detail)
        )
        return row.user_id

    async def _clinic_name(self, clinic_id: str) -> str:
        clinic = await self._authority.transactions.read(lambda tx: clinic_of(tx, clinic_id))
        return clinic.name


async def find_user(tx: Tx, clinic_id: str, user: str) -> UserRow:
    """A person of the clinic by id or address; NotFound where there is none."""
    await clinic_of(tx, clinic_id)
    found = await (users.get(tx, clinic_id, user) if is_uuid(user) else users.find(tx, clinic_id, user))
    if found is None:
        raise NotFound(f"the clinic has no user {user!r}")
    return found


def check_email(email: str) -> None:
    if len(email) > limits.EMAIL_CHARS_MAX or _EMAIL.fullmatch(email.strip()) is None:
        raise Invalid("an email address has one @ and no space", field="email")


def _check_roles(roles: Collection[str]) -> frozenset[str]:
    if not roles or not PEOPLE.issuperset(roles):
        raise Invalid("the roles of people are " + ", ".join(sorted(PEOPLE)), field="roles")
    return frozenset(roles)
