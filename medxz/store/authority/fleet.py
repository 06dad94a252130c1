"""Hubs as the fleet knows them: where each stands, what it told last, how far the last rollout is there.

What is asked here of all clinics at once is asked for the operator of the cloud, who reads nothing else of any.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from medxz.store.authority.base import Tx

RING: Final = "all"
"""Of a hub that nobody put elsewhere."""

_JOINED: Final = """
    FROM hub JOIN clinic ON clinic.clinic_id = hub.clinic_id
    LEFT JOIN site ON site.clinic_id = hub.clinic_id AND site.site_id = hub.site_id
    LEFT JOIN hub_fleet AS fleet ON fleet.clinic_id = hub.clinic_id AND fleet.hub_id = hub.hub_id"""
_RING: Final = f"coalesce(fleet.ring, '{RING}')"
_HEALTH: Final = """
    CASE WHEN fleet.reported_at_ms IS NULL THEN 'unknown'
    WHEN fleet.heard_at_ms < $1 AND coalesce(hub.last_seen_ms, 0) < $1 THEN 'away' ELSE fleet.health END"""
_COLUMNS: Final = f"""
    hub.clinic_id, hub.hub_id, clinic.name, hub.site_id, site.name, hub.name, hub.url, hub.last_seen_ms, {_RING},
    {_HEALTH}, fleet.heard_at_ms, fleet.reported_at_ms, fleet.version, fleet.compatible, fleet.report,
    fleet.rollout_id, fleet.progress, fleet.since_ms, fleet.before_version, fleet.why"""
_PAGE: Final = f"""
    SELECT {_COLUMNS} {_JOINED}
    WHERE hub.revoked = 0 AND (hub.clinic_id, hub.hub_id) > ($2, $3)
    AND (CAST($4 AS TEXT) IS NULL OR hub.clinic_id = $4) AND (CAST($5 AS TEXT) IS NULL OR hub.site_id = $5)
    AND (CAST($6 AS TEXT) IS NULL OR {_RING} = $6) AND (CAST($7 AS TEXT) IS NULL OR fleet.version = $7)
    AND (CAST($8 AS TEXT) IS NULL OR {_HEALTH} = $8)
    ORDER BY hub.clinic_id, hub.hub_id LIMIT $9"""
_ONE: Final = f"SELECT {_COLUMNS} {_JOINED} WHERE hub.revoked = 0 AND hub.hub_id = $2 ORDER BY hub.clinic_id"
_FAILED: Final = f"""
    SELECT {_COLUMNS} {_JOINED} WHERE hub.revoked = 0 AND fleet.rollout_id = $2 AND fleet.progress = 'failed'
    ORDER BY fleet.since_ms, hub.clinic_id, hub.hub_id LIMIT $3"""
_ALL: Final = f"""
    SELECT hub.clinic_id, hub.hub_id, {_RING}, hub.last_seen_ms, fleet.heard_at_ms, fleet.version, fleet.compatible,
    fleet.report, fleet.rollout_id, fleet.progress, fleet.since_ms, fleet.before_version, fleet.why
    FROM hub LEFT JOIN hub_fleet AS fleet ON fleet.clinic_id = hub.clinic_id AND fleet.hub_id = hub.hub_id
    WHERE hub.revoked = 0"""
_RINGS: Final = f"""
    SELECT {_RING}, count(*) FROM hub
    LEFT JOIN hub_fleet AS fleet ON fleet.clinic_id = hub.clinic_id AND fleet.hub_id = hub.hub_id
    WHERE hub.revoked = 0 GROUP BY 1"""
_COUNTS: Final = f"""
    SELECT {_RING}, {_HEALTH}, fleet.version, count(*) FROM hub
    LEFT JOIN hub_fleet AS fleet ON fleet.clinic_id = hub.clinic_id AND fleet.hub_id = hub.hub_id
    WHERE hub.revoked = 0 GROUP BY 1, 2, 3"""
_OWN: Final = """
    SELECT ring, rollout_id, progress, since_ms, before_version, why FROM hub_fleet
    WHERE clinic_id = $1 AND hub_id = $2"""
_REPORT: Final = """
    INSERT INTO hub_fleet (clinic_id, hub_id, heard_at_ms, reported_at_ms, version, compatible, health, report)
    VALUES ($1, $2, $3, $3, $4, $5, $6, $7)
    ON CONFLICT (clinic_id, hub_id) DO UPDATE SET heard_at_ms = excluded.heard_at_ms,
    reported_at_ms = excluded.reported_at_ms, version = excluded.version, compatible = excluded.compatible,
    health = excluded.health, report = excluded.report"""
_HEARD: Final = """
    INSERT INTO hub_fleet (clinic_id, hub_id, heard_at_ms, version, compatible) VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT (clinic_id, hub_id) DO UPDATE SET heard_at_ms = excluded.heard_at_ms, version = excluded.version,
    compatible = excluded.compatible"""
_SET_RING: Final = """
    INSERT INTO hub_fleet (clinic_id, hub_id, ring) VALUES ($1, $2, $3)
    ON CONFLICT (clinic_id, hub_id) DO UPDATE SET ring = excluded.ring"""
_STEP: Final = """
    INSERT INTO hub_fleet (clinic_id, hub_id, rollout_id, progress, since_ms, before_version, why)
    VALUES ($1, $2, $3, $4, $5, $6, $7)
    ON CONFLICT (clinic_id, hub_id) DO UPDATE SET rollout_id = excluded.rollout_id, progress = excluded.progress,
    since_ms = excluded.since_ms, before_version = excluded.before_version, why = excluded.why"""
_FORGET_STEPS: Final = f"""
    UPDATE hub_fleet SET rollout_id = NULL, progress = NULL WHERE coalesce(ring, '{RING}') = $1
    AND rollout_id <> $2"""


@dataclass(frozen=True, slots=True)
class StepRow:
    """How far a rollout is on a hub."""

    rollout_id: str
    progress: str
    since_ms: int
    before: str | None
    why: str | None


@dataclass(frozen=True, slots=True)
class FleetRow:
    """A hub as it is listed. `report` is the JSON of its last one."""

    clinic_id: str
    hub_id: str
    clinic: str
    site_id: str
    site: str | None
    name: str
    url: str | None
    last_seen_ms: int | None
    ring: str
    health: str
    heard_at_ms: int | None
    reported_at_ms: int | None
    version: str | None
    compatible: str | None
    report: str | None
    step: StepRow | None


@dataclass(frozen=True, slots=True)
class FactsRow:
    """What a rollout goes by, of one hub."""

    clinic_id: str
    hub_id: str
    ring: str
    heard_ms: int
    version: str | None
    compatible: str | None
    report: str | None
    step: StepRow | None


@dataclass(frozen=True, slots=True)
class Filters:
    clinic_id: str | None = None
    site_id: str | None = None
    ring: str | None = None
    version: str | None = None
    health: str | None = None


async def page(
    tx: Tx, filters: Filters, after: tuple[str, str], silent_before_ms: int, limit: int
) -> list[FleetRow]:
    """Those behind a place, by clinic and id; who was not heard of since that time is away."""
    rows = await tx.rows(
        _PAGE, silent_before_ms, *after, filters.clinic_id, filters.site_id, filters.ring, filters.version,
        filters.health, limit,
    )  # fmt: skip
    return [_row(row) for row in rows]


async def find(tx: Tx, hub_id: str, silent_before_ms: int) -> list[FleetRow]:
    """Those of that id: two clinics may each have one."""
    return [_row(row) for row in await tx.rows(_ONE, silent_before_ms, hub_id)]


async def failed(tx: Tx, rollout_id: str, silent_before_ms: int, limit: int) -> list[FleetRow]:
    return [_row(row) for row in await tx.rows(_FAILED, silent_before_ms, rollout_id, limit)]


async def facts(tx: Tx) -> list[FactsRow]:
    """Of every hub that was not revoked."""
    return [_facts(row) for row in await tx.rows(_ALL)]


async def count_by_ring(tx: Tx) -> dict[str, int]:
    return dict(await tx.rows(_RINGS))


async def counts(tx: Tx, silent_before_ms: int) -> list[tuple[str, str, str | None, int]]:
    """How many hubs there are of each ring, health and version."""
    return [
        (ring, health, version, hubs)
        for ring, health, version, hubs in await tx.rows(_COUNTS, silent_before_ms)
    ]


async def own(tx: Tx, clinic_id: str, hub_id: str) -> tuple[str, StepRow | None]:
    """The ring of one hub, and how far a rollout is there."""
    rows = await tx.rows(_OWN, clinic_id, hub_id)
    return (rows[0][0] or RING, _step(*rows[0][1:])) if rows else (RING, None)


async def report(
    tx: Tx, clinic_id: str, hub_id: str, now_ms: int, *, version: str, compatible: str | None, health: str, told: str
) -> None:  # fmt: skip
    """What a hub told just now; `told` is the whole of it, in JSON."""
    await tx.rows(_REPORT, clinic_id, hub_id, now_ms, version, compatible, health, told)


async def heard(tx: Tx, clinic_id: str, hub_id: str, now_ms: int, version: str, compatible: str) -> None:
    """It asked for an update: that tells what it runs, also of one that does not report."""
    await tx.rows(_HEARD, clinic_id, hub_id, now_ms, version, compatible)


async def set_ring(tx: Tx, clinic_id: str, hub_id: str, ring: str) -> None:
    await tx.rows(_SET_RING, clinic_id, hub_id, ring)


async def put_step(tx: Tx, clinic_id: str, hub_id: str, step: StepRow) -> None:
    await tx.rows(
        _STEP, clinic_id, hub_id, step.rollout_id, step.progress, step.since_ms, step.before, step.why
    )


async def forget_steps(tx: Tx, ring: str, but: str = "") -> None:
    """What rollouts, but one, left with the hubs of a ring counts no more: the ring's own version does."""
    await tx.rows(_FORGET_STEPS, ring, but)


def _row(row: tuple[Any, ...]) -> FleetRow:
    clinic_id, hub_id, clinic, site_id, site, name, url, seen_ms, ring, health, *told = row
    heard_ms, reported_ms, version, compatible, report, *step = told
    return FleetRow(
        clinic_id, hub_id, clinic, site_id, site, name, url, seen_ms, ring, health,
        heard_ms, reported_ms, version, compatible, report, _step(*step),
    )  # fmt: skip


def _facts(row: tuple[Any, ...]) -> FactsRow:
    clinic_id, hub_id, ring, seen_ms, heard_ms, version, compatible, told, *step = row
    heard_ms = max(seen_ms or 0, heard_ms or 0)
    return FactsRow(clinic_id, hub_id, ring, heard_ms, version, compatible, told, _step(*step))


def _step(
    rollout_id: str | None, progress: str, since_ms: int, before: str | None, why: str | None
) -> StepRow | None:
    return None if rollout_id is None else StepRow(rollout_id, progress, since_ms, before, why)
