"""What an access token says, and the checks of it that need neither a key nor a clock."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Final, get_args

import msgspec

from medxz import limits
from medxz.errors import TokenInvalid
from medxz.ids import UUID_PATTERN, is_uuid
from medxz.roles import Role

ROLES: Final[frozenset[str]] = frozenset(get_args(Role))


@dataclass(frozen=True, slots=True)
class Claims:
    """What a token says: `iss` a server's id, `sub` a user's (for role hub: the hub's) id, times in seconds."""

    iss: str
    sub: str
    cid: str
    did: str | None
    sid: str
    site: str
    roles: frozenset[str]
    iat: int
    exp: int

    def __post_init__(self) -> None:
        ids = (self.iss, self.sub, self.cid, self.sid, self.site)
        if not all(map(is_uuid, ids)) or not (self.did is None or is_uuid(self.did)):
            raise ValueError("iss, sub, cid, did, sid and site are UUIDs")
        if not self.roles or not self.roles <= ROLES:
            raise ValueError("roles are some of " + ", ".join(sorted(ROLES)))
        if "hub" in self.roles and (self.roles != {"hub"} or self.did is not None):
            raise ValueError("the role hub stands alone and has no device")
        if self.did is None and not self.roles <= {"hub", "operator"}:
            raise ValueError("did is missing")
        if not 0 <= self.iat < self.exp <= limits.INTEGER_MAX:
            raise ValueError("exp comes after iat")


_Id = Annotated[str, msgspec.Meta(pattern=f"^{UUID_PATTERN}$")]
_Seconds = Annotated[int, msgspec.Meta(ge=0, le=limits.INTEGER_MAX)]


class WireClaims(msgspec.Struct, frozen=True, kw_only=True):
    """The claims as they travel; members that are not ours are let pass, so that tokens can grow."""

    iss: _Id
    sub: _Id
    cid: _Id
    sid: _Id
    site: _Id
    roles: Annotated[list[Role], msgspec.Meta(min_length=1, max_length=len(ROLES))]
    iat: _Seconds
    exp: _Seconds
    did: _Id | msgspec.UnsetType = msgspec.UNSET
    nbf: _Seconds = 0

    def lawful(self) -> Claims:
        """The same, once they fit together; else TokenInvalid."""
        did = None if isinstance(self.did, msgspec.UnsetType) else self.did
        roles = frozenset[str](self.roles)
        try:
            return Claims(self.iss, self.sub, self.cid, did, self.sid, self.site, roles, self.iat, self.exp)
        except ValueError as error:
            raise TokenInvalid(f"the token's claims do not fit together: {error}") from None


_decode_claims = msgspec.json.Decoder(WireClaims).decode


def claims_body(claims: Claims) -> dict[str, Any]:
    """The members of the token's body."""
    return {
        "iss": claims.iss,
        "sub": claims.sub,
        "cid": claims.cid,
        **({"did": claims.did} if claims.did is not None else {}),
        "sid": claims.sid,
        "site": claims.site,
        "roles": sorted(claims.roles),
        "iat": claims.iat,
        "exp": claims.exp,
    }


def read_claims(body: bytes) -> WireClaims:
    """The claims of a body whose signature held; TokenInvalid for anything else."""
    try:
        return _decode_claims(body)
    except msgspec.ValidationError as error:
        raise TokenInvalid(f"the token's claims are not what they must be: {error}") from None
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise TokenInvalid("the token's claims are not JSON") from None
