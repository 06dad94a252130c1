"""The sessions that a hub passed on to its cloud: by the hash of their refresh tokens, never by the tokens.

While the cloud can't be reached they go on for as long as the clinic lets them. A session is known by its two newest
tokens, since an answer with the newest may have been lost; one that nobody has used for long is forgotten.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

from sqlcipher3 import dbapi2 as sqlcipher

from medxz.store.cipher import failure
from medxz.store.files import LogFile
from medxz.store.registry import Runs

TOKENS_OF_A_SESSION: Final = 2
FORGOTTEN_AFTER_MS: Final = 31 * 86_400_000


@dataclass(frozen=True, slots=True)
class PassedSession:
    """Whose session it is, on which device, and when the cloud last stood for it here."""

    session_id: str
    user_id: str
    device_id: str
    site_id: str
    roles: frozenset[str]
    passed_ms: int


class PassedSessions:
    """Those of one hub, in its file."""

    def __init__(self, file: LogFile, worker: Runs) -> None:
        """`worker` must not run it within a transaction of the log."""
        self._connection: Final = file.writing
        self._path: Final = file.path
        self._worker: Final = worker

    async def keep(self, refresh_token: str, session: PassedSession) -> None:
        """The cloud has just given this token to this session."""
        await self.keep_hash(_hash(refresh_token), session)

    async def keep_hash(self, refresh_hash: bytes, session: PassedSession) -> None:
        """The same of a token that only its SHA-256 is known of."""
        try:
            await self._worker.run(_keep, self._connection, refresh_hash, session)
        except sqlcipher.Error as error:
            raise failure(error, self._path) from None

    async def find(self, refresh_token: str) -> PassedSession | None:
        """The session that one of its two newest tokens is of."""
        return await self._worker.run(_find, self._connection, _hash(refresh_token))

    async def forget(self, session_id: str) -> None:
        """It has ended."""
        try:
            await self._worker.run(_forget, self._connection, session_id)
        except sqlcipher.Error as error:
            raise failure(error, self._path) from None


def _hash(refresh_token: str) -> bytes:
    return hashlib.sha256(refresh_token.encode()).digest()


def _keep(connection: sqlcipher.Connection, refresh_hash: bytes, session: PassedSession) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.execute(
            "INSERT OR REPLACE INTO passed_session"
            " (refresh_hash, session_id, user_id, device_id, site_id, roles, passed_ms) VALUES (?,?,?,?,?,?,?)",
            (
                refresh_hash, session.session_id, session.user_id, session.device_id, session.site_id,
                ",".join(sorted(session.roles)), session.passed_ms,
            ),
        )  # fmt: skip
        connection.execute(
            "DELETE FROM passed_session WHERE session_id = ?1 AND refresh_hash != ?2 AND refresh_hash NOT IN"
            " (SELECT refresh_hash FROM passed_session WHERE session_id = ?1 AND refresh_hash != ?2"
            " ORDER BY passed_ms DESC LIMIT ?3)",
            (session.session_id, refresh_hash, TOKENS_OF_A_SESSION - 1),
        )
        connection.execute(
            "DELETE FROM passed_session WHERE passed_ms < ?", (session.passed_ms - FORGOTTEN_AFTER_MS,)
        )
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _find(connection: sqlcipher.Connection, refresh_hash: bytes) -> PassedSession | None:
    rows = connection.execute(
        "SELECT session_id, user_id, device_id, site_id, roles, passed_ms FROM passed_session"
        " WHERE refresh_hash = ?",
        (refresh_hash,),
    ).fetchall()
    for session_id, user_id, device_id, site_id, roles, passed_ms in rows:
        return PassedSession(
            session_id, user_id, device_id, site_id, frozenset(filter(None, roles.split(","))), passed_ms
        )
    return None


def _forget(connection: sqlcipher.Connection, session_id: str) -> None:
    connection.execute("DELETE FROM passed_session WHERE session_id = ?", (session_id,))
