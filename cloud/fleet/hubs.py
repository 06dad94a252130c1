"""Hubs and rings, as an operator sees and sets them, and as each hub is told: what it is to run, and with which settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from cloud.fleet.documents import read_report, rollout_of, step_of
from cloud.fleet.offers import Offers
from cloud.fleet.rollout import BLOCKING, Rollout, Wish, wish
from cloud.fleet.rollouts import Releases
from medxz import limits
from medxz.accounts.base import SECOND_MS, Authority
from medxz.clock import format_time
from medxz.errors import Invalid, NotFound, RolloutState
from medxz.program.listing import make_cursor
from medxz.service.fleet import HubsAsked
from medxz.store.authority import fleet, rollouts
from medxz.store.authority.attempts import NO_CLINIC
from medxz.store.authority.audit import Entry
from medxz.store.authority.base import Tx
from medxz.store.authority.fleet import FleetRow, StepRow
from medxz.store.authority.rollouts import RingRow
from medxz.wire import (
    FleetHub,
    FleetHubsAnswer,
    HubRingRequest,
    HubRollout,
    ReportAnswer,
    ReportRequest,
    RingAnswer,
    RingRequest,
    RingsAnswer,
    RingSettings,
)

RINGS: Final = ("canary", "early", fleet.RING)
BEGINNING: Final = ("", "")
_BUSY_EVERY_S: Final = 30


class Hubs:
    """The use cases. `by` is an operator's id; None for a command of the cloud's own machine."""

    def __init__(self, authority: Authority, releases: Releases) -> None:
        self._authority: Final = authority
        self._releases: Final = releases

    async def page(self, asked: HubsAsked, after: tuple[str, str], limit: int) -> FleetHubsAnswer:
        filters = fleet.Filters(asked.clinic_id, asked.site_id, asked.ring, asked.version, asked.health)
        releases = await self._releases()

        async def read(tx: Tx) -> FleetHubsAnswer:
            rows = await fleet.page(tx, filters, after, self._silent_before(), limit + 1)
            told = await _told(tx, rows[:limit], Offers(releases, await rollouts.versions(tx)))
            last = rows[limit - 1] if len(rows) > limit else None
            more = None if last is None else make_cursor(f"{last.clinic_id}/{last.hub_id}")
            return FleetHubsAnswer(hubs=told, next_cursor=more)

        return await self._authority.transactions.read(read)

    async def put_into_ring(self, hub_id: str, request: HubRingRequest, by: str | None = None) -> FleetHub:
        """NotFound; Invalid where two clinics have one of that id and none was named, or there would be too many rings."""
        releases = await self._releases()

        async def write(tx: Tx) -> FleetHub:
            found = await fleet.find(tx, hub_id, self._silent_before())
            fitting = [row for row in found if request.clinic_id in {None, row.clinic_id}]
            if not fitting:
                raise NotFound(f"there is no hub {hub_id}")
            if len(fitting) > 1:
                raise Invalid("several clinics have a hub of this id: name one", field="clinic_id")
            await _check_ring(tx, request.ring)
            [row] = fitting
            await fleet.set_ring(tx, row.clinic_id, hub_id, request.ring)
            detail = {"ring": request.ring, "before": row.ring}
            entry = Entry("hub_ring_changed", user_id=by, hub_id=hub_id, detail=detail)
            await self._authority.trail.append(tx, row.clinic_id, entry)
            again = await fleet.find(tx, hub_id, self._silent_before())
            offers = Offers(releases, await rollouts.versions(tx))
            [told] = await _told(tx, [one for one in again if one.clinic_id == row.clinic_id], offers)
            return told

        return await self._authority.decide(write)

    async def rings(self) -> RingsAnswer:
        async def read(tx: Tx) -> RingsAnswer:
            held = {row.ring: row for row in await rollouts.rings(tx)}
            counts = await fleet.count_by_ring(tx)
            names = dict.fromkeys([*RINGS, *sorted(held), *sorted(counts)])
            told = [_told_ring(held.get(name, RingRow(name)), counts.get(name, 0)) for name in names]
            return RingsAnswer(rings=told, next_cursor=None)

        return await self._authority.transactions.read(read)

    async def counts(self) -> list[tuple[str, str, str | None, int]]:
        """How many hubs there are of each ring, health and version."""
        silent = self._silent_before()
        return await self._authority.transactions.read(lambda tx: fleet.counts(tx, silent))

    async def set_ring(self, ring: str, request: RingRequest, by: str | None = None) -> RingAnswer:
        """What a ring's hubs are to run, without a rollout. Invalid; RolloutState while one is not over."""
        named = request.model_fields_set
        if request.version is not None and not Offers(await self._releases(), frozenset()).kinds_of(
            request.version
        ):
            raise Invalid(f"there is no release {request.version}", field="version")

        async def write(tx: Tx) -> RingAnswer:
            await _check_ring(tx, ring)
            if "version" in named:
                if await rollouts.under_way(tx) is not None:
                    raise RolloutState("a rollout is not over yet, and says what rings run")
                await rollouts.set_version(tx, ring, request.version)
                await fleet.forget_steps(tx, ring)
            if "settings" in named:
                settings = request.settings or RingSettings()
                await rollouts.set_settings(tx, ring, settings.model_dump(exclude_none=True))
            detail = request.model_dump(exclude_unset=True) | {"ring": ring}
            entry = Entry("ring_changed", user_id=by, detail=detail)
            await self._authority.trail.append(tx, NO_CLINIC, entry)
            counts = await fleet.count_by_ring(tx)
            return _told_ring(await rollouts.ring(tx, ring), counts.get(ring, 0))

        return await self._authority.decide(write)

    async def report(self, clinic_id: str, hub_id: str, report: ReportRequest) -> ReportAnswer:
        """Keep what a hub tells, and tell it what is wanted of it."""
        health, told = "ok" if report.health.ok else "unwell", report.model_dump_json()
        releases = await self._releases()

        async def write(tx: Tx) -> ReportAnswer:
            await fleet.report(
                tx, clinic_id, hub_id, self._authority.clock.now_ms(), version=report.version,
                compatible=report.compatible, health=health, told=told,
            )  # fmt: skip
            ring, step, wanted = await _wish(tx, clinic_id, hub_id)
            offers = Offers(releases, await rollouts.versions(tx))
            is_busy = step is not None and step.progress in BLOCKING
            return ReportAnswer(
                ring=ring.ring,
                version=offers.version_of(wanted, report.compatible),
                settings=_settings(ring),
                settings_revision=ring.revision,
                report_every_s=_BUSY_EVERY_S if is_busy else limits.REPORT_EVERY_S,
            )

        return await self._authority.decide(write)

    async def wanted(
        self, clinic_id: str, hub_id: str, kind: str, version: str | None
    ) -> tuple[Wish, frozenset[str]]:
        """What one hub is to run, and the versions that rollouts were about; what it runs is noted."""

        async def write(tx: Tx) -> tuple[Wish, frozenset[str]]:
            if version is not None:
                await fleet.heard(tx, clinic_id, hub_id, self._authority.clock.now_ms(), version, kind)
            _, _, wanted = await _wish(tx, clinic_id, hub_id)
            return wanted, await rollouts.versions(tx)

        return await self._authority.decide(write)

    def _silent_before(self) -> int:
        return self._authority.clock.now_ms() - limits.HUB_AWAY_S * SECOND_MS


async def _wish(tx: Tx, clinic_id: str, hub_id: str) -> tuple[RingRow, StepRow | None, Wish]:
    name, step = await fleet.own(tx, clinic_id, hub_id)
    ring = await rollouts.ring(tx, name)
    document = None if step is None else await rollouts.get(tx, step.rollout_id)
    if step is None or document is None:
        return ring, None, Wish(ring.version)
    return ring, step, wish(ring.version, step_of(step), rollout_of(document))


async def _told(tx: Tx, rows: list[FleetRow], offers: Offers) -> list[FleetHub]:
    rings = {row.ring: row for row in await rollouts.rings(tx)}
    known: dict[str, Rollout | None] = {}
    for row in rows:
        if row.step is not None and row.step.rollout_id not in known:
            document = await rollouts.get(tx, row.step.rollout_id)
            known[row.step.rollout_id] = None if document is None else rollout_of(document)
    return [_told_hub(row, rings.get(row.ring, RingRow(row.ring)), known, offers) for row in rows]


def _told_hub(row: FleetRow, ring: RingRow, known: Mapping[str, Rollout | None], offers: Offers) -> FleetHub:
    report, step = read_report(row.report), row.step
    wanted = Wish(ring.version)
    if step is not None:
        wanted = wish(ring.version, step_of(step), known[step.rollout_id])
    seen_ms = max(row.last_seen_ms or 0, row.heard_at_ms or 0)
    return FleetHub(
        hub_id=row.hub_id,
        clinic_id=row.clinic_id,
        clinic=row.clinic,
        site_id=row.site_id,
        site=row.site,
        name=row.name,
        url=row.url,
        ring=row.ring,
        version=row.version,
        version_wanted=offers.version_of(wanted, row.compatible),
        compatible=row.compatible,
        health=row.health,  # type: ignore[arg-type]  # the statement says one of them
        failing=[] if report is None else list(report.health.failing),
        backlog=None if report is None else report.backlog,
        last_seen_at=format_time(seen_ms) if seen_ms else None,
        reported_at=None if row.reported_at_ms is None else format_time(row.reported_at_ms),
        settings_revision=None if report is None else report.settings_revision,
        update=None if report is None else report.update,
        rollout=None if step is None else HubRollout(
            rollout_id=step.rollout_id,
            state=step.progress,  # type: ignore[arg-type]  # the state machine wrote it
            why=step.why,
            at=format_time(step.since_ms),
        ),
    )  # fmt: skip


def _told_ring(row: RingRow, hubs: int) -> RingAnswer:
    return RingAnswer(ring=row.ring, version=row.version, settings=_settings(row), hubs=hubs)


def _settings(row: RingRow) -> RingSettings:
    return RingSettings.model_validate(row.settings or {})


async def _check_ring(tx: Tx, ring: str) -> None:
    """There are so many rings and no more, so that a slip of the pen is no ring for ever."""
    names = {*RINGS, *(row.ring for row in await rollouts.rings(tx)), *await fleet.count_by_ring(tx)}
    if ring not in names and len(names) >= limits.RINGS_MAX:
        raise Invalid(f"there are {limits.RINGS_MAX} rings already: {', '.join(sorted(names))}", field="ring")
