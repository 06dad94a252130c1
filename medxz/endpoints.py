"""The table of the protocol's endpoints: what the routes, the OpenAPI document and the tests are made from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal

from medxz import errors, limits, wire

Access = Literal["anyone", "device", "device_or_hub", "hub_or_admin", "admin"]


@dataclass(frozen=True, slots=True)
class Parameter:
    """One query parameter, as a JSON schema."""

    name: str
    schema: dict[str, object]
    about: str


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One method of one path: who may ask it, what goes in, what comes out, which refusals are its own."""

    name: str
    method: Literal["GET", "POST"]
    path: str
    about: str
    access: Access
    request: type | None = None
    answer: type | None = None
    media: str = "application/json"
    parameters: tuple[Parameter, ...] = ()
    refusals: tuple[type[errors.Refusal], ...] = field(default=())

    def all_refusals(self) -> tuple[type[errors.Refusal], ...]:
        """Its own, those of every endpoint with a token, and those that any request may meet."""
        always: tuple[type[errors.Refusal], ...] = (
            errors.BadRequest, errors.Invalid, errors.InternalError, errors.Overloaded,
        )  # fmt: skip
        if self.request is not None:
            always += (errors.BadJson, errors.TooLarge, errors.UnsupportedMedia)
        if self.access != "anyone":
            always += (
                errors.TokenMissing, errors.TokenInvalid, errors.TokenExpired, errors.SessionRevoked,
                errors.Forbidden, errors.RateLimited,
            )  # fmt: skip
        return tuple(dict.fromkeys(self.refusals + always))


_CURSOR = Parameter("cursor", {"type": "string"}, "where to go on; absent: the beginning")
_LIMIT = Parameter(
    "limit",
    {"type": "integer", "minimum": 1, "maximum": limits.PULL_OPS_MAX, "default": limits.PULL_OPS_DEFAULT},
    "how many ops at most",
)
_WAIT = Parameter(
    "wait",
    {"type": "number", "minimum": 0, "maximum": limits.PULL_WAIT_S_MAX, "default": 0},
    "seconds to hold the request while nothing is new",
)
_LIST_LIMIT = Parameter(
    "limit",
    {"type": "integer", "minimum": 1, "maximum": limits.LIST_PAGE_MAX, "default": limits.LIST_PAGE_DEFAULT},
    "how many at most",
)
_CURSOR_REFUSALS = (errors.BadCursor, errors.CursorEpochChanged, errors.CursorScopeChanged)

ENDPOINTS: Final = (
    Endpoint(
        "push", "POST", "/v1/sync/push",
        "Store operations. Answered once everything stored is durable.",
        "device_or_hub", wire.PushRequest, wire.PushAnswer, refusals=(errors.StorageFull,),
    ),
    Endpoint(
        "pull", "GET", "/v1/sync/pull", "A page of the log after a cursor.",
        "device_or_hub", None, wire.PullAnswer, parameters=(_CURSOR, _LIMIT, _WAIT), refusals=_CURSOR_REFUSALS,
    ),
    Endpoint(
        "resume", "POST", "/v1/sync/resume", "The latest cursor before which the caller misses nothing.",
        "device_or_hub", wire.ResumeRequest, wire.ResumeAnswer,
    ),
    Endpoint(
        "stream", "GET", "/v1/sync/stream",
        "The log as it grows, as Server-Sent Events. `Last-Event-ID` resumes.",
        "device_or_hub", None, None, "text/event-stream", (_CURSOR,), _CURSOR_REFUSALS,
    ),
    Endpoint(
        "status", "GET", "/v1/sync/status", "How the calling device stands with this server.",
        "device", None, wire.StatusAnswer,
    ),
    Endpoint(
        "watermarks", "GET", "/v1/sync/watermarks", "How far each device's numbers are settled.",
        "hub_or_admin", None, wire.WatermarksAnswer,
    ),
    Endpoint(
        "reviews", "GET", "/v1/reviews", "Ops that were kept and that a person should look at.",
        "admin", None, wire.ReviewsAnswer, parameters=(_CURSOR, _LIST_LIMIT), refusals=(errors.BadCursor,),
    ),
    Endpoint(
        "config", "GET", "/v1/config", "The clinic's configuration.", "device_or_hub", None, wire.ConfigAnswer,
    ),
    Endpoint(
        "enroll", "POST", "/v1/enroll", "A new id for a device that was restored from a copy, or cloned.",
        "device", wire.ReenrolRequest, wire.ReenrolAnswer, refusals=(errors.StorageFull,),
    ),
    Endpoint("info", "GET", "/v1/info", "Who this server is.", "anyone", None, wire.InfoAnswer),
    Endpoint(
        "dictionary", "GET", "/v1/dictionaries/{id}", "A compression dictionary that /v1/info names.",
        "anyone", None, None, "application/octet-stream", refusals=(errors.NotFound,),
    ),
    Endpoint("health_live", "GET", "/health/live", "Whether the process runs.", "anyone", None, wire.HealthAnswer),
    Endpoint(
        "health_ready", "GET", "/health/ready", "Whether it serves; 503 while it does not.",
        "anyone", None, wire.HealthAnswer,
    ),
    Endpoint("health", "GET", "/health", "Its checks, one by one.", "anyone", None, wire.HealthAnswer),
    Endpoint("metrics", "GET", "/metrics", "Figures for Prometheus.", "anyone", None, None, "text/plain"),
    Endpoint("openapi", "GET", "/openapi.json", "This description.", "anyone", None, None, "application/json"),
    Endpoint("docs", "GET", "/docs", "This description, for people.", "anyone", None, None, "text/html"),
)  # fmt: skip
