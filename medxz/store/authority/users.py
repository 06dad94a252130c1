"""The people of a clinic: their addresses, roles, passwords and one-time passwords.

An address is kept and looked for in lower case, and stands for one person of a clinic. A password is only ever its hash.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final

from medxz.store.authority.base import Tx
from medxz.store.authority.clinics import raise_revision

_COLUMNS: Final = (
    "user_id, email, name, roles, made_at_ms, disabled, password_hash, totp_sealed IS NOT NULL, totp_counter"
)
_ADD: Final = """
    INSERT INTO clinic_user (clinic_id, user_id, email, name, roles, disabled, password_hash, made_at_ms)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING RETURNING user_id"""
_GET: Final = f"SELECT {_COLUMNS} FROM clinic_user WHERE clinic_id = $1 AND user_id = $2"
_FIND: Final = f"SELECT {_COLUMNS} FROM clinic_user WHERE clinic_id = $1 AND email = $2"
_ALL: Final = f"SELECT {_COLUMNS} FROM clinic_user WHERE clinic_id = $1 ORDER BY email"
_DISABLE: Final = "UPDATE clinic_user SET disabled = $3 WHERE clinic_id = $1 AND user_id = $2"
_ROLES: Final = "UPDATE clinic_user SET roles = $3 WHERE clinic_id = $1 AND user_id = $2"
_SET_HASH: Final = "UPDATE clinic_user SET password_hash = $3 WHERE clinic_id = $1 AND user_id = $2"
_TOTP: Final = """
    UPDATE clinic_user SET totp_sealed = $3, totp_counter = 0 WHERE clinic_id = $1 AND user_id = $2"""
_GET_TOTP: Final = "SELECT totp_sealed FROM clinic_user WHERE clinic_id = $1 AND user_id = $2"
_TAKE_COUNTER: Final = """
    UPDATE clinic_user SET totp_counter = $3
    WHERE clinic_id = $1 AND user_id = $2 AND totp_counter < $3 RETURNING user_id"""


@dataclass(frozen=True, slots=True)
class UserRow:
    """Without a password nobody can log in as them."""

    user_id: str
    email: str
    name: str
    roles: frozenset[str]
    made_at_ms: int
    disabled: bool = False
    password_hash: str | None = None
    has_totp: bool = False
    totp_counter: int = 0


def no_address(user_id: str) -> str:
    """What stands for the address of somebody who has none (RFC 2606: nobody ever will have this one)."""
    return f"{user_id}@nobody.invalid"


def fold_email(email: str) -> str:
    return email.strip().lower()


async def add(tx: Tx, clinic_id: str, user: UserRow) -> bool:
    """False where there is one of that id or address."""
    added = bool(
        await tx.rows(
            _ADD, clinic_id, user.user_id, fold_email(user.email), user.name, _text(user.roles), int(user.disabled),
            user.password_hash, user.made_at_ms,
        )
    )  # fmt: skip
    if added:
        await raise_revision(tx, clinic_id)
    return added


async def get(tx: Tx, clinic_id: str, user_id: str) -> UserRow | None:
    return _first(await tx.rows(_GET, clinic_id, user_id))


async def find(tx: Tx, clinic_id: str, email: str) -> UserRow | None:
    return _first(await tx.rows(_FIND, clinic_id, fold_email(email)))


async def everyone(tx: Tx, clinic_id: str) -> list[UserRow]:
    return [_user(row) for row in await tx.rows(_ALL, clinic_id)]


async def set_disabled(tx: Tx, clinic_id: str, user_id: str, *, disabled: bool) -> None:
    await tx.rows(_DISABLE, clinic_id, user_id, int(disabled))
    await raise_revision(tx, clinic_id)


async def set_roles(tx: Tx, clinic_id: str, user_id: str, roles: Collection[str]) -> None:
    await tx.rows(_ROLES, clinic_id, user_id, _text(roles))
    await raise_revision(tx, clinic_id)


async def set_password_hash(tx: Tx, clinic_id: str, user_id: str, password_hash: str | None) -> None:
    await tx.rows(_SET_HASH, clinic_id, user_id, password_hash)


async def set_totp(tx: Tx, clinic_id: str, user_id: str, sealed: bytes | None) -> None:
    """The secret of the one-time passwords, sealed under the name `totp:USER_ID`; None does without."""
    await tx.rows(_TOTP, clinic_id, user_id, sealed)


async def get_totp(tx: Tx, clinic_id: str, user_id: str) -> bytes | None:
    """The sealed secret."""
    rows = await tx.rows(_GET_TOTP, clinic_id, user_id)
    return rows[0][0] if rows else None


async def take_totp_counter(tx: Tx, clinic_id: str, user_id: str, counter: int) -> bool:
    """False where this counter, or a later one, was used already: each one-time password is good once."""
    return bool(await tx.rows(_TAKE_COUNTER, clinic_id, user_id, counter))


def _text(roles: Collection[str]) -> str:
    return ",".join(sorted(roles))


def _first(rows: list[tuple[Any, ...]]) -> UserRow | None:
    return _user(rows[0]) if rows else None


def _user(row: tuple[Any, ...]) -> UserRow:
    user_id, email, name, roles, made_at_ms, disabled, password_hash, has_totp, counter = row
    return UserRow(
        user_id, email, name, frozenset(roles.split(",")) - {""}, made_at_ms, bool(disabled), password_hash,
        bool(has_totp), counter,
    )  # fmt: skip
