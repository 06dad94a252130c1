"""Rollouts and rings, decided on the database: begun, gone on with, paused, aborted, told. `rollout.py` says what follows.

Every step is one transaction that reads how it stands and writes what has become of it, so that it may be taken by any
relay, by a command beside it, and again after a restart. Refused: a second rollout beside one that is not over.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

from cloud.fleet import documents
from cloud.fleet.documents import Json, member_of, rollout_of, step_row
from cloud.fleet.offers import Offers
from cloud.fleet.rollout import (
    Member,
    Outcome,
    Plan,
    Rollout,
    Share,
    Verb,
    advance,
    change,
    progress_of,
)
from cloud.releases import Release
from medxz import limits
from medxz.accounts.base import SECOND_MS, Authority
from medxz.clock import format_time
from medxz.errors import Invalid, NotFound, RolloutState
from medxz.program.listing import make_cursor
from medxz.store.authority import fleet, rollouts
from medxz.store.authority.attempts import NO_CLINIC
from medxz.store.authority.audit import Entry
from medxz.store.authority.base import Tx
from medxz.wire import FailedHub, RolloutAnswer, RolloutHubs, RolloutRequest, RolloutRing, RolloutsAnswer

Releases = Callable[[], Awaitable[list[Release]]]


class Rollouts:
    """The use cases. `by` is an operator's id; None for a command of the cloud's own machine."""

    def __init__(self, authority: Authority, releases: Releases) -> None:
        self._authority: Final = authority
        self._releases: Final = releases

    async def begin(self, request: RolloutRequest, by: str | None = None) -> RolloutAnswer:
        """A new one, and its first hubs are offered it. RolloutState, Invalid."""
        kinds = Offers(await self._releases(), frozenset()).kinds_of(request.version)
        if not kinds:
            raise Invalid(f"there is no release {request.version}: medxz-cloud release add", field="version")
        if len(set(request.rings)) != len(request.rings):
            raise Invalid("each ring comes once", field="rings")
        rollout_id, now_ms = self._authority.ids.uuid7(), self._authority.clock.now_ms()
        plan = _plan(request, kinds)

        async def begin(tx: Tx) -> None:
            if await rollouts.under_way(tx) is not None:
                raise RolloutState("another rollout is not over yet: abort it first, or wait")
            before = {row.ring: row.version for row in await rollouts.rings(tx)}
            rollout = Rollout(
                rollout_id, plan, "running", now_ms, now_ms, {ring: before.get(ring) for ring in plan.rings}
            )
            await self._write(tx, Outcome(rollout), is_new=True)
            await self._note(tx, "rollout_begun", by, rollout_id, version=plan.version)
            await self._step(tx)

        await self._authority.decide(begin)
        return await self.get(rollout_id)

    async def change(self, rollout_id: str, verb: Verb, by: str | None = None) -> RolloutAnswer:
        """Pause, resume or abort. NotFound, RolloutState."""

        async def decide(tx: Tx) -> None:
            document = await rollouts.get(tx, rollout_id)
            if document is None:
                raise _no_such(rollout_id)
            rollout = rollout_of(document)
            members = await self._members(tx, rollout)
            outcome = change(rollout, verb, members, self._authority.clock.now_ms())
            await self._write(tx, outcome, members)
            await self._note(tx, f"rollout_{verb}", by, rollout_id)
            await self._step(tx)

        await self._authority.decide(decide)
        return await self.get(rollout_id)

    async def step(self) -> None:
        """Take what was heard of hubs into account, and go on."""
        if await self._authority.transactions.read(rollouts.under_way) is not None:
            await self._authority.decide(self._step)

    async def get(self, rollout_id: str) -> RolloutAnswer:
        async def read(tx: Tx) -> RolloutAnswer:
            document = await rollouts.get(tx, rollout_id)
            if document is None:
                raise _no_such(rollout_id)
            return await self._told(tx, document)

        return await self._authority.transactions.read(read)

    async def under_way(self) -> RolloutAnswer | None:
        """The one that is not over, if there is one."""

        async def read(tx: Tx) -> RolloutAnswer | None:
            document = await rollouts.under_way(tx)
            return None if document is None else await self._told(tx, document)

        return await self._authority.transactions.read(read)

    async def let_go(self, version: str, kind: str) -> None:
        """RolloutState where a rollout that is not over brings hubs that release, or would take some back to it."""

        async def read(tx: Tx) -> None:
            document = await rollouts.under_way(tx)
            if document is None:
                return
            rollout = rollout_of(document)
            steps = [row.step for row in await fleet.facts(tx) if row.step is not None]
            before = {step.before for step in steps if step.rollout_id == rollout.rollout_id}
            if version == rollout.plan.version and kind in rollout.plan.kinds:
                raise RolloutState(
                    f"a rollout brings {version} to hubs: abort it first, or wait until it is over"
                )
            if version in before | set(rollout.before.values()):
                raise RolloutState(f"a rollout that is not over would take hubs back to {version}")

        await self._authority.transactions.read(read)

    async def newest(self) -> str | None:
        """The one that was begun last."""
        found = await self._authority.transactions.read(lambda tx: rollouts.page(tx, None, 1))
        return str(found[0]["rollout_id"]) if found else None

    async def page(self, before: str | None, limit: int) -> RolloutsAnswer:
        """The newest first."""

        async def read(tx: Tx) -> RolloutsAnswer:
            found = await rollouts.page(tx, before, limit + 1)
            told = [await self._told(tx, document) for document in found[:limit]]
            more = make_cursor(told[-1].rollout_id) if len(found) > limit else None
            return RolloutsAnswer(rollouts=told, next_cursor=more)

        return await self._authority.transactions.read(read)

    async def _step(self, tx: Tx) -> None:
        document = await rollouts.under_way(tx)
        if document is None:
            return
        rollout = rollout_of(document)
        members = await self._members(tx, rollout)
        outcome = advance(rollout, members, self._authority.clock.now_ms())
        await self._write(tx, outcome, members, is_new=outcome.rollout != rollout)
        if outcome.rollout.state != rollout.state:
            await self._note(tx, f"rollout_{outcome.rollout.state}", None, rollout.rollout_id)

    async def _members(self, tx: Tx, rollout: Rollout) -> list[Member]:
        silent = self._authority.clock.now_ms() - limits.HUB_AWAY_S * SECOND_MS
        return [member_of(row, rollout.rollout_id, silent) for row in await fleet.facts(tx)]

    async def _write(
        self, tx: Tx, outcome: Outcome, members: Iterable[Member] = (), *, is_new: bool = True
    ) -> None:
        rollout = outcome.rollout
        for (clinic_id, hub_id), step in outcome.steps.items():
            await fleet.put_step(tx, clinic_id, hub_id, step_row(rollout.rollout_id, step))
        for ring, version in outcome.rings.items():
            await rollouts.set_version(tx, ring, version)
            await fleet.forget_steps(tx, ring, rollout.rollout_id)
        if is_new:
            document = documents.document_of(rollout)
            if rollout.is_over:  # later rollouts write over what is known of each hub
                document["hubs"] = _counts(rollout, members, outcome)
            await rollouts.put(tx, rollout.rollout_id, rollout.plan.version, rollout.state, document)

    async def _told(self, tx: Tx, document: Json) -> RolloutAnswer:
        rollout = rollout_of(document)
        counts: dict[str, dict[str, int]] = document.get("hubs") or _counts(
            rollout, await self._members(tx, rollout), Outcome(rollout)
        )
        total = sum((Counter(ring) for ring in counts.values()), Counter[str]())
        silent = self._authority.clock.now_ms() - limits.HUB_AWAY_S * SECOND_MS
        failed = await fleet.failed(tx, rollout.rollout_id, silent, limits.ROLLOUT_FAILED_TOLD_MAX)
        plan = rollout.plan
        return RolloutAnswer(
            rollout_id=rollout.rollout_id,
            version=plan.version,
            state=rollout.state,
            why=rollout.why,
            rings=list(plan.rings),
            ring=rollout.ring,
            serial=plan.serial.told(),
            max_failures=plan.max_failures.told(),
            wait_for_away_s=plan.wait_for_away_ms // SECOND_MS,
            take_within_s=plan.take_within_ms // SECOND_MS,
            settle_within_s=plan.settle_within_ms // SECOND_MS,
            begun_at=format_time(rollout.begun_at_ms),
            changed_at=format_time(rollout.changed_at_ms),
            hubs=RolloutHubs(**total),
            progress=[
                RolloutRing(ring=ring, before=rollout.before.get(ring), hubs=RolloutHubs(**counts[ring]))
                for ring in plan.rings
            ],
            failed=[_failed(row) for row in failed],
        )

    async def _note(self, tx: Tx, event: str, by: str | None, rollout_id: str, **detail: object) -> None:
        entry = Entry(event, user_id=by, entity_id=rollout_id, detail=detail)
        await self._authority.trail.append(tx, NO_CLINIC, entry)


def _plan(request: RolloutRequest, kinds: frozenset[str]) -> Plan:
    return Plan(
        version=request.version,
        rings=tuple(request.rings),
        kinds=kinds,
        serial=Share.read(request.serial),
        max_failures=Share.read(request.max_failures),
        wait_for_away_ms=request.wait_for_away_s * SECOND_MS,
        take_within_ms=request.take_within_s * SECOND_MS,
        settle_within_ms=request.settle_within_s * SECOND_MS,
    )


def _counts(rollout: Rollout, members: Iterable[Member], outcome: Outcome) -> dict[str, dict[str, int]]:
    """How many hubs of each ring are how far, once the outcome is."""
    counts: dict[str, Counter[str]] = {ring: Counter() for ring in rollout.plan.rings}
    for member in members:
        if member.ring in counts:
            step = outcome.steps.get(member.key)
            progress = progress_of(rollout.plan, member) if step is None else step.progress
            counts[member.ring].update(("total", progress))
    return {ring: dict(count) for ring, count in counts.items()}


def _failed(row: fleet.FleetRow) -> FailedHub:
    assert row.step is not None, "who failed has a step"
    return FailedHub(
        hub_id=row.hub_id,
        clinic_id=row.clinic_id,
        name=row.name,
        ring=row.ring,
        version=row.version,
        why=row.step.why,
        at=format_time(row.step.since_ms),
    )


def _no_such(rollout_id: str) -> NotFound:
    return NotFound(f"there is no rollout {rollout_id}; `medxz-cloud rollout status` shows those there are")
