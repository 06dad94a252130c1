"""Which other places' pages may ask this server, in a browser: those whose origin is named, exactly, and no others.

Tokens go in a header that a page sets itself, so nothing is ever allowed to come with credentials of the browser's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from medxz import limits

if TYPE_CHECKING:
    from aiohttp import web

    from medxz.web.call import Call

_EXPOSED: Final = "X-Request-ID, Retry-After, Medxz-Safe"
_HEADERS: Final = "Authorization, Content-Type, Content-Encoding, Last-Event-ID, X-Request-ID"


class Cors:
    """The origins of one server. With none, it is as if browsers had never heard of this."""

    def __init__(self, origins: frozenset[str]) -> None:
        self._origins: Final = origins

    def admit(self, call: Call) -> None:
        """Let the page read the answer to this request, whatever it will be, where its origin is named."""
        if not self._origins:
            return
        call.vary.append("Origin")
        origin = call.request.headers.get("Origin")
        if origin in self._origins:
            call.extra["Access-Control-Allow-Origin"] = origin
            call.extra["Access-Control-Expose-Headers"] = _EXPOSED

    def is_preflight(self, call: Call) -> bool:
        """Whether a browser asks whether a page of a named origin may ask."""
        headers = call.request.headers
        return (
            call.request.method == "OPTIONS"
            and headers.get("Origin") in self._origins
            and "Access-Control-Request-Method" in headers
        )

    def answer(self, call: Call, methods: str) -> web.StreamResponse:
        """What a page may ask of this path."""
        call.extra["Access-Control-Allow-Methods"] = methods
        call.extra["Access-Control-Allow-Headers"] = _HEADERS
        call.extra["Access-Control-Max-Age"] = str(limits.PREFLIGHT_S)
        return call.answer_nothing()
