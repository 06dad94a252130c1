"""What the operator of the fleet asks and decides, and what hubs report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medxz.service.fleet import HubsAsked
from medxz.service.gate import require
from medxz.web.handlers.room import Room, page_of, places_of, text_of
from medxz.wire import HubRingRequest, ReportRequest, RingRequest, RolloutRequest

if TYPE_CHECKING:
    from aiohttp import web

    from medxz.service.fleet import Verb
    from medxz.web.call import Call
    from medxz.web.handlers.room import Handler


class FleetRoom(Room):
    """/v1/fleet, whose callers are operators, and /v1/hubs/report."""

    def table(self) -> dict[str, Handler]:
        return {
            "hub_report": self._report,
            "fleet_hubs": self._hubs,
            "fleet_hub": self._hub,
            "fleet_rings": self._rings,
            "fleet_ring": self._ring,
            "fleet_rollouts": self._rollouts,
            "fleet_rollout_begin": self._begin,
            "fleet_rollout": self._rollout,
            "fleet_rollout_pause": self._changing("pause"),
            "fleet_rollout_resume": self._changing("resume"),
            "fleet_rollout_abort": self._changing("abort"),
        }

    async def _report(self, call: Call) -> web.StreamResponse:
        require(call.authorised(), "hub")
        message = await self._bodies.read_model(call, ReportRequest)
        return await self._model(call, await self._services.fleet.report(call.authorised(), message))

    async def _hubs(self, call: Call) -> web.StreamResponse:
        names = ("clinic", "site", "ring", "version", "health")
        asked = HubsAsked(*(text_of(call, name) for name in names))
        return await self._model(call, await self._services.fleet.hubs(asked, *page_of(call)))

    async def _hub(self, call: Call) -> web.StreamResponse:
        (hub_id,) = places_of(call)
        message = await self._bodies.read_model(call, HubRingRequest)
        told = await self._services.fleet.put_into_ring(call.operating(), hub_id, message)
        return await self._model(call, told)

    async def _rings(self, call: Call) -> web.StreamResponse:
        return await self._model(call, await self._services.fleet.rings())

    async def _ring(self, call: Call) -> web.StreamResponse:
        (ring,) = places_of(call)
        message = await self._bodies.read_model(call, RingRequest)
        return await self._model(call, await self._services.fleet.set_ring(call.operating(), ring, message))

    async def _rollouts(self, call: Call) -> web.StreamResponse:
        return await self._model(call, await self._services.fleet.rollouts(*page_of(call)))

    async def _begin(self, call: Call) -> web.StreamResponse:
        message = await self._bodies.read_model(call, RolloutRequest)
        return await self._model(call, await self._services.fleet.begin(call.operating(), message))

    async def _rollout(self, call: Call) -> web.StreamResponse:
        (rollout_id,) = places_of(call)
        return await self._model(call, await self._services.fleet.rollout(rollout_id))

    def _changing(self, verb: Verb) -> Handler:
        async def changed(call: Call) -> web.StreamResponse:
            (rollout_id,) = places_of(call)
            return await self._model(
                call, await self._services.fleet.change(call.operating(), rollout_id, verb)
            )

        return changed
