"""A clinic that gets another id: an empty one, into which a hub is taken that had begun alone under an id of its own.

Everything is carried over but the audit, which only grows: it stays where it is, under the id of then. Secrets are
sealed anew, since a seal is bound to the clinic.
"""

from __future__ import annotations

from typing import Final

from medxz.store.authority.base import Tx
from medxz.store.authority.secrets import Seal

_MOVES: Final = (
    "UPDATE clinic SET clinic_id = $2 WHERE clinic_id = $1",
    "UPDATE clinic_config SET clinic_id = $2 WHERE clinic_id = $1",
    "UPDATE clinic_certificate SET clinic_id = $2 WHERE clinic_id = $1",
    "UPDATE site SET clinic_id = $2 WHERE clinic_id = $1",
    "UPDATE clinic_user SET clinic_id = $2 WHERE clinic_id = $1",
    "UPDATE code_clinic SET clinic_id = $2 WHERE clinic_id = $1",
    "UPDATE code SET clinic_id = $2 WHERE clinic_id = $1",
    "UPDATE attempt SET clinic_id = $2 WHERE clinic_id = $1",
)
_SECRETS: Final = "SELECT name, sealed FROM secret WHERE clinic_id = $1"
_MOVE_SEALED: Final = "UPDATE secret SET clinic_id = $2, sealed = $4 WHERE clinic_id = $1 AND name = $3"
_FACTORS: Final = (
    "SELECT user_id, totp_sealed FROM clinic_user WHERE clinic_id = $1 AND totp_sealed IS NOT NULL"
)
_SEAL_FACTOR: Final = "UPDATE clinic_user SET totp_sealed = $3 WHERE clinic_id = $1 AND user_id = $2"
_MOVE_SITE: Final = "UPDATE site SET site_id = $3 WHERE clinic_id = $1 AND site_id = $2"
_MOVE_CODES: Final = "UPDATE code SET site_id = $3 WHERE clinic_id = $1 AND site_id = $2"
_MOVE_USER: Final = "UPDATE clinic_user SET user_id = $3 WHERE clinic_id = $1 AND user_id = $2"


async def move_clinic(tx: Tx, seal: Seal, old_id: str, new_id: str) -> None:
    """Give a clinic without devices and hubs an id that no clinic here has."""
    for move in _MOVES:
        await tx.rows(move, old_id, new_id)
    for name, sealed in await tx.rows(_SECRETS, old_id):
        plain = seal.open(old_id, name, sealed)
        await tx.rows(_MOVE_SEALED, old_id, new_id, name, seal.seal(new_id, name, plain))
    for user_id, sealed in await tx.rows(_FACTORS, new_id):
        name = f"totp:{user_id}"
        await tx.rows(_SEAL_FACTOR, new_id, user_id, seal.seal(new_id, name, seal.open(old_id, name, sealed)))
    tx.changed(old_id)
    tx.changed(new_id)


async def move_site(tx: Tx, clinic_id: str, old_id: str, new_id: str) -> None:
    """Give a site, and the codes that are for it, another id."""
    await tx.rows(_MOVE_SITE, clinic_id, old_id, new_id)
    await tx.rows(_MOVE_CODES, clinic_id, old_id, new_id)


async def move_user(tx: Tx, seal: Seal, clinic_id: str, old_id: str, new_id: str) -> None:
    """Give a person the id that they had as an author elsewhere."""
    await tx.rows(_MOVE_USER, clinic_id, old_id, new_id)
    for user_id, sealed in await tx.rows(_FACTORS, clinic_id):
        if user_id == new_id:
            plain = seal.open(clinic_id, f"totp:{old_id}", sealed)
            await tx.rows(_SEAL_FACTOR, clinic_id, new_id, seal.seal(clinic_id, f"totp:{new_id}", plain))
