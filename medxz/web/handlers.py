"""One handler for each endpoint of the table: HTTP on one side, one call of a service on the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from medxz.endpoints import ENDPOINTS
from medxz.errors import NotFound
from medxz.service.wanted import Wanted
from medxz.web.lasting import ServerStops
from medxz.web.query import read_places
from medxz.wire import ReenrolRequest, ResumeRequest

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from aiohttp import web
    from pydantic import BaseModel

    from medxz.service import Services
    from medxz.service.conflicts import ConflictState
    from medxz.web.answers import Answers
    from medxz.web.body import Bodies
    from medxz.web.call import Call
    from medxz.web.lasting import Lasting
    from medxz.web.pages import Pages

    Handler = Callable[[Call], Awaitable[web.StreamResponse]]

METRICS_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


class Handlers:
    """The handlers of one server, named as their endpoints are."""

    def __init__(
        self,
        services: Services,
        bodies: Bodies,
        answers: Answers,
        lasting: Lasting,
        pages: Pages,
        sent_as_made: Mapping[str, Handler],
    ) -> None:
        self._services = services
        self._bodies = bodies
        self._answers = answers
        self._lasting = lasting
        self._pages = pages
        self._sent_as_made = sent_as_made

    def table(self) -> dict[str, Handler]:
        """Every endpoint's handler; the program does not start where one is missing."""
        handlers: dict[str, Handler] = {
            "push": self._push,
            "pull": self._pull,
            "resume": self._resume,
            **self._sent_as_made,
            "status": self._status,
            "watermarks": self._watermarks,
            "entity": self._entity,
            "entities": self._entities,
            "entity_ops": self._entity_ops,
            "history": self._history,
            "conflicts": self._conflicts,
            "conflict": self._conflict,
            "reviews": self._reviews,
            "config": self._config,
            "enroll": self._enroll,
            "info": self._info,
            "dictionary": self._dictionary,
            "health_live": self._health_live,
            "health_ready": self._health_ready,
            "health": self._health,
            "metrics": self._metrics,
            "openapi": self._openapi,
            "docs": self._docs,
        }
        names = {endpoint.name for endpoint in ENDPOINTS}
        assert handlers.keys() == names, f"handlers and table differ: {sorted(handlers.keys() ^ names)}"
        return handlers

    async def _push(self, call: Call) -> web.StreamResponse:
        body = await self._bodies.read(call)
        return await self._answers.answer(call, await self._services.push.push(call.authorised(), body))

    async def _pull(self, call: Call) -> web.StreamResponse:
        caller, wait_s = call.authorised(), float(call.query["wait"])
        cursor, limit = _page_of(call)
        if wait_s > 0:
            call.waits = True
            try:
                with self._lasting.held(call.request):
                    page = await self._services.pull.page(caller, cursor, limit, wait_s)
                return await self._answers.answer_parts(call, page)
            except ServerStops:
                pass  # it gets what there is now
        return await self._answers.answer_parts(
            call, await self._services.pull.page(caller, cursor, limit, 0.0)
        )

    async def _resume(self, call: Call) -> web.StreamResponse:
        message = await self._bodies.read_model(call, ResumeRequest)
        return await self._model(call, await self._services.pull.resume(call.authorised(), message))

    async def _status(self, call: Call) -> web.StreamResponse:
        return await self._model(call, await self._services.status.status(call.authorised()))

    async def _watermarks(self, call: Call) -> web.StreamResponse:
        return await self._model(call, await self._services.status.watermarks(call.authorised()))

    async def _entity(self, call: Call) -> web.StreamResponse:
        found = await self._services.entities.one(call.authorised(), *_entity_of(call))
        return await self._answers.answer(call, found)

    async def _entities(self, call: Call) -> web.StreamResponse:
        (entity_type,) = _places(call)
        query = {name: _text(call, name) for name in ("q", "patient", "from", "to")}
        wanted = Wanted(entity_type, query["q"], query["patient"], query["from"], query["to"])
        found = await self._services.entities.page(call.authorised(), wanted, *_page_of(call))
        return await self._answers.answer(call, found)

    async def _entity_ops(self, call: Call) -> web.StreamResponse:
        entity_type, entity_id = _entity_of(call)
        found = await self._services.entities.ops(call.authorised(), entity_type, entity_id, *_page_of(call))
        return await self._answers.answer(call, found)

    async def _history(self, call: Call) -> web.StreamResponse:
        entity_type, entity_id = _entity_of(call)
        found = await self._services.entities.history(
            call.authorised(), entity_type, entity_id, *_page_of(call)
        )
        return await self._answers.answer(call, found)

    async def _conflicts(self, call: Call) -> web.StreamResponse:
        state: ConflictState = "resolved" if call.query["state"] == "resolved" else "open"
        found = await self._services.conflicts.page(call.authorised(), state, *_page_of(call))
        return await self._answers.answer(call, found)

    async def _conflict(self, call: Call) -> web.StreamResponse:
        (conflict_id,) = _places(call)
        return await self._answers.answer(
            call, await self._services.conflicts.one(call.authorised(), conflict_id)
        )

    async def _reviews(self, call: Call) -> web.StreamResponse:
        return await self._model(call, await self._services.reviews.list(call.authorised(), *_page_of(call)))

    async def _config(self, call: Call) -> web.StreamResponse:
        return await self._model(call, self._services.describe.config(call.authorised()))

    async def _enroll(self, call: Call) -> web.StreamResponse:
        message = await self._bodies.read_model(call, ReenrolRequest)
        return await self._model(call, await self._services.enrolment.reenrol(call.authorised(), message))

    async def _info(self, call: Call) -> web.StreamResponse:
        return await self._model(call, self._services.describe.info())

    async def _dictionary(self, call: Call) -> web.StreamResponse:
        (dictionary_id,) = call.path_values
        if not dictionary_id.isascii():
            raise NotFound("there is no such dictionary")
        content = self._services.describe.dictionary(dictionary_id)
        # its name is its hash: it never changes. Browsers take it up for what they ask of /v1 later (RFC 9842)
        call.extra["Cache-Control"] = "public, max-age=31536000, immutable"
        call.extra["Use-As-Dictionary"] = 'match="/v1/*"'
        return call.answer(content, "application/octet-stream")

    async def _health_live(self, call: Call) -> web.StreamResponse:
        return await self._model(call, await self._services.health.live())

    async def _health_ready(self, call: Call) -> web.StreamResponse:
        health = await self._services.health.ready()
        return await self._model(call, health, 200 if health.ok else 503)

    async def _health(self, call: Call) -> web.StreamResponse:
        return await self._model(call, await self._services.health.full())

    async def _metrics(self, call: Call) -> web.StreamResponse:
        return await self._answers.answer(call, self._services.metrics.render(), METRICS_TYPE)

    async def _openapi(self, call: Call) -> web.StreamResponse:
        return await self._answers.answer(call, self._pages.openapi)

    async def _docs(self, call: Call) -> web.StreamResponse:
        return await self._pages.serve(call, "docs.html")

    async def _model(self, call: Call, model: BaseModel, status: int = 200) -> web.StreamResponse:
        return await self._answers.answer(call, model.model_dump_json().encode(), status=status)


def _text(call: Call, name: str) -> str | None:
    given = call.query.get(name)
    return None if given is None else str(given)


def _page_of(call: Call) -> tuple[str | None, int]:
    """Where a page of a list begins, and how long it may be."""
    return _text(call, "cursor"), int(call.query["limit"])


def _places(call: Call) -> tuple[str, ...]:
    assert call.endpoint is not None, "a handler of the table is found by its endpoint"
    return read_places(call.endpoint.places, call.path_values)


def _entity_of(call: Call) -> tuple[str, str]:
    entity_type, entity_id = _places(call)
    return entity_type, entity_id
