"""Which handler a method and a path mean. A path that is known with another method is told apart from none."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote

from medxz.errors import MethodNotAllowed, NotFound

if TYPE_CHECKING:
    from medxz.endpoints import Endpoint
    from medxz.web.call import Call
    from medxz.web.handlers.room import Handler

_AS_IT_IS_MADE = frozenset({"text/event-stream", "application/x-ndjson"})
_PLACE = re.compile(r"\{[a-z_]+\}")


@dataclass(frozen=True, slots=True)
class Route:
    """A handler, and its endpoint where it is one of the table's."""

    handler: Handler
    endpoint: Endpoint | None = None


class Routes:
    """The paths of a server."""

    def __init__(self) -> None:
        self._exact: dict[str, dict[str, Route]] = {}
        self._patterns: list[tuple[re.Pattern[str], dict[str, Route]]] = []

    def add(self, method: str, path: str, route: Route) -> None:
        """Add one; what can be got can be asked for its head too, but for what is sent as it is made."""
        found = self._exact.get(path)
        if found is None:
            found = self._exact[path] = {}
            if _PLACE.search(path):
                self._patterns.append((re.compile(_PLACE.sub("([^/]+)", path)), found))
        found[method] = route
        if method == "GET" and (route.endpoint is None or route.endpoint.media not in _AS_IT_IS_MADE):
            found["HEAD"] = route

    def find(self, call: Call) -> Route:
        """The route of a request; NotFound, or MethodNotAllowed with the `Allow` that it needs."""
        methods = self._methods(call)
        route = methods.get(call.request.method)
        if route is None:
            call.extra["Allow"] = ", ".join(sorted(methods))
            raise MethodNotAllowed("this path is there, but not with this method")
        return route

    def allowed(self, call: Call) -> str:
        """The methods that the path has; NotFound where it has none."""
        return ", ".join(sorted(self._methods(call)))

    def _methods(self, call: Call) -> dict[str, Route]:
        path = call.request.rel_url.raw_path
        methods = self._exact.get(path)
        return self._match(path, call) if methods is None else methods

    def _match(self, path: str, call: Call) -> dict[str, Route]:
        for pattern, methods in self._patterns:
            match = pattern.fullmatch(path)
            if match is not None:
                call.path_values = tuple(unquote(part) for part in match.groups())
                return methods
        raise NotFound("there is no such path here; /docs lists what there is")
