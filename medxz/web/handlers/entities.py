"""What ops amount to: entities, their history, their conflicts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medxz.service.wanted import Wanted
from medxz.web.handlers.room import Room, page_of, places_of, text_of

if TYPE_CHECKING:
    from aiohttp import web

    from medxz.service.conflicts import ConflictState
    from medxz.web.call import Call
    from medxz.web.handlers.room import Handler


class EntitiesRoom(Room):
    """/v1/entities and /v1/conflicts."""

    def table(self) -> dict[str, Handler]:
        return {
            "entity": self._entity,
            "entities": self._entities,
            "entity_ops": self._entity_ops,
            "history": self._history,
            "conflicts": self._conflicts,
            "conflict": self._conflict,
        }

    async def _entity(self, call: Call) -> web.StreamResponse:
        entity_type, entity_id = places_of(call)
        clinic = await self._clinic(call)
        found = await clinic.entities.one(call.authorised(), entity_type, entity_id)
        return await self._answers.answer(call, found)

    async def _entities(self, call: Call) -> web.StreamResponse:
        (entity_type,) = places_of(call)
        wanted = Wanted(entity_type, *(text_of(call, name) for name in ("q", "patient", "from", "to")))
        clinic = await self._clinic(call)
        found = await clinic.entities.page(call.authorised(), wanted, *page_of(call))
        return await self._answers.answer(call, found)

    async def _entity_ops(self, call: Call) -> web.StreamResponse:
        entity_type, entity_id = places_of(call)
        clinic = await self._clinic(call)
        found = await clinic.entities.ops(call.authorised(), entity_type, entity_id, *page_of(call))
        return await self._answers.answer(call, found)

    async def _history(self, call: Call) -> web.StreamResponse:
        entity_type, entity_id = places_of(call)
        clinic = await self._clinic(call)
        found = await clinic.entities.history(call.authorised(), entity_type, entity_id, *page_of(call))
        return await self._answers.answer(call, found)

    async def _conflicts(self, call: Call) -> web.StreamResponse:
        state: ConflictState = "resolved" if call.query["state"] == "resolved" else "open"
        clinic = await self._clinic(call)
        found = await clinic.conflicts.page(call.authorised(), state, *page_of(call))
        return await self._answers.answer(call, found)

    async def _conflict(self, call: Call) -> web.StreamResponse:
        (conflict_id,) = places_of(call)
        clinic = await self._clinic(call)
        return await self._answers.answer(call, await clinic.conflicts.one(call.authorised(), conflict_id))
