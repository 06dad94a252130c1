"""The fleet: what its operator asks and decides, and what hubs report. The cloud has one; a hub has none.

An operator is no `Caller`: there is no clinic whose records could be asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from medxz.errors import Forbidden
from medxz.service.gate import require

if TYPE_CHECKING:
    from medxz.service.gate import Caller
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

Verb = Literal["pause", "resume", "abort"]


@dataclass(frozen=True, slots=True)
class Operator:
    """Who keeps the fleet, by a token; or only looks at it."""

    operator_id: str
    name: str
    token_id: str
    read_only: bool = False

    @property
    def owner(self) -> tuple[str, str]:
        """What it is counted and limited under, beside clinics and their devices."""
        return "", self.operator_id


@dataclass(frozen=True, slots=True)
class HubsAsked:
    """Which hubs a list is asked for."""

    clinic_id: str | None = None
    site_id: str | None = None
    ring: str | None = None
    version: str | None = None
    health: str | None = None


class Fleet(Protocol):
    """The use cases. What takes an `Operator` is Forbidden to one whose token only reads."""

    async def identify(self, bearer: str | None) -> Operator:
        """TokenInvalid, TokenExpired or SessionRevoked; Forbidden where this server has no fleet."""
        ...

    async def hubs(self, asked: HubsAsked, cursor: str | None, limit: int) -> FleetHubsAnswer:
        """Every hub that was not revoked, of every clinic, by clinic and id. BadCursor."""
        ...

    async def put_into_ring(self, operator: Operator, hub_id: str, request: HubRingRequest) -> FleetHub:
        """NotFound; Invalid where two clinics have one of that id and none was named."""
        ...

    async def rings(self) -> RingsAnswer: ...

    async def set_ring(self, operator: Operator, ring: str, request: RingRequest) -> RingAnswer:
        """Invalid where there is no such release, or there would be too many rings."""
        ...

    async def rollouts(self, cursor: str | None, limit: int) -> RolloutsAnswer: ...

    async def rollout(self, rollout_id: str) -> RolloutAnswer:
        """NotFound where there is none."""
        ...

    async def begin(self, operator: Operator, request: RolloutRequest) -> RolloutAnswer:
        """RolloutState where another one is under way, Invalid where there is no such release."""
        ...

    async def change(self, operator: Operator, rollout_id: str, verb: Verb) -> RolloutAnswer:
        """RolloutState where it is over."""
        ...

    async def report(self, caller: Caller, request: ReportRequest) -> ReportAnswer:
        """What a hub tells of itself, and what is wanted of it. Forbidden, RateLimited."""
        ...


class NoFleet:
    """That of a server which has none."""

    async def identify(self, _bearer: str | None) -> Operator:
        raise _none()

    async def hubs(self, _asked: HubsAsked, _cursor: str | None, _limit: int) -> FleetHubsAnswer:
        raise _none()

    async def put_into_ring(self, _operator: Operator, _hub_id: str, _request: HubRingRequest) -> FleetHub:
        raise _none()

    async def rings(self) -> RingsAnswer:
        raise _none()

    async def set_ring(self, _operator: Operator, _ring: str, _request: RingRequest) -> RingAnswer:
        raise _none()

    async def rollouts(self, _cursor: str | None, _limit: int) -> RolloutsAnswer:
        raise _none()

    async def rollout(self, _rollout_id: str) -> RolloutAnswer:
        raise _none()

    async def begin(self, _operator: Operator, _request: RolloutRequest) -> RolloutAnswer:
        raise _none()

    async def change(self, _operator: Operator, _rollout_id: str, _verb: Verb) -> RolloutAnswer:
        raise _none()

    async def report(self, caller: Caller, _request: ReportRequest) -> ReportAnswer:
        require(caller, "hub")
        raise _none()


def _none() -> Forbidden:
    return Forbidden("a hub has no fleet; ask the cloud")
