"""Who keeps the fleet: operators, who belong to no clinic, and their tokens, of which only the hashes are here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from medxz.store.authority.base import Tx

_ADD: Final = """
    INSERT INTO fleet_operator (operator_id, name, made_at_ms) VALUES ($1, $2, $3)
    ON CONFLICT DO NOTHING RETURNING operator_id"""
_ALL: Final = "SELECT operator_id, name, made_at_ms, disabled FROM fleet_operator ORDER BY operator_id"
_FIND: Final = """
    SELECT operator_id, name, made_at_ms, disabled FROM fleet_operator WHERE operator_id = $1 OR name = $1"""
_DISABLE: Final = "UPDATE fleet_operator SET disabled = $2 WHERE operator_id = $1"
_KEEP: Final = """
    INSERT INTO fleet_token (token_hash, token_id, operator_id, made_at_ms, expires_at_ms, read_only)
    VALUES ($1, $2, $3, $4, $5, $6)"""
_TOKENS: Final = """
    SELECT token_id, operator_id, made_at_ms, expires_at_ms, revoked, read_only FROM fleet_token
    ORDER BY token_id"""
_REVOKE: Final = "UPDATE fleet_token SET revoked = 1 WHERE token_id = $1 RETURNING operator_id"
_REVOKE_ALL: Final = (
    "UPDATE fleet_token SET revoked = 1 WHERE operator_id = $1 AND revoked = 0 RETURNING token_id"
)
_SHOWN: Final = """
    SELECT token_id, operator_id, made_at_ms, expires_at_ms, revoked, read_only FROM fleet_token
    WHERE token_hash = $1"""


@dataclass(frozen=True, slots=True)
class OperatorRow:
    operator_id: str
    name: str
    made_at_ms: int
    disabled: bool


@dataclass(frozen=True, slots=True)
class TokenRow:
    token_id: str
    operator_id: str
    made_at_ms: int
    expires_at_ms: int
    revoked: bool = False
    read_only: bool = False


async def add(tx: Tx, operator_id: str, name: str, now_ms: int) -> bool:
    """False where there is one of that name."""
    return bool(await tx.rows(_ADD, operator_id, name, now_ms))


async def everyone(tx: Tx) -> list[OperatorRow]:
    return [_operator(row) for row in await tx.rows(_ALL)]


async def find(tx: Tx, operator: str) -> OperatorRow | None:
    """By id or name."""
    rows = await tx.rows(_FIND, operator)
    return _operator(rows[0]) if rows else None


async def set_disabled(tx: Tx, operator_id: str, *, disabled: bool) -> None:
    await tx.rows(_DISABLE, operator_id, int(disabled))


async def add_token(tx: Tx, token_hash: bytes, token: TokenRow) -> None:
    await tx.rows(
        _KEEP, token_hash, token.token_id, token.operator_id, token.made_at_ms, token.expires_at_ms, int(token.read_only)
    )  # fmt: skip


async def tokens(tx: Tx) -> list[TokenRow]:
    return [_token(row) for row in await tx.rows(_TOKENS)]


async def revoke_token(tx: Tx, token_id: str) -> str | None:
    """Whose it was; None where there is none of that id."""
    rows = await tx.rows(_REVOKE, token_id)
    return str(rows[0][0]) if rows else None


async def revoke_of(tx: Tx, operator_id: str) -> int:
    """How many were good until now."""
    return len(await tx.rows(_REVOKE_ALL, operator_id))


async def of_token(tx: Tx, token_hash: bytes) -> tuple[TokenRow, OperatorRow] | None:
    """Whose token that is, whether or not it is still good."""
    rows = await tx.rows(_SHOWN, token_hash)
    if not rows:
        return None
    token = _token(rows[0])
    operator = await find(tx, token.operator_id)
    return None if operator is None else (token, operator)


def _operator(row: tuple[Any, ...]) -> OperatorRow:
    operator_id, name, made_at_ms, disabled = row
    return OperatorRow(operator_id, name, made_at_ms, bool(disabled))


def _token(row: tuple[Any, ...]) -> TokenRow:
    token_id, operator_id, made_at_ms, expires_at_ms, revoked, read_only = row
    return TokenRow(token_id, operator_id, made_at_ms, expires_at_ms, bool(revoked), bool(read_only))
