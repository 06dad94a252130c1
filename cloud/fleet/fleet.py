"""The `Fleet` that a cloud serves (medxz/service/fleet.py), and the task that brings its rollouts on.

It is decided in the files that are named for it; here requests are read, reports limited, and steps taken: soon after
a hub has told something, and now and then, since time alone changes how a rollout stands.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from cloud.fleet.figures import Counts, figures
from cloud.fleet.hubs import BEGINNING, Hubs
from cloud.fleet.operators import Operators
from cloud.fleet.rollouts import Releases, Rollouts
from medxz import limits
from medxz.accounts.base import Authority
from medxz.errors import BadCursor, Forbidden, Invalid, MedxzError, TokenMissing
from medxz.ids import is_uuid
from medxz.program.listing import read_cursor
from medxz.service import Rates, Throttle
from medxz.service.gate import Caller, require
from medxz.waiting import first_of
from medxz.wire import (
    FleetHub,
    FleetHubsAnswer,
    HubRingRequest,
    ReportAnswer,
    ReportRequest,
    RingAnswer,
    RingRequest,
    RingsAnswer,
    RolloutAnswer,
    RolloutRequest,
    RolloutsAnswer,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client.metrics_core import Metric

    from cloud.fleet.rollout import Wish
    from medxz.service.fleet import HubsAsked, Operator, Verb

STEP_EVERY_S: Final = 30.0
"""Without a word of any hub."""
COUNT_EVERY_S: Final = 15.0
GATHER_S: Final = 1.0
"""What is heard within this is taken into account together."""


class CloudFleet:
    """One cloud process'. `run` it beside the serving."""

    def __init__(self, authority: Authority, releases: Releases) -> None:
        self._clock: Final = authority.clock
        self._operators: Final = Operators(authority)
        self._hubs: Final = Hubs(authority, releases)
        self._rollouts: Final = Rollouts(authority, releases)
        rate = 1 / limits.REPORT_EVERY_S_MIN
        burst = limits.REPORTS_AT_ONCE_MAX
        self._throttle: Final = Throttle(Rates(rate, burst, rate, burst), authority.clock)
        self._heard: Final = asyncio.Event()
        self._counts: Counts | None = None
        self._count_at = 0.0

    async def run(self) -> None:
        """Until it is cancelled; a database that does not answer is asked again."""
        while True:
            self._heard.clear()
            with suppress(MedxzError):
                await self._rollouts.step()
            await self._count()
            await self._clock.sleep(GATHER_S)
            await first_of(self._heard.wait(), self._clock.sleep(STEP_EVERY_S))

    def figures(self) -> Iterator[Metric]:
        """What /metrics tells of it: as it was counted last, and nothing where it can't be counted."""
        return iter(()) if self._counts is None else figures(self._counts)

    async def identify(self, bearer: str | None) -> Operator:
        if not bearer:
            raise TokenMissing("this request needs a token")
        return await self._operators.identify(bearer)

    async def hubs(self, asked: HubsAsked, cursor: str | None, limit: int) -> FleetHubsAnswer:
        return await self._hubs.page(asked, _hub_place(cursor), limit)

    async def put_into_ring(self, operator: Operator, hub_id: str, request: HubRingRequest) -> FleetHub:
        by = _steering(operator)
        self._heard.set()
        return await self._hubs.put_into_ring(hub_id, request, by)

    async def rings(self) -> RingsAnswer:
        return await self._hubs.rings()

    async def set_ring(self, operator: Operator, ring: str, request: RingRequest) -> RingAnswer:
        return await self._hubs.set_ring(ring, request, _steering(operator))

    async def rollouts(self, cursor: str | None, limit: int) -> RolloutsAnswer:
        place = _place(cursor)
        if place is not None and not is_uuid(place):
            raise _no_cursor()
        return await self._rollouts.page(place, limit)

    async def rollout(self, rollout_id: str) -> RolloutAnswer:
        return await self._rollouts.get(rollout_id)

    async def begin(self, operator: Operator, request: RolloutRequest) -> RolloutAnswer:
        return await self._rollouts.begin(request, _steering(operator))

    async def change(self, operator: Operator, rollout_id: str, verb: Verb) -> RolloutAnswer:
        return await self._rollouts.change(rollout_id, verb, _steering(operator))

    async def report(self, caller: Caller, request: ReportRequest) -> ReportAnswer:
        require(caller, "hub")
        self._throttle.take_request(caller)
        assert caller.hub_id is not None, "who has the role is a hub"
        answer = await self._hubs.report(caller.clinic_id, caller.hub_id, request)
        self._heard.set()
        return answer

    async def _count(self) -> None:
        """Now and then: nobody looks at it more often."""
        if self._clock.monotonic() < self._count_at:
            return
        self._count_at = self._clock.monotonic() + COUNT_EVERY_S
        try:
            self._counts = Counts(await self._hubs.counts(), await self._rollouts.under_way())
        except MedxzError:
            self._counts = None

    async def wanted(self, caller: Caller, kind: str, version: str | None) -> tuple[Wish, frozenset[str]]:
        """For the releases of this cloud: what a hub is to run, and what comes to nobody for being the newest."""
        assert caller.hub_id is not None, "who has the role is a hub"
        wish = await self._hubs.wanted(caller.clinic_id, caller.hub_id, kind, version)
        self._heard.set()
        return wish


def _steering(operator: Operator) -> str:
    """Who decides; Forbidden where the token only reads."""
    if operator.read_only:
        raise Forbidden("this token reads the fleet, and decides nothing in it")
    return operator.operator_id


def _place(cursor: str | None) -> str | None:
    """What a cursor of these lists names: they hold nothing that who asks may not see, so none is sealed."""
    try:
        return read_cursor(cursor)
    except Invalid:
        raise _no_cursor() from None


def _hub_place(cursor: str | None) -> tuple[str, str]:
    place = _place(cursor)
    if place is None:
        return BEGINNING
    clinic_id, _, hub_id = place.partition("/")
    if not (is_uuid(clinic_id) and is_uuid(hub_id)):
        raise _no_cursor()
    return clinic_id, hub_id


def _no_cursor() -> BadCursor:
    return BadCursor("this is not a cursor of this list")
