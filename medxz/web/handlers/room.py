"""What the handlers of one subject have in common: how a request is read, and how it is answered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medxz.web.query import read_places

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiohttp import web
    from pydantic import BaseModel

    from medxz.service import ClinicServices, Services
    from medxz.web.answers import Answers
    from medxz.web.body import Bodies
    from medxz.web.call import Call

    Handler = Callable[[Call], Awaitable[web.StreamResponse]]


class Room:
    """The handlers of one subject."""

    def __init__(self, services: Services, bodies: Bodies, answers: Answers) -> None:
        self._services = services
        self._bodies = bodies
        self._answers = answers

    async def _clinic(self, call: Call) -> ClinicServices:
        """The services of the caller's clinic: no request reaches those of another."""
        return await self._services.clinic(call.authorised())

    async def _model(self, call: Call, model: BaseModel, status: int = 200) -> web.StreamResponse:
        return await self._answers.answer(call, model.model_dump_json().encode(), status=status)


def text_of(call: Call, name: str) -> str | None:
    """A parameter of the query, where it was given."""
    given = call.query.get(name)
    return None if given is None else str(given)


def page_of(call: Call) -> tuple[str | None, int]:
    """Where a page of a list begins, and how long it may be."""
    return text_of(call, "cursor"), int(call.query["limit"])


def places_of(call: Call) -> tuple[str, ...]:
    """What stands in the places of the path."""
    assert call.endpoint is not None, "a handler of the table is found by its endpoint"
    return read_places(call.endpoint.places, call.path_values)
