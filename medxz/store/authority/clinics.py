"""Clinics and their sites; the revision that a change of the directory raises; the certificates that a clinic trusts."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Final, Literal

from medxz.store.authority.base import Tx

CertificateKind = Literal["root", "intermediate", "adopted"]

_ADD: Final = """
    INSERT INTO clinic (clinic_id, name, nonce, made_at_ms) VALUES ($1, $2, $3, $4)
    ON CONFLICT (clinic_id) DO NOTHING RETURNING clinic_id"""
_GET: Final = "SELECT clinic_id, name, revision, nonce, made_at_ms FROM clinic WHERE clinic_id = $1"
_ALL: Final = "SELECT clinic_id, name, revision, nonce, made_at_ms FROM clinic ORDER BY clinic_id"
_NONCES: Final = "SELECT clinic_id, nonce FROM clinic"
_TOTAL: Final = "SELECT count(*), CAST(coalesce(sum(nonce), 0) AS BIGINT) FROM clinic"
_RAISE: Final = (
    "UPDATE clinic SET revision = revision + 1, nonce = $2 WHERE clinic_id = $1 RETURNING revision"
)
_RENAME: Final = "UPDATE clinic SET name = $2 WHERE clinic_id = $1"
_ADD_SITE: Final = """
    INSERT INTO site (clinic_id, site_id, name, made_at_ms) VALUES ($1, $2, $3, $4)
    ON CONFLICT DO NOTHING RETURNING site_id"""
_SITES: Final = "SELECT site_id, name FROM site WHERE clinic_id = $1 ORDER BY name"
_ADD_CERTIFICATE: Final = """
    INSERT INTO clinic_certificate (clinic_id, fingerprint, kind, pem, made_at_ms) VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT (clinic_id, fingerprint) DO NOTHING"""
_CERTIFICATES: Final = """
    SELECT fingerprint, kind, pem, made_at_ms FROM clinic_certificate
    WHERE clinic_id = $1 ORDER BY made_at_ms, fingerprint"""
_FORGET: Final = tuple(
    f"DELETE FROM {table} WHERE clinic_id = $1"
    for table in (
        "refresh_token", "session", "code_clinic", "code", "attempt", "secret", "clinic_user", "device_author",
        "device_key", "device_clinic", "device", "clinic_certificate", "site", "clinic_config", "clinic",
    )
)  # fmt: skip
_HAS_CONTENTS: Final = """
    SELECT 1 FROM device WHERE clinic_id = $1
    UNION ALL SELECT 1 FROM hub WHERE clinic_id = $1 LIMIT 1"""


_NONCE_BITS: Final = 44
"""Those of half a million clinics can be added up in 63 bits."""


@dataclass(frozen=True, slots=True)
class Clinic:
    clinic_id: str
    name: str
    revision: int
    nonce: int
    """Of this revision, and never again: the same number, after a restore, may be of another directory."""
    made_at_ms: int


@dataclass(frozen=True, slots=True)
class Site:
    site_id: str
    name: str


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate of a clinic: its root, its intermediates, or the root of a hub that began alone."""

    fingerprint: str
    kind: CertificateKind
    pem: str
    made_at_ms: int


async def add(tx: Tx, clinic_id: str, name: str, now_ms: int) -> bool:
    """False where there is one of that id."""
    added = bool(await tx.rows(_ADD, clinic_id, name, secrets.randbits(_NONCE_BITS), now_ms))
    tx.changed(clinic_id)
    return added


async def get(tx: Tx, clinic_id: str) -> Clinic | None:
    rows = await tx.rows(_GET, clinic_id)
    return Clinic(*rows[0]) if rows else None


async def everyone(tx: Tx) -> list[Clinic]:
    """All clinics of this cloud: for its operator's commands only."""
    return [Clinic(*row) for row in await tx.rows(_ALL)]


async def nonces(tx: Tx) -> dict[str, int]:
    """Which revision each clinic's directory is."""
    return dict(await tx.rows(_NONCES))


async def total_nonce(tx: Tx) -> tuple[int, int]:
    """Another one after any clinic's directory changed: how many clinics, and all their nonces together."""
    [(count, total)] = await tx.rows(_TOTAL)
    return count, total


async def raise_revision(tx: Tx, clinic_id: str) -> int:
    """The directory changed: hubs and gates hear of it. The functions of this package that change it call this."""
    tx.changed(clinic_id)
    rows = await tx.rows(_RAISE, clinic_id, secrets.randbits(_NONCE_BITS))
    return int(rows[0][0]) if rows else 0


async def rename(tx: Tx, clinic_id: str, name: str) -> None:
    await tx.rows(_RENAME, clinic_id, name)
    await raise_revision(tx, clinic_id)


async def add_site(tx: Tx, clinic_id: str, site_id: str, name: str, now_ms: int) -> bool:
    """False where there is one of that id or name."""
    added = bool(await tx.rows(_ADD_SITE, clinic_id, site_id, name, now_ms))
    if added:
        await raise_revision(tx, clinic_id)
    return added


async def sites(tx: Tx, clinic_id: str) -> list[Site]:
    return [Site(*row) for row in await tx.rows(_SITES, clinic_id)]


async def find_site(tx: Tx, clinic_id: str, name_or_id: str) -> Site | None:
    """A site by its id, else by its name as it is written."""
    found = await sites(tx, clinic_id)
    by_id = next((site for site in found if site.site_id == name_or_id), None)
    return by_id or next((site for site in found if site.name == name_or_id), None)


async def add_certificate(
    tx: Tx, clinic_id: str, fingerprint: str, kind: CertificateKind, pem: str, now_ms: int
) -> None:
    """One that is there already stays as it is."""
    await tx.rows(_ADD_CERTIFICATE, clinic_id, fingerprint, kind, pem, now_ms)
    await raise_revision(tx, clinic_id)


async def certificates(tx: Tx, clinic_id: str) -> list[Certificate]:
    """The oldest first. Trust anchors are those of kind `root` and `adopted`."""
    return [Certificate(*row) for row in await tx.rows(_CERTIFICATES, clinic_id)]


async def forget(tx: Tx, clinic_id: str) -> None:
    """Drop everything that lets anybody in to the clinic here: another server does from now on. The audit stays."""
    for drop in _FORGET:
        await tx.rows(drop, clinic_id)
    tx.changed(clinic_id)


async def is_empty(tx: Tx, clinic_id: str) -> bool:
    """Whether no device and no hub was ever taken in: only such a clinic takes the id of a hub that began alone."""
    return not await tx.rows(_HAS_CONTENTS, clinic_id)
