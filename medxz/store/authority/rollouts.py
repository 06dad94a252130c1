"""Rings of hubs, what each is to run; and rollouts, each a document that is read and written whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import orjson

from medxz.store.authority.base import Tx

_RINGS: Final = "SELECT ring, version, settings, settings_revision FROM fleet_ring ORDER BY ring"
_RING: Final = "SELECT ring, version, settings, settings_revision FROM fleet_ring WHERE ring = $1"
_VERSION: Final = """
    INSERT INTO fleet_ring (ring, version) VALUES ($1, $2)
    ON CONFLICT (ring) DO UPDATE SET version = excluded.version"""
_SETTINGS: Final = """
    INSERT INTO fleet_ring (ring, settings, settings_revision)
    VALUES ($1, $2, (SELECT coalesce(max(settings_revision), 0) + 1 FROM fleet_ring))
    ON CONFLICT (ring) DO UPDATE
    SET settings = excluded.settings, settings_revision = excluded.settings_revision"""
_PUT: Final = """
    INSERT INTO fleet_rollout (rollout_id, version, state, document) VALUES ($1, $2, $3, $4)
    ON CONFLICT (rollout_id) DO UPDATE SET state = excluded.state, document = excluded.document"""
_GET: Final = "SELECT document FROM fleet_rollout WHERE rollout_id = $1"
_UNDER_WAY: Final = """
    SELECT document FROM fleet_rollout WHERE state IN ('running', 'paused') ORDER BY rollout_id DESC LIMIT 1"""
_PAGE: Final = """
    SELECT document FROM fleet_rollout WHERE CAST($1 AS TEXT) IS NULL OR rollout_id < $1
    ORDER BY rollout_id DESC LIMIT $2"""
_VERSIONS: Final = "SELECT DISTINCT version FROM fleet_rollout"


@dataclass(frozen=True, slots=True)
class RingRow:
    """One ring. `version`: None where its hubs run the newest; `revision` is of its settings, and no other ring's."""

    ring: str
    version: str | None = None
    settings: dict[str, Any] | None = None
    revision: int = 0


async def rings(tx: Tx) -> list[RingRow]:
    """Those that were set."""
    return [_ring(row) for row in await tx.rows(_RINGS)]


async def ring(tx: Tx, name: str) -> RingRow:
    """As it was set; with nothing in it where it was not."""
    rows = await tx.rows(_RING, name)
    return _ring(rows[0]) if rows else RingRow(name)


async def set_version(tx: Tx, name: str, version: str | None) -> None:
    await tx.rows(_VERSION, name, version)


async def set_settings(tx: Tx, name: str, settings: dict[str, Any]) -> None:
    await tx.rows(_SETTINGS, name, orjson.dumps(settings).decode())


async def put(tx: Tx, rollout_id: str, version: str, state: str, document: dict[str, Any]) -> None:
    await tx.rows(_PUT, rollout_id, version, state, orjson.dumps(document).decode())


async def get(tx: Tx, rollout_id: str) -> dict[str, Any] | None:
    rows = await tx.rows(_GET, rollout_id)
    return _document(rows[0]) if rows else None


async def under_way(tx: Tx) -> dict[str, Any] | None:
    """The one that is not over, if there is one."""
    rows = await tx.rows(_UNDER_WAY)
    return _document(rows[0]) if rows else None


async def page(tx: Tx, before: str | None, limit: int) -> list[dict[str, Any]]:
    """The newest first: their ids grow with time."""
    return [_document(row) for row in await tx.rows(_PAGE, before, limit)]


async def versions(tx: Tx) -> frozenset[str]:
    """What any rollout was ever about."""
    return frozenset(version for (version,) in await tx.rows(_VERSIONS))


def _ring(row: tuple[Any, ...]) -> RingRow:
    name, version, settings, revision = row
    return RingRow(name, version, orjson.loads(settings), revision)


def _document(row: tuple[Any, ...]) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(row[0])
    return found
