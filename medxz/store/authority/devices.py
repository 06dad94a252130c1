"""A clinic's devices, the keys that they have had, and whose ops they may carry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from medxz.scope import Scope
from medxz.store.authority.base import Tx
from medxz.store.authority.clinics import raise_revision

_COLUMNS: Final = "device_id, site_id, name, scope, made_at_ms, revoked, replaces"
_ADD: Final = """
    INSERT INTO device (clinic_id, device_id, site_id, name, scope, replaces, made_at_ms)
    VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (clinic_id, device_id) DO NOTHING RETURNING device_id"""
_ADD_CLINIC: Final = "INSERT INTO device_clinic (device_id, clinic_id) VALUES ($1, $2) ON CONFLICT DO NOTHING"
_CLINICS: Final = "SELECT clinic_id FROM device_clinic WHERE device_id = $1 ORDER BY clinic_id"
_GET: Final = f"SELECT {_COLUMNS} FROM device WHERE clinic_id = $1 AND device_id = $2"
_ALL: Final = f"SELECT {_COLUMNS} FROM device WHERE clinic_id = $1 ORDER BY device_id"
_SET_SCOPE: Final = "UPDATE device SET scope = $3 WHERE clinic_id = $1 AND device_id = $2"
_REVOKE: Final = "UPDATE device SET revoked = 1 WHERE clinic_id = $1 AND device_id = $2 RETURNING device_id"
_ADD_KEY: Final = """
    INSERT INTO device_key (clinic_id, device_id, public_key, added_at_ms) VALUES ($1, $2, $3, $4)
    ON CONFLICT DO NOTHING RETURNING device_id"""
_KEYS: Final = """
    SELECT public_key FROM device_key WHERE clinic_id = $1 AND device_id = $2 ORDER BY added_at_ms, public_key"""
_ALL_KEYS: Final = """
    SELECT device_id, public_key FROM device_key WHERE clinic_id = $1 ORDER BY device_id, added_at_ms, public_key"""
_ADD_AUTHOR: Final = """
    INSERT INTO device_author (clinic_id, device_id, user_id) VALUES ($1, $2, $3)
    ON CONFLICT DO NOTHING RETURNING device_id"""
_AUTHORS: Final = "SELECT user_id FROM device_author WHERE clinic_id = $1 AND device_id = $2 ORDER BY user_id"
_ALL_AUTHORS: Final = "SELECT device_id, user_id FROM device_author WHERE clinic_id = $1"


@dataclass(frozen=True, slots=True)
class DeviceRow:
    """`replaces`: the id that it had before it took this one."""

    device_id: str
    site_id: str
    name: str
    scope: Scope
    made_at_ms: int
    revoked: bool = False
    replaces: str | None = None


async def add(tx: Tx, clinic_id: str, device: DeviceRow) -> bool:
    """False where the clinic has one of that id."""
    added = bool(
        await tx.rows(
            _ADD, clinic_id, device.device_id, device.site_id, device.name, device.scope, device.replaces,
            device.made_at_ms,
        )
    )  # fmt: skip
    if added:
        await tx.rows(_ADD_CLINIC, device.device_id, clinic_id)
        await raise_revision(tx, clinic_id)
    return added


async def clinics_of(tx: Tx, device_id: str) -> list[str]:
    """The clinics that have a device of this id.

    Nearly always one at most; but a hub that began alone brings ids along that nobody can hold to be unique, so
    what is found here says nothing of who is asking: a password or a proof does.
    """
    return [clinic_id for (clinic_id,) in await tx.rows(_CLINICS, device_id)]


async def get(tx: Tx, clinic_id: str, device_id: str) -> DeviceRow | None:
    rows = await tx.rows(_GET, clinic_id, device_id)
    return _device(rows[0]) if rows else None


async def everyone(tx: Tx, clinic_id: str) -> list[DeviceRow]:
    return [_device(row) for row in await tx.rows(_ALL, clinic_id)]


async def set_scope(tx: Tx, clinic_id: str, device_id: str, scope: Scope) -> None:
    await tx.rows(_SET_SCOPE, clinic_id, device_id, scope)
    await raise_revision(tx, clinic_id)


async def revoke(tx: Tx, clinic_id: str, device_id: str) -> bool:
    """False where there is none of that id."""
    revoked = bool(await tx.rows(_REVOKE, clinic_id, device_id))
    if revoked:
        await raise_revision(tx, clinic_id)
    return revoked


async def add_key(tx: Tx, clinic_id: str, device_id: str, public_key: bytes, now_ms: int) -> None:
    if await tx.rows(_ADD_KEY, clinic_id, device_id, public_key, now_ms):
        await raise_revision(tx, clinic_id)


async def keys(tx: Tx, clinic_id: str, device_id: str) -> list[bytes]:
    """The first one first."""
    return [bytes(key) for (key,) in await tx.rows(_KEYS, clinic_id, device_id)]


async def keys_of_all(tx: Tx, clinic_id: str) -> list[tuple[str, bytes]]:
    return [(device_id, bytes(key)) for device_id, key in await tx.rows(_ALL_KEYS, clinic_id)]


async def add_author(tx: Tx, clinic_id: str, device_id: str, user_id: str) -> None:
    """This user has had a session on this device: it may push ops of theirs from now on."""
    if await tx.rows(_ADD_AUTHOR, clinic_id, device_id, user_id):
        await raise_revision(tx, clinic_id)


async def authors(tx: Tx, clinic_id: str, device_id: str) -> list[str]:
    """Everyone who has had a session on this device."""
    return [user_id for (user_id,) in await tx.rows(_AUTHORS, clinic_id, device_id)]


async def authors_of_all(tx: Tx, clinic_id: str) -> list[tuple[str, str]]:
    return [(device_id, user_id) for device_id, user_id in await tx.rows(_ALL_AUTHORS, clinic_id)]


def _device(row: tuple[Any, ...]) -> DeviceRow:
    device_id, site_id, name, scope, made_at_ms, revoked, replaces = row
    return DeviceRow(device_id, site_id, name, scope, made_at_ms, bool(revoked), replaces)
