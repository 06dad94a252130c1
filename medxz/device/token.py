"""What a device is given to begin with: its access token and its server's address.

The token is read, not verified: servers do that, and it is nobody else's.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from medxz.errors import ConfigurationError
from medxz.ids import is_uuid
from medxz.loopback import is_loopback

_PRINTED: Final = re.compile(r"[!-\[\]-~]+")  # no backslash, which some read as a slash
_BRACKETED: Final = re.compile(r"([^@]*@)?\[[^\]]*\](:[0-9]*)?")
_NAME: Final = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?")


@dataclass(frozen=True, slots=True)
class TokenClaims:
    """Whom the token is for; and whose it is, where it says so."""

    clinic_id: str
    device_id: str
    user_id: str
    server_id: str | None = None
    roles: tuple[str, ...] | None = None


def read_claims(token: str) -> TokenClaims:
    """ConfigurationError where this is no access token of a device."""
    import jwt

    try:
        claims = jwt.decode(token, options={"verify_signature": False})
    except (jwt.InvalidTokenError, UnicodeError):
        raise ConfigurationError(["the token is not a JWT"]) from None
    wrong = [name for name in ("cid", "did", "sub") if not is_uuid(claims.get(name))]
    if wrong:
        raise ConfigurationError([f"the token is not a device's: {', '.join(wrong)} is missing or no UUID"])
    issuer, roles = claims.get("iss"), claims.get("roles")
    return TokenClaims(
        claims["cid"], claims["did"], claims["sub"], issuer if is_uuid(issuer) else None,
        tuple(map(str, roles)) if isinstance(roles, list) else None,
    )  # fmt: skip


def server_address(url: str) -> str:
    """The address without a slash at its end; ConfigurationError where it is none, or a line that others could read."""
    try:
        parts = urlsplit(url)
        scheme, place, host = parts.scheme, parts.netloc, parts.hostname if parts.port != 0 else None
    except ValueError:
        scheme, place, host = "", "", None
    if scheme not in {"http", "https"} or not host or not _can_be_asked(url, place, host):
        raise ConfigurationError([f"{url!r} is no address of a server; write https://host:port"])
    if scheme == "http" and not is_loopback(host):
        raise ConfigurationError(
            [f"{url!r} would send tokens and records unencrypted; write https://host:port"]
        )
    return url.rstrip("/")


def _can_be_asked(url: str, place: str, host: str) -> bool:
    """Whether a client takes it: printable ASCII, and the host is an address, or a name that may be one of DNS."""
    if _PRINTED.fullmatch(url) is None:
        return False
    if _NAME.fullmatch(host) is not None and not host.rpartition(".")[2].isdigit():
        return True
    try:
        is_v6 = ipaddress.ip_address(host).version == 6
    except ValueError:
        return False
    return not is_v6 or _BRACKETED.fullmatch(place) is not None
