"""Private keys and other secrets, sealed: the database never holds one in clear.

A seal is ChaCha20-Poly1305 with a nonce of its own, bound to the clinic and the name, so that a row that was moved does
not open. The server's own secrets have the empty text for a clinic.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Final, Literal

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from medxz.errors import StoreKeyWrong
from medxz.store.authority.base import Tx

KeyState = Literal["next", "current", "old"]

SEALING_KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12
_SERVER: Final = ""

_PUT: Final = """
    INSERT INTO secret (clinic_id, name, sealed) VALUES ($1, $2, $3)
    ON CONFLICT (clinic_id, name) DO UPDATE SET sealed = excluded.sealed"""
_GET: Final = "SELECT sealed FROM secret WHERE clinic_id = $1 AND name = $2"
_DELETE: Final = "DELETE FROM secret WHERE clinic_id = $1 AND name = $2"
_PUT_SERVER: Final = """
    INSERT INTO server_secret (name, sealed) VALUES ($1, $2)
    ON CONFLICT (name) DO UPDATE SET sealed = excluded.sealed"""
_GET_SERVER: Final = "SELECT sealed FROM server_secret WHERE name = $1"
_ADD_KEY: Final = """
    INSERT INTO server_key (kid, state, public_key, sealed, made_at_ms, changed_at_ms)
    VALUES ($1, $2, $3, $4, $5, $6)"""
_KEYS: Final = """
    SELECT kid, state, public_key, sealed, made_at_ms, changed_at_ms FROM server_key ORDER BY made_at_ms, kid"""
_SET_STATE: Final = "UPDATE server_key SET state = $2, changed_at_ms = $3 WHERE kid = $1"
_DELETE_KEY: Final = "DELETE FROM server_key WHERE kid = $1"


class Seal:
    """Seals and opens under the 32 bytes of the server's key file."""

    def __init__(self, key: bytes) -> None:
        if len(key) != SEALING_KEY_BYTES:
            raise StoreKeyWrong(f"a sealing key has {SEALING_KEY_BYTES} bytes, not {len(key)}")
        self._cipher: Final = ChaCha20Poly1305(key)

    def seal(self, clinic_id: str, name: str, plain: bytes) -> bytes:
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, plain, _about(clinic_id, name))

    def open(self, clinic_id: str, name: str, sealed: bytes) -> bytes:
        """StoreKeyWrong where it was sealed under another key, for another clinic or name, or was changed."""
        nonce, cipher_text = bytes(sealed[:_NONCE_BYTES]), bytes(sealed[_NONCE_BYTES:])
        try:
            return self._cipher.decrypt(nonce, cipher_text, _about(clinic_id, name))
        except (InvalidTag, ValueError):
            raise StoreKeyWrong(f"the secret {name!r} does not open with this key") from None


@dataclass(frozen=True, slots=True)
class ServerKey:
    """A key that signs tokens. `changed_at_ms`: when it came into this state."""

    kid: str
    state: KeyState
    public_key: bytes
    private_key: bytes
    made_at_ms: int
    changed_at_ms: int


async def put(tx: Tx, seal: Seal, clinic_id: str, name: str, plain: bytes) -> None:
    await tx.rows(_PUT, clinic_id, name, seal.seal(clinic_id, name, plain))


async def get(tx: Tx, seal: Seal, clinic_id: str, name: str) -> bytes | None:
    rows = await tx.rows(_GET, clinic_id, name)
    return seal.open(clinic_id, name, rows[0][0]) if rows else None


async def delete(tx: Tx, clinic_id: str, name: str) -> None:
    """A root key that shall lie elsewhere from now on."""
    await tx.rows(_DELETE, clinic_id, name)


async def put_server(tx: Tx, seal: Seal, name: str, plain: bytes) -> None:
    await tx.rows(_PUT_SERVER, name, seal.seal(_SERVER, name, plain))


async def get_server(tx: Tx, seal: Seal, name: str) -> bytes | None:
    rows = await tx.rows(_GET_SERVER, name)
    return seal.open(_SERVER, name, rows[0][0]) if rows else None


async def add_key(tx: Tx, seal: Seal, key: ServerKey) -> None:
    sealed = seal.seal(_SERVER, _key_name(key.kid), key.private_key)
    await tx.rows(_ADD_KEY, key.kid, key.state, key.public_key, sealed, key.made_at_ms, key.changed_at_ms)


async def keys(tx: Tx, seal: Seal) -> list[ServerKey]:
    """The oldest first. At most one is `current`: it signs. The `next` is published, the `old` still verify."""
    return [
        ServerKey(
            kid, state, bytes(public), seal.open(_SERVER, _key_name(kid), sealed), made_at_ms, changed_at_ms
        )
        for kid, state, public, sealed, made_at_ms, changed_at_ms in await tx.rows(_KEYS)
    ]


async def set_key_state(tx: Tx, kid: str, state: KeyState, now_ms: int) -> None:
    await tx.rows(_SET_STATE, kid, state, now_ms)


async def delete_key(tx: Tx, kid: str) -> None:
    await tx.rows(_DELETE_KEY, kid)


def _about(clinic_id: str, name: str) -> bytes:
    return f"medxz-seal-1\n{clinic_id}\n{name}".encode()


def _key_name(kid: str) -> str:
    return f"server_key:{kid}"
