"""A clinic's hubs: where each stands, its certificate and key, whether it was revoked, when it was last heard of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from medxz.store.authority.base import Tx
from medxz.store.authority.clinics import raise_revision

_COLUMNS: Final = "hub_id, site_id, name, public_key, certificate, made_at_ms, revoked, url, last_seen_ms"
_ADD: Final = """
    INSERT INTO hub (clinic_id, hub_id, site_id, name, public_key, certificate, made_at_ms)
    VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (clinic_id, hub_id) DO NOTHING RETURNING hub_id"""
_ADD_CLINIC: Final = "INSERT INTO hub_clinic (hub_id, clinic_id) VALUES ($1, $2) ON CONFLICT DO NOTHING"
_CLINICS: Final = "SELECT clinic_id FROM hub_clinic WHERE hub_id = $1 ORDER BY clinic_id"
_GET: Final = f"SELECT {_COLUMNS} FROM hub WHERE clinic_id = $1 AND hub_id = $2"
_ALL: Final = f"SELECT {_COLUMNS} FROM hub WHERE clinic_id = $1 ORDER BY hub_id"
_CERTIFICATE: Final = """
    UPDATE hub SET public_key = $3, certificate = $4 WHERE clinic_id = $1 AND hub_id = $2"""
_REPLACE: Final = "UPDATE hub SET replaced_by = $3 WHERE clinic_id = $1 AND hub_id = $2"
_FORERUNNERS: Final = """
    WITH RECURSIVE before (hub_id, site_id) AS (
        SELECT hub_id, site_id FROM hub WHERE clinic_id = $1 AND hub_id = $2
        UNION
        SELECT hub.hub_id, hub.site_id FROM before JOIN hub
        ON hub.clinic_id = $1 AND hub.replaced_by = before.hub_id AND hub.site_id = before.site_id
    )
    SELECT hub_id FROM before WHERE hub_id <> $2 ORDER BY hub_id"""
_REVOKE: Final = "UPDATE hub SET revoked = 1 WHERE clinic_id = $1 AND hub_id = $2 RETURNING hub_id"
_URL: Final = """
    UPDATE hub SET url = $3 WHERE clinic_id = $1 AND hub_id = $2 AND (url IS NULL OR url <> $3) RETURNING hub_id"""
_SEEN: Final = "UPDATE hub SET last_seen_ms = $3 WHERE clinic_id = $1 AND hub_id = $2"


@dataclass(frozen=True, slots=True)
class HubRow:
    """`public_key` and `certificate` (leaf, then intermediate) are PEM."""

    hub_id: str
    site_id: str
    name: str
    public_key: str
    certificate: str
    made_at_ms: int
    revoked: bool = False
    url: str | None = None
    last_seen_ms: int | None = None


async def add(tx: Tx, clinic_id: str, hub: HubRow) -> bool:
    """False where the clinic has one of that id."""
    added = bool(
        await tx.rows(
            _ADD,
            clinic_id,
            hub.hub_id,
            hub.site_id,
            hub.name,
            hub.public_key,
            hub.certificate,
            hub.made_at_ms,
        )
    )
    if added:
        await tx.rows(_ADD_CLINIC, hub.hub_id, clinic_id)
        await raise_revision(tx, clinic_id)
    return added


async def clinics_of(tx: Tx, hub_id: str) -> list[str]:
    """The clinics that have a hub of this id: a hub that began alone chose its id itself, so there may be two."""
    return [clinic_id for (clinic_id,) in await tx.rows(_CLINICS, hub_id)]


async def get(tx: Tx, clinic_id: str, hub_id: str) -> HubRow | None:
    rows = await tx.rows(_GET, clinic_id, hub_id)
    return _hub(rows[0]) if rows else None


async def everyone(tx: Tx, clinic_id: str) -> list[HubRow]:
    return [_hub(row) for row in await tx.rows(_ALL, clinic_id)]


async def set_certificate(tx: Tx, clinic_id: str, hub_id: str, *, public_key: str, certificate: str) -> None:
    await tx.rows(_CERTIFICATE, clinic_id, hub_id, public_key, certificate)
    await raise_revision(tx, clinic_id)


async def revoke(tx: Tx, clinic_id: str, hub_id: str) -> bool:
    """False where there is none of that id."""
    revoked = bool(await tx.rows(_REVOKE, clinic_id, hub_id))
    if revoked:
        await raise_revision(tx, clinic_id)
    return revoked


async def replace(tx: Tx, clinic_id: str, hub_id: str, by: str) -> bool:
    """Revoke it, and note which hub took its place; False where there is none of that id."""
    await tx.rows(_REPLACE, clinic_id, hub_id, by)
    return await revoke(tx, clinic_id, hub_id)


async def forerunners(tx: Tx, clinic_id: str, hub_id: str) -> list[str]:
    """The hubs of its site whose place it took, and those whose place they had taken."""
    return [found for (found,) in await tx.rows(_FORERUNNERS, clinic_id, hub_id)]


async def seen(tx: Tx, clinic_id: str, hub_id: str, now_ms: int, url: str | None = None) -> None:
    """It was heard of just now; an address that it did not have yet changes the directory."""
    await tx.rows(_SEEN, clinic_id, hub_id, now_ms)
    if url is not None and await tx.rows(_URL, clinic_id, hub_id, url):
        await raise_revision(tx, clinic_id)


def _hub(row: tuple[Any, ...]) -> HubRow:
    hub_id, site_id, name, public_key, certificate, made_at_ms, revoked, url, last_seen_ms = row
    return HubRow(
        hub_id, site_id, name, public_key, certificate, made_at_ms, bool(revoked), url, last_seen_ms
    )
