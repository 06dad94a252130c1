"""One-time codes, of which only hashes are kept: for what, where, until when, and what became of them.

The same code with the same key gives the same answer again: whoever lost the answer asks once more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from medxz.scope import Scope
from medxz.store.authority.base import Tx

CodeKind = Literal["device", "hub"]

_COLUMNS: Final = "kind, site_id, scope, replaces, made_by, made_at_ms, expires_at_ms, used_by_key, used_as, used_at_ms, device_name"
_ADD_CLINIC: Final = """
    INSERT INTO code_clinic (code_hash, clinic_id) VALUES ($1, $2)
    ON CONFLICT DO NOTHING RETURNING clinic_id"""
_ADD: Final = """
    INSERT INTO code
    (clinic_id, code_hash, kind, site_id, scope, replaces, made_by, made_at_ms, expires_at_ms, device_name)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"""
_CLINIC: Final = "SELECT clinic_id FROM code_clinic WHERE code_hash = $1"
_GET: Final = f"SELECT {_COLUMNS} FROM code WHERE clinic_id = $1 AND code_hash = $2"
_TAKE: Final = """
    UPDATE code SET used_by_key = $3, used_as = $4, used_at_ms = $5
    WHERE clinic_id = $1 AND code_hash = $2 AND used_by_key IS NULL RETURNING code_hash"""
_FORGET_CLINIC: Final = """
    DELETE FROM code_clinic WHERE clinic_id = $1 AND code_hash IN
    (SELECT code_hash FROM code WHERE clinic_id = $1 AND expires_at_ms < $2)"""
_FORGET: Final = "DELETE FROM code WHERE clinic_id = $1 AND expires_at_ms < $2"


@dataclass(frozen=True, slots=True)
class CodeRow:
    """`used_as`: the id of the device or hub that it let in, whose key was `used_by_key`; `device_name`: what that
    device is called, whatever it says.
    """

    kind: CodeKind
    site_id: str
    scope: Scope | None
    replaces: str | None
    made_by: str | None
    made_at_ms: int
    expires_at_ms: int
    used_by_key: bytes | None = None
    used_as: str | None = None
    used_at_ms: int | None = None
    device_name: str | None = None


async def add(tx: Tx, clinic_id: str, code_hash: bytes, code: CodeRow) -> bool:
    """Make a code that nobody used; False where it exists, in this clinic or in another: make another one."""
    if not await tx.rows(_ADD_CLINIC, code_hash, clinic_id):
        return False
    await tx.rows(
        _ADD, clinic_id, code_hash, code.kind, code.site_id, code.scope, code.replaces, code.made_by,
        code.made_at_ms, code.expires_at_ms, code.device_name,
    )  # fmt: skip
    return True


async def clinic_of(tx: Tx, code_hash: bytes) -> str | None:
    rows = await tx.rows(_CLINIC, code_hash)
    return rows[0][0] if rows else None


async def get(tx: Tx, clinic_id: str, code_hash: bytes) -> CodeRow | None:
    """As it is, used or not, expired or not: what that means is decided above."""
    rows = await tx.rows(_GET, clinic_id, code_hash)
    return CodeRow(*rows[0]) if rows else None


async def take(tx: Tx, clinic_id: str, code_hash: bytes, key: bytes, used_as: str, now_ms: int) -> bool:
    """Use it up for this key and what it became; False where somebody has."""
    return bool(await tx.rows(_TAKE, clinic_id, code_hash, key, used_as, now_ms))


async def forget(tx: Tx, clinic_id: str, expired_before_ms: int) -> None:
    await tx.rows(_FORGET_CLINIC, clinic_id, expired_before_ms)
    await tx.rows(_FORGET, clinic_id, expired_before_ms)
