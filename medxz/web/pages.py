"""`/docs` and its files: a viewer of /openapi.json that asks nothing of any other place."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp import web

    from medxz.web.answers import Answers
    from medxz.web.call import Call

# path -> file, for what the page loads; /docs itself is in the table of endpoints
STATIC_PATHS: Final = {"/docs/docs.js": "docs.js", "/docs/docs.css": "docs.css"}

CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
}


class Pages:
    """The files, read once."""

    def __init__(self, openapi: Callable[[], bytes], answers: Answers) -> None:
        self._openapi = openapi
        self._answers = answers
        folder = files("medxz.web") / "static"
        self._files = {name: (folder / name).read_bytes() for name in ("docs.html", *STATIC_PATHS.values())}

    @property
    def openapi(self) -> bytes:
        return self._openapi()

    async def serve(self, call: Call, name: str) -> web.StreamResponse:
        call.extra["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
        call.extra["Referrer-Policy"] = "no-referrer"
        content_type = _TYPES[name[name.rindex(".") :]]
        return await self._answers.answer(call, self._files[name], content_type)
