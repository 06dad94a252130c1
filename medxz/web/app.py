"""The HTTP face of a server: what a request goes through, whatever it asks for.

One function does it all: the request's id, its route, who asks, the query, the handler, the problem document of
whatever was raised, the metric and the log line. Bodies, answers and streams have files of their own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from medxz import limits
from medxz.endpoints import ENDPOINTS
from medxz.errors import BadRequest, InternalError, Refusal, TokenInvalid
from medxz.service.gate import require
from medxz.trust.operators import is_operators
from medxz.web.answers import Answers
from medxz.web.body import Bodies
from medxz.web.call import Call, client_request_id
from medxz.web.cors import Cors
from medxz.web.handlers import handlers_of
from medxz.web.lasting import Lasting
from medxz.web.live import PARAMETERS as LIVE_PARAMETERS
from medxz.web.live import Live
from medxz.web.log import told
from medxz.web.openapi import openapi_document
from medxz.web.pages import STATIC_PATHS, Pages
from medxz.web.problem import problem_answer
from medxz.web.pushes import Pushes
from medxz.web.query import read_query
from medxz.web.routes import Route, Routes
from medxz.web.snapshot import Snapshots
from medxz.web.stream import Streams
from medxz.wire.live import LIVE_PATH

if TYPE_CHECKING:
    from aiohttp import web
    from structlog.typing import FilteringBoundLogger

    from medxz.clock import Clock
    from medxz.ids import Ids
    from medxz.service import Services
    from medxz.web.handlers.room import Handler
    from medxz.work import Worker

SLOW_S: Final = 1.0

_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class App:
    """Answers requests. It opens no socket: `medxz.web.server.serve` does."""

    def __init__(
        self,
        services: Services,
        log: FilteringBoundLogger,
        *,
        ids: Ids,
        clock: Clock,
        worker: Worker,
        cors_origins: frozenset[str] = frozenset(),
        streams_max: int = limits.STREAMS_MAX,
        pushes: Pushes | None = None,
    ) -> None:
        """`cors_origins`: the places whose pages may ask, each as a browser writes it (`https://host:port`).

        `pushes`: where whoever restarts the machine looks whether anybody is pushing.
        """
        self.log = log
        self.lasting = Lasting(streams_max)
        self._cors = Cors(cors_origins)
        self._services = services
        self._ids = ids
        self._monotonic = clock.monotonic
        self._bodies = Bodies(services.describe.dictionary, worker)
        answers = Answers(self._bodies, worker)
        pages = Pages(openapi_document(services.describe.info().version), answers)
        sent_as_made: dict[str, Handler] = {
            "stream": Streams(services, self.lasting, self._bodies, worker).serve,
            "snapshot": Snapshots(services, self.lasting, worker).serve,
        }
        handlers = handlers_of(
            services,
            self._bodies,
            answers,
            self.lasting,
            pages,
            pushes=pushes or Pushes(clock.monotonic),
            sent_as_made=sent_as_made,
        )
        self._routes = Routes()
        for endpoint in ENDPOINTS:
            self._routes.add(endpoint.method, endpoint.path, Route(handlers[endpoint.name], endpoint))
        for path, name in STATIC_PATHS.items():
            self._routes.add("GET", path, Route(_page(pages, name)))
        self._live = Live(services, self.lasting, clock)
        self._routes.add("GET", LIVE_PATH, Route(self._live_line))

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """The answer to a request, whatever happens; only a client that has gone gets none."""
        started = self._monotonic()
        call = Call(request, client_request_id(request) or self._ids.uuid7())
        try:
            response = await self._dispatch(call)
        except Refusal as refusal:
            response = problem_answer(refusal, call)
        except ConnectionError:
            self._note(call, 499, self._monotonic() - started)
            raise
        except Exception as error:  # noqa: BLE001  # the root of a request: it must be answered
            # not its text, which may quote what it choked on
            self.log.error("request broke", request_id=call.request_id, **told(error))  # noqa: TRY400
            if call.started:
                raise ConnectionAbortedError("an answer broke off") from None
            response = problem_answer(InternalError("the server failed; its log tells why"), call)
        finally:
            self._bodies.release(call)
        if request.headers.get("Expect") is not None and not request.content.is_eof():
            response.force_close()  # what the client sends next may be the body or a new request
        self._note(call, response.status, self._monotonic() - started)
        return response

    def refuse(self, request: web.BaseRequest) -> web.StreamResponse:
        """The answer to what could not be read as a request."""
        call = Call(request, self._ids.uuid7())
        refusal = BadRequest("the request line or a header can't be read, or is too long")
        self._note(call, refusal.status, 0.0)
        return problem_answer(refusal, call)

    async def _dispatch(self, call: Call) -> web.StreamResponse:
        self._cors.admit(call)
        if self._cors.is_preflight(call):
            return self._cors.answer(call, self._routes.allowed(call))
        route = self._routes.find(call)
        endpoint = route.endpoint
        if endpoint is None:
            return await route.handler(call)
        call.endpoint = endpoint
        if endpoint.access != "anyone" and (
            endpoint.access != "optional" or "Authorization" in call.request.headers
        ):
            await self._identify(call)
        call.query = read_query(endpoint.parameters, call.request.rel_url.raw_query_string)
        return await route.handler(call)

    async def _identify(self, call: Call) -> None:
        bearer, is_fleets = (
            _bearer(call.request),
            call.endpoint is not None and call.endpoint.access == "operator",
        )
        if is_fleets and is_operators(bearer):
            call.operator = await self._services.fleet.identify(bearer)
            self._services.throttle.take_request(call.operator)
            return
        call.caller = await self._services.gate.identify(bearer)
        self._services.throttle.take_request(call.caller)
        if is_fleets:
            require(call.caller, "operator")

    async def _live_line(self, call: Call) -> web.StreamResponse:
        """It is no request with an answer, so the table of endpoints has it not."""
        await self._identify(call)
        call.query = read_query(LIVE_PARAMETERS, call.request.rel_url.raw_query_string)
        return await self._live.serve(call)

    def _note(self, call: Call, status: int, seconds: float) -> None:
        """Count the request, and say it where it failed or took long."""
        name = call.endpoint.name if call.endpoint is not None else "none"
        self._services.metrics.observe(name, status, seconds)
        slow = seconds > SLOW_S and not call.waits
        if status < 400 and not slow:
            return
        say = self.log.warning if status >= 500 or slow else self.log.info
        say(
            "request failed" if status >= 400 else "request slow",
            request_id=call.request_id,
            method=call.request.method if call.request.method in _METHODS else "other",
            endpoint=name,
            status=status,
            ms=round(seconds * 1000, 1),
            device_id=call.caller.device_id if call.caller is not None else None,
        )


def _page(pages: Pages, name: str) -> Handler:
    async def handler(call: Call) -> web.StreamResponse:
        return await pages.serve(call, name)

    return handler


def _bearer(request: web.BaseRequest) -> str | None:
    header = request.headers.get("Authorization")
    if header is None:
        return None
    scheme, _, token = header.partition(" ")
    if scheme.lower() != "bearer":
        return None
    if not token.isascii():
        raise TokenInvalid("the token is not one")
    return token.strip()
