"""Logging in and staying in: sessions of people on devices, access tokens of hubs, and the keys that tokens are verified by."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import ConfigDict, Field, model_validator

from medxz import limits
from medxz.wire.forms import Answer, Json, Message, Uuid

Token = Annotated[str, Field(min_length=1, max_length=limits.TOKEN_CHARS_MAX)]


class LoginRequest(Message):
    """A person at a device that the clinic has let in."""

    email: Annotated[str, Field(min_length=1, max_length=limits.EMAIL_CHARS_MAX)]
    password: Annotated[str, Field(min_length=1, max_length=limits.PASSWORD_CHARS_MAX, repr=False)]
    device_id: Uuid
    totp: Annotated[str | None, Field(pattern="^[0-9]{6}$", repr=False)] = None


class SessionUser(Answer):
    user_id: str
    name: str
    email: str


class SessionClinic(Answer):
    clinic_id: str
    name: str


class SessionAnswer(Answer):
    """A session: tokens, and whose it is. `refresh_token` is null where the one there is stays good."""

    access_token: Annotated[str, Field(repr=False)]
    refresh_token: Annotated[str | None, Field(repr=False)]
    expires_in: int
    user: SessionUser
    clinic: SessionClinic
    roles: list[str]


_TEXT: Json = {"type": "string"}
_NULL: Json = {"type": "null"}


class RefreshRequest(Message):
    """By the refresh token; or, at a hub without its cloud, by the last access token and a proof by the device's key."""

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [
                {
                    "required": ["refresh_token"],
                    "properties": {"refresh_token": _TEXT, "access_token": _NULL, "proof": _NULL},
                },
                {
                    "required": ["access_token", "proof"],
                    "properties": {"refresh_token": _NULL, "access_token": _TEXT, "proof": _TEXT},
                },
            ]
        }
    )

    refresh_token: Annotated[Token | None, Field(repr=False)] = None
    access_token: Annotated[Token | None, Field(repr=False)] = None
    proof: Annotated[Token | None, Field(repr=False)] = None

    @model_validator(mode="after")
    def _is_one_of_two(self) -> Self:
        given = (self.refresh_token is not None, self.access_token is not None, self.proof is not None)
        if given not in {(True, False, False), (False, True, True)}:
            raise ValueError("give refresh_token alone, or access_token and proof")
        return self


class LogoutRequest(Message):
    """The session to be ended, where no access token names it."""

    refresh_token: Annotated[Token | None, Field(repr=False)] = None


class AssertionRequest(Message):
    """A hub proves its key. `url` is where devices of its site find it."""

    assertion: Annotated[Token, Field(repr=False)]
    url: Annotated[str, Field(min_length=1, max_length=limits.URL_CHARS_MAX)] | None = None


class HubTokenAnswer(Answer):
    access_token: Annotated[str, Field(repr=False)]
    expires_in: int


class Jwk(Answer):
    """A public Ed25519 key (RFC 8037)."""

    kty: str
    crv: str
    x: str
    kid: str
    use: str
    alg: str


class JwksAnswer(Answer):
    """The keys whose tokens are taken, and those that will sign next."""

    keys: list[Jwk]
