"""What an endpoint is: who may ask it, what goes in, what comes out; and its parameters."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from medxz import errors, limits
from medxz.ids import UUID_PATTERN

# "optional": anyone, and who shows a token is known by it
Access = Literal["anyone", "optional", "device", "device_or_hub", "hub_or_admin", "hub", "admin", "operator"]


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter, of the query, of the path or of the headers, as a JSON schema."""

    name: str
    schema: dict[str, object]
    about: str
    required: bool = False


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One method of one path: who may ask it, what goes in, what comes out, which refusals are its own.

    `own` is what a device with a token sends and is answered in place of `request` and `answer`. A `bodiless` request
    may come without its body; `empty` says whether there may, or will, be an answer of 204 without one. Of who shows no
    token, a body is at most `anonymous_bytes_max`, as sent and inflated. `ranged`: a part of the
    answer may be asked for, from a byte on.
    """

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
    places: tuple[Parameter, ...] = ()
    headers: tuple[Parameter, ...] = ()
    own: tuple[type, type] | None = None
    bodiless: bool = False
    empty: Literal["never", "maybe", "always"] = "never"
    anonymous_bytes_max: int = limits.ANONYMOUS_BODY_BYTES_MAX
    ranged: bool = False

    @property
    def requests(self) -> tuple[type, ...]:
        """Every message that it reads."""
        return tuple(kind for kind in (self.request, self.own and self.own[0]) if kind is not None)

    @property
    def answers(self) -> tuple[type, ...]:
        """Every message that it answers with."""
        return tuple(kind for kind in (self.answer, self.own and self.own[1]) if kind is not None)

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


CURSOR = Parameter("cursor", {"type": "string"}, "where to go on; absent: the beginning")
LIST_LIMIT = Parameter(
    "limit",
    {"type": "integer", "minimum": 1, "maximum": limits.LIST_PAGE_MAX, "default": limits.LIST_PAGE_DEFAULT},
    "how many at most",
)
ID = Parameter("id", {"type": "string", "pattern": f"^{UUID_PATTERN}$"}, "a UUID in canonical lowercase text")
