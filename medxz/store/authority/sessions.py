"""Sessions and the tokens that renew them, of which only hashes are kept.

Each use of a token makes a successor, of which the newest few are kept. A token is good again until a successor of it was
used; after that, using it is a theft: one of two holders is not who they say.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from medxz.store.authority.base import Tx
from medxz.store.authority.clinics import raise_revision
from medxz.store.authority.devices import add_author

Rotation = Literal["rotated", "again", "reused", "unknown"]
SUCCESSORS_MAX: Final = 4
"""Answers that may be on their way at once; one that is older than so many others was lost."""

_COLUMNS: Final = "session_id, user_id, device_id, made_at_ms, last_used_ms, revoked, hub_id"
_ADD: Final = """
    INSERT INTO session (clinic_id, session_id, user_id, device_id, hub_id, made_at_ms, last_used_ms)
    VALUES ($1, $2, $3, $4, $5, $6, $7)"""
_ADD_RENEWAL: Final = """
    INSERT INTO refresh_token (clinic_id, session_id, token_hash, parent_hash, state, made_at_ms)
    VALUES ($1, $2, $3, $4, 'fresh', $5)"""
_GET: Final = f"SELECT {_COLUMNS} FROM session WHERE clinic_id = $1 AND session_id = $2"
_ALL: Final = f"SELECT {_COLUMNS} FROM session WHERE clinic_id = $1 ORDER BY session_id"
_RENEWAL: Final = """
    SELECT state, parent_hash FROM refresh_token WHERE clinic_id = $1 AND session_id = $2 AND token_hash = $3"""
_RENEWALS: Final = """
    SELECT session_id, token_hash, state FROM refresh_token WHERE clinic_id = $1 AND state <> 'ended'
    ORDER BY session_id, made_at_ms DESC, token_hash"""
_RENEWAL_USED: Final = """
    UPDATE refresh_token SET state = 'used' WHERE clinic_id = $1 AND session_id = $2 AND token_hash = $3"""
_OTHERS_ENDED: Final = """
    UPDATE refresh_token SET state = 'ended'
    WHERE clinic_id = $1 AND session_id = $2 AND token_hash <> $3 AND state <> 'ended'"""
_DROP_OLD: Final = """
    DELETE FROM refresh_token
    WHERE clinic_id = $1 AND session_id = $2 AND parent_hash = $3 AND state = 'fresh' AND token_hash <> $4
    AND token_hash NOT IN (SELECT token_hash FROM refresh_token
    WHERE clinic_id = $1 AND session_id = $2 AND parent_hash = $3 AND state = 'fresh' AND token_hash <> $4
    ORDER BY made_at_ms DESC, token_hash LIMIT $5)"""
_TOUCH: Final = "UPDATE session SET last_used_ms = $3 WHERE clinic_id = $1 AND session_id = $2"
_REVOKE: Final = """
    UPDATE session SET revoked = 1 WHERE clinic_id = $1 AND session_id = $2 AND revoked = 0 RETURNING session_id"""
_REVOKE_USER: Final = """
    UPDATE session SET revoked = 1 WHERE clinic_id = $1 AND user_id = $2 AND revoked = 0 RETURNING session_id"""
_REVOKE_DEVICE: Final = """
    UPDATE session SET revoked = 1 WHERE clinic_id = $1 AND device_id = $2 AND revoked = 0 RETURNING session_id"""
_REVOKED: Final = "SELECT session_id FROM session WHERE clinic_id = $1 AND revoked = 1"
_FORGET_RENEWALS: Final = """
    DELETE FROM refresh_token WHERE clinic_id = $1 AND session_id IN
    (SELECT session_id FROM session WHERE clinic_id = $1 AND last_used_ms < $2)"""
_FORGET: Final = "DELETE FROM session WHERE clinic_id = $1 AND last_used_ms < $2"


@dataclass(frozen=True, slots=True)
class SessionRow:
    """`hub_id`: the hub that passed the login on."""

    session_id: str
    user_id: str
    device_id: str
    made_at_ms: int
    last_used_ms: int
    revoked: bool = False
    hub_id: str | None = None


@dataclass(frozen=True, slots=True)
class Tokens:
    """The hashes of a session's tokens: the one that was used last, and its successors, of which none was used yet."""

    fresh: Sequence[bytes]
    used: bytes | None = None


async def add(
    tx: Tx, clinic_id: str, session: SessionRow, token_hash: bytes, came_of: bytes | None = None
) -> None:
    """Begin a session with its first token; the user is an author of the device's ops from now on."""
    await tx.rows(
        _ADD, clinic_id, session.session_id, session.user_id, session.device_id, session.hub_id, session.made_at_ms,
        session.last_used_ms,
    )  # fmt: skip
    await tx.rows(_ADD_RENEWAL, clinic_id, session.session_id, token_hash, came_of, session.made_at_ms)
    await add_author(tx, clinic_id, session.device_id, session.user_id)


async def take_over(tx: Tx, clinic_id: str, session: SessionRow, tokens: Tokens) -> None:
    """Go on with a session that began at another server, by the tokens that it has there."""
    first, *others = tokens.fresh
    await add(tx, clinic_id, session, first, tokens.used)
    for token in others:
        await tx.rows(_ADD_RENEWAL, clinic_id, session.session_id, token, tokens.used, session.made_at_ms)
    if tokens.used is not None:
        await tx.rows(_ADD_RENEWAL, clinic_id, session.session_id, tokens.used, None, session.made_at_ms)
        await tx.rows(_RENEWAL_USED, clinic_id, session.session_id, tokens.used)


async def tokens_of_all(tx: Tx, clinic_id: str) -> dict[str, Tokens]:
    """Of each session those that renew it now."""
    fresh: defaultdict[str, list[bytes]] = defaultdict(list)
    used: dict[str, bytes] = {}
    for session_id, token_hash, state in await tx.rows(_RENEWALS, clinic_id):
        if state == "fresh":
            fresh[session_id].append(bytes(token_hash))
        else:
            used[session_id] = bytes(token_hash)
    return {session_id: Tokens(tuple(found), used.get(session_id)) for session_id, found in fresh.items()}


async def get(tx: Tx, clinic_id: str, session_id: str) -> SessionRow | None:
    rows = await tx.rows(_GET, clinic_id, session_id)
    return _session(rows[0]) if rows else None


async def everyone(tx: Tx, clinic_id: str) -> list[SessionRow]:
    return [_session(row) for row in await tx.rows(_ALL, clinic_id)]


async def rotate(
    tx: Tx, clinic_id: str, session_id: str, token_hash: bytes, successor_hash: bytes, now_ms: int
) -> Rotation:
    """Use a token, which gives its successor: for the first time, or `again`.

    It looks at tokens only: whether the session is good is asked before.
    """
    found = await tx.rows(_RENEWAL, clinic_id, session_id, token_hash)
    if not found:
        return "unknown"
    [(state, _)] = found
    if state == "ended":
        return "reused"
    if state == "fresh":  # the one before it, and what else that one gave, are at their end
        await tx.rows(_OTHERS_ENDED, clinic_id, session_id, token_hash)
        await tx.rows(_RENEWAL_USED, clinic_id, session_id, token_hash)
    else:
        kept = SUCCESSORS_MAX - 1
        await tx.rows(_DROP_OLD, clinic_id, session_id, token_hash, successor_hash, kept)
    await tx.rows(_ADD_RENEWAL, clinic_id, session_id, successor_hash, token_hash, now_ms)
    await tx.rows(_TOUCH, clinic_id, session_id, now_ms)
    return "rotated" if state == "fresh" else "again"


async def touch(tx: Tx, clinic_id: str, session_id: str, now_ms: int) -> None:
    """The session was used without a token of its own."""
    await tx.rows(_TOUCH, clinic_id, session_id, now_ms)


async def revoke(tx: Tx, clinic_id: str, session_id: str) -> bool:
    """False where there is none, or it was revoked before."""
    return bool(await _revoked(tx, clinic_id, await tx.rows(_REVOKE, clinic_id, session_id)))


async def revoke_of_user(tx: Tx, clinic_id: str, user_id: str) -> list[str]:
    return await _revoked(tx, clinic_id, await tx.rows(_REVOKE_USER, clinic_id, user_id))


async def revoke_of_device(tx: Tx, clinic_id: str, device_id: str) -> list[str]:
    return await _revoked(tx, clinic_id, await tx.rows(_REVOKE_DEVICE, clinic_id, device_id))


async def revoked(tx: Tx, clinic_id: str) -> list[str]:
    return [session_id for (session_id,) in await tx.rows(_REVOKED, clinic_id)]


async def forget(tx: Tx, clinic_id: str, unused_since_ms: int) -> None:
    """Drop the sessions that nobody used since then: by now no token of theirs is good anywhere."""
    await tx.rows(_FORGET_RENEWALS, clinic_id, unused_since_ms)
    await tx.rows(_FORGET, clinic_id, unused_since_ms)


async def _revoked(tx: Tx, clinic_id: str, rows: list[tuple[Any, ...]]) -> list[str]:
    if rows:
        await raise_revision(tx, clinic_id)
    return [session_id for (session_id,) in rows]


def _session(row: tuple[Any, ...]) -> SessionRow:
    session_id, user_id, device_id, made_at_ms, last_used_ms, is_revoked, hub_id = row
    return SessionRow(session_id, user_id, device_id, made_at_ms, last_used_ms, bool(is_revoked), hub_id)
