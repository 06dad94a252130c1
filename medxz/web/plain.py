"""A page or two for people, without the API behind: a request as data goes in, a whole page comes out.

For what a program shows before it is a server. The page may load nothing and send its form to itself alone; it may be
framed by nobody and kept by nobody. Refused before anybody is asked: bodies that are no short form.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl

from aiohttp import web

from medxz import limits
from medxz.web.lasting import Lasting
from medxz.web.log import told
from medxz.web.server import serve

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from structlog.typing import FilteringBoundLogger

    from medxz.web.server import Serving

FORM_TYPE: Final = "application/x-www-form-urlencoded"
FORM_BYTES_MAX: Final = 8 * limits.KIB
FORM_FIELDS_MAX: Final = 16
FORM_S_MAX: Final = 10.0
CONNECTIONS_MAX: Final = 64

_HTML: Final = "text/html; charset=utf-8"
_ALWAYS: Final = {
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    # not no-referrer: with it a browser sends `Origin: null` with our own form
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


@dataclass(frozen=True, slots=True)
class Asked:
    """A request. `origin` and `fetch_site`: what the browser says of the page that sent it, None where it says nothing."""

    method: str
    path: str
    host: str
    origin: str | None = None
    fetch_site: str | None = None
    form: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Shown:
    """An answer. `style` is the one style that the page may have in it; `location` is where a browser goes on."""

    body: str
    status: int = 200
    style: str = ""
    location: str | None = None
    content_type: str = _HTML
    retry_after_s: int | None = None


async def serve_pages(
    show: Callable[[Asked], Awaitable[Shown]], log: FilteringBoundLogger, sockets: Sequence[socket.socket]
) -> Serving:
    """Serve what `show` gives, by plain HTTP."""
    return await serve(_Pages(show, log), sockets=sockets, connections_max=CONNECTIONS_MAX)


class _Pages:
    def __init__(self, show: Callable[[Asked], Awaitable[Shown]], log: FilteringBoundLogger) -> None:
        self.log: Final = log
        self.lasting: Final = Lasting(0)
        self._show: Final = show

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            form = await _form(request)
            shown = (
                Shown("this is no form\n", 400) if form is None else await self._show(_asked(request, form))
            )
        except ConnectionError:
            raise
        except Exception as error:  # noqa: BLE001  # the root of a request: it must be answered
            self.log.error("page broke", **told(error))  # noqa: TRY400
            shown = Shown(
                "something went wrong here; the box's log tells what\n", 500, content_type="text/plain"
            )
        response = _response(shown, with_body=request.method != "HEAD")
        if not request.content.is_eof():
            response.force_close()
        return response

    def refuse(self, request: web.BaseRequest) -> web.StreamResponse:  # noqa: ARG002  # what could not be read
        return _response(Shown("this can't be read\n", 400, content_type="text/plain"), with_body=True)


def _asked(request: web.BaseRequest, form: Mapping[str, str]) -> Asked:
    headers = request.headers
    return Asked(
        request.method, request.path, headers.get("Host", ""), headers.get("Origin"),
        headers.get("Sec-Fetch-Site"), form,
    )  # fmt: skip


async def _form(request: web.BaseRequest) -> Mapping[str, str] | None:
    """The fields of the form; none where nothing was sent, None where it is not one."""
    if request.method != "POST":
        return {}
    length = request.content_length
    if request.content_type != FORM_TYPE or (length is not None and length > FORM_BYTES_MAX):
        return None
    body = bytearray()
    try:
        async with asyncio.timeout(FORM_S_MAX):
            async for chunk in request.content.iter_any():
                body += chunk
                if len(body) > FORM_BYTES_MAX:
                    return None
        return dict(
            parse_qsl(
                body.decode("ascii"), keep_blank_values=True, max_num_fields=FORM_FIELDS_MAX, errors="strict"
            )
        )
    except (TimeoutError, ValueError, web.RequestPayloadError):
        return None


def _response(shown: Shown, *, with_body: bool) -> web.Response:
    body = shown.body.encode()
    headers = {**_ALWAYS, "Content-Security-Policy": _policy(shown.style), "Content-Type": shown.content_type}
    if shown.location is not None:
        headers["Location"] = shown.location
    if shown.retry_after_s is not None:
        headers["Retry-After"] = str(shown.retry_after_s)
    if not with_body:
        headers["Content-Length"] = str(len(body))
    return web.Response(status=shown.status, headers=headers, body=body if with_body else None)


def _policy(style: str) -> str:
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    styles = f"'sha256-{digest}'" if style else "'none'"
    return (
        f"default-src 'none'; style-src {styles}; img-src data:; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'"
    )
