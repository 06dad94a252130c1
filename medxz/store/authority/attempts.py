"""Failures by subject in a window of time, and who is locked out until when; what may be shown only once.

A subject is a text that the layer above makes: an address, an account, a clinic's budget. Where no clinic is known, as
with a code that is nobody's, the clinic is `NO_CLINIC`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from medxz.store.authority.base import Tx

NO_CLINIC: Final = ""

_GET: Final = """
    SELECT failures, window_ends_ms, locked_until_ms FROM attempt WHERE clinic_id = $1 AND subject = $2"""
_PUT: Final = """
    INSERT INTO attempt (clinic_id, subject, failures, window_ends_ms, locked_until_ms)
    VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT (clinic_id, subject) DO UPDATE SET failures = excluded.failures,
    window_ends_ms = excluded.window_ends_ms, locked_until_ms = excluded.locked_until_ms"""
_CLEAR: Final = "DELETE FROM attempt WHERE clinic_id = $1 AND subject = $2"
_GIVE_BACK: Final = """
    UPDATE attempt SET failures = failures - 1 WHERE clinic_id = $1 AND subject = $2 AND failures > 0"""
_FORGET: Final = "DELETE FROM attempt WHERE clinic_id = $1 AND window_ends_ms < $2 AND locked_until_ms < $2"
_SHOW: Final = """
    INSERT INTO proof (clinic_id, issuer, jti, expires_at_ms) VALUES ($1, $2, $3, $4)
    ON CONFLICT DO NOTHING RETURNING jti"""
_FORGET_PROOFS: Final = "DELETE FROM proof WHERE clinic_id = $1 AND expires_at_ms < $2"


@dataclass(frozen=True, slots=True)
class Attempts:
    """`failures` are those of the window that is on."""

    failures: int = 0
    window_ends_ms: int = 0
    locked_until_ms: int = 0


async def get(tx: Tx, clinic_id: str, subject: str, now_ms: int) -> Attempts:
    rows = await tx.rows(_GET, clinic_id, subject)
    found = Attempts(*rows[0]) if rows else Attempts()
    if found.window_ends_ms <= now_ms:
        return Attempts(locked_until_ms=found.locked_until_ms)
    return found


async def fail(tx: Tx, clinic_id: str, subject: str, now_ms: int, window_ms: int) -> Attempts:
    """Count one more; the first one begins a window."""
    before = await get(tx, clinic_id, subject, now_ms)
    ends_ms = before.window_ends_ms if before.failures else now_ms + window_ms
    after = Attempts(before.failures + 1, ends_ms, before.locked_until_ms)
    await _put(tx, clinic_id, subject, after)
    return after


async def lock(tx: Tx, clinic_id: str, subject: str, until_ms: int) -> None:
    """Nobody gets in as this subject until then; the count begins anew."""
    await _put(tx, clinic_id, subject, Attempts(0, until_ms, until_ms))


async def give_back(tx: Tx, clinic_id: str, subject: str) -> None:
    """One that was counted was no failure. What a lock has taken into account stays so."""
    await tx.rows(_GIVE_BACK, clinic_id, subject)


async def clear(tx: Tx, clinic_id: str, subject: str) -> None:
    """Somebody got in."""
    await tx.rows(_CLEAR, clinic_id, subject)


async def forget(tx: Tx, clinic_id: str, now_ms: int) -> None:
    """Drop what is over."""
    await tx.rows(_FORGET, clinic_id, now_ms)
    await tx.rows(_FORGET_PROOFS, clinic_id, now_ms)


async def show_once(tx: Tx, clinic_id: str, issuer: str, jti: str, expires_at_ms: int) -> bool:
    """False where this was shown before. It is remembered until it would not be taken any more."""
    return bool(await tx.rows(_SHOW, clinic_id, issuer, jti, expires_at_ms))


async def _put(tx: Tx, clinic_id: str, subject: str, now: Attempts) -> None:
    await tx.rows(_PUT, clinic_id, subject, now.failures, now.window_ends_ms, now.locked_until_ms)
