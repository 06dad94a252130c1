"""Tokens of a hub that belongs to no cloud: for trying, and for tests. They are verified like any other.

Asking for one makes its user, device and session known. Refused: operators, who belong to no clinic, and devices
that were revoked.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Annotated, Final, Literal, Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pydantic import Field, model_validator

from hub.alone.office import Office
from hub.arguments import Arguments
from hub.identity import HubIdentity
from medxz import limits
from medxz.clock import Clock
from medxz.errors import Forbidden, Invalid
from medxz.ids import Ids
from medxz.program.errors import CommandFailed
from medxz.scope import Scope
from medxz.store.registry import SqliteRegistry
from medxz.wire import Uuid

TTL_S_MAX: Final = 366 * 86_400


class TokenRequest(Arguments):
    """What a token is asked for with."""

    user: Uuid
    role: Literal["admin", "clinician", "front_desk", "hub"]
    device: Uuid | None = None
    ttl: Annotated[int, Field(ge=1, le=TTL_S_MAX)] = limits.ACCESS_TOKEN_S
    public_key: Annotated[str, Field(pattern="^[A-Za-z0-9_-]{43}$")] | None = None
    scope: Literal["full", "front_desk"] | None = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.role == "hub" and (self.device, self.public_key, self.scope) != (None, None, None):
            raise ValueError("a hub's token has no device, public key or scope")
        if self.role != "hub" and self.device is None:
            raise ValueError(f"a token of role {self.role} needs a device")
        return self


@dataclass(frozen=True, slots=True)
class LetIn:
    """Whom a token makes known: a user with a role, on a device."""

    user_id: str
    role: str
    device_id: str
    scope: Scope | None
    public_key: bytes | None


@dataclass(frozen=True, slots=True)
class TokenDesk:
    """Makes tokens in the hub's name."""

    identity: HubIdentity
    registry: SqliteRegistry
    clock: Clock
    ids: Ids
    office: Office | None = None

    async def issue(self, request: TokenRequest) -> str:
        """A token for the user on the device. The user has that role from now on, and no other."""
        if self.identity.claim is not None:
            raise CommandFailed(
                f"this hub was claimed by the cloud at {self.identity.claim.cloud_url}: people log in there, through it",
                "medxz login on the device",
                "claimed",
            )
        session_id = self.ids.uuid7()
        if request.device is not None:
            await self._make_known(request, request.device, session_id)
        return self.identity.signer(self.clock).issue(
            sub=request.user,
            cid=self.identity.clinic_id,
            did=request.device,
            sid=session_id,
            site=self.identity.site_id,
            roles=frozenset({request.role}),
            ttl_s=request.ttl,
        )

    async def _make_known(self, request: TokenRequest, device_id: str, session_id: str) -> None:
        known = self.registry.directory.devices.get(device_id)
        if known is not None and known.revoked:
            raise Forbidden(f"the device {device_id} was revoked")
        scope = request.scope or (known.scope if known is not None else "full")
        key = _public_key(request.public_key) if request.public_key is not None else None
        accounts = await self.office.if_founded() if self.office is not None else None
        if accounts is not None:
            await accounts.taking.let_in(LetIn(request.user, request.role, device_id, request.scope, key))
        else:
            await self.registry.put_user(request.user, {request.role})
            await self.registry.put_device(device_id, scope, key)
        await self.registry.put_session(session_id, request.user, device_id)


def _public_key(text: str) -> bytes:
    raw = base64.urlsafe_b64decode(text + "=")
    try:
        Ed25519PublicKey.from_public_bytes(raw)
    except ValueError:
        raise Invalid("public_key: not an Ed25519 key", field="public_key") from None
    return raw
