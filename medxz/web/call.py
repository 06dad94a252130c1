"""One request on its way through the HTTP face, and the headers that every answer has."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from medxz import limits
from medxz.web.sent import Whole

if TYPE_CHECKING:
    from aiohttp import web

    from medxz.endpoints import Endpoint
    from medxz.service import Caller
    from medxz.service.fleet import Operator

JSON: Final = "application/json"

_REQUEST_ID = re.compile(rf"[!-~]{{1,{limits.REQUEST_ID_CHARS_MAX}}}")

QueryValue = str | int | float


@dataclass(slots=True)
class Call:
    """A request, and what is known of it by now.

    `extra` is what the answer's headers get beside the usual; `waits` says that it may take long without being
    slow; `started` that its status has been sent, after which there is no other answer to give.
    """

    request: web.BaseRequest
    request_id: str
    endpoint: Endpoint | None = None
    caller: Caller | None = None
    operator: Operator | None = None
    query: dict[str, QueryValue] = field(default_factory=dict)
    path_values: tuple[str, ...] = ()
    extra: dict[str, str] = field(default_factory=dict)
    vary: list[str] = field(default_factory=lambda: ["Accept-Encoding"])
    held_bytes: int = 0
    waits: bool = False
    started: bool = False

    def authorised(self) -> Caller:
        """Whose request it is; only for endpoints that ask for a token."""
        assert self.caller is not None, "the table says that anyone may ask this"
        return self.caller

    def operating(self) -> Operator:
        """Which operator's it is; only for endpoints of the fleet."""
        assert self.operator is not None, "the table says that others may ask this"
        return self.operator

    @property
    def has_token(self) -> bool:
        """Whether it is known whose request it is."""
        return self.caller is not None or self.operator is not None

    def headers(self, content_type: str) -> dict[str, str]:
        return {
            "Content-Type": content_type,
            "Cache-Control": "no-store",
            "Vary": ", ".join(self.vary),
            "X-Content-Type-Options": "nosniff",
            "X-Request-ID": self.request_id,
            "Server": "medxz",
            **self.extra,
        }

    def answer(self, body: bytes, content_type: str = JSON, status: int = 200) -> Whole:
        return Whole(status, self.headers(content_type), (body,))

    def answer_nothing(self) -> Whole:
        """An answer that is its status alone."""
        fields = self.headers(JSON)
        del fields["Content-Type"]
        return Whole(HTTPStatus.NO_CONTENT, fields, ())


def client_request_id(request: web.BaseRequest) -> str | None:
    """The id that the client gave, where it is one that can be echoed: printable ASCII, no spaces, not long."""
    given = request.headers.get("X-Request-ID")
    return given if given is not None and _REQUEST_ID.fullmatch(given) else None
