"""What lets people, devices and hubs in, as the HTTP face asks for it. What does it is made elsewhere.

The cloud decides; a hub passes on and, cut off, says `cloud_required`. Each method raises a Refusal where it refuses.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol, Self

if TYPE_CHECKING:
    from medxz.service.gate import Caller
    from medxz.wire import (
        AssertionRequest,
        ClaimAnswer,
        ClaimRequest,
        CodeAnswer,
        CodeRequest,
        DirectoryAnswer,
        EnrolAnswer,
        EnrolRequest,
        HubTokenAnswer,
        JwksAnswer,
        LoginRequest,
        LogoutRequest,
        ReenrolAnswer,
        ReenrolRequest,
        RefreshRequest,
        RenewAnswer,
        RenewRequest,
        SessionAnswer,
    )


_SITE_BITS: Final = 64  # whoever has one IPv6 address has all of its /64


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a request comes from: the client's address, an IPv6 one by its /64.

    Through a hub it is the address that the hub reports, which counts with that hub's token alone; and a hub passes on
    for nobody but those of its own clinic.
    """

    address: str
    hub_id: str | None = None
    clinic_id: str | None = None

    def reaches(self, clinic_id: str) -> bool:
        """Whether what comes from here may be about that clinic: through another one's hub there is no such clinic."""
        return self.clinic_id is None or self.clinic_id == clinic_id

    @classmethod
    def of(cls, address: str, hub_id: str | None = None, clinic_id: str | None = None) -> Self:
        """The origin of a request from this address; "" where it is none."""
        try:
            # a hub reports the /64 that it knows
            ip = ipaddress.ip_address(address.partition("%")[0].removesuffix(f"/{_SITE_BITS}"))
        except ValueError:
            return cls("", hub_id, clinic_id)
        if isinstance(ip, ipaddress.IPv6Address):
            if ip.ipv4_mapped is None:
                return cls(str(ipaddress.ip_network((ip, _SITE_BITS), strict=False)), hub_id, clinic_id)
            ip = ip.ipv4_mapped
        return cls(str(ip), hub_id, clinic_id)


class Accounts(Protocol):
    """Who may come in, and with what."""

    async def login(self, request: LoginRequest, origin: Origin) -> SessionAnswer: ...

    async def refresh(self, request: RefreshRequest, origin: Origin) -> SessionAnswer: ...

    async def logout(self, caller: Caller | None, request: LogoutRequest) -> None:
        """End the caller's session, or the one that the refresh token is of: one of the two is there."""
        ...

    async def enrol(self, request: EnrolRequest, origin: Origin) -> EnrolAnswer: ...

    async def reenrol(self, caller: Caller, request: ReenrolRequest) -> ReenrolAnswer:
        """The same tablet with another id."""
        ...

    async def make_code(self, caller: Caller, request: CodeRequest) -> CodeAnswer: ...

    async def claim(self, request: ClaimRequest, origin: Origin) -> ClaimAnswer: ...

    async def renew(self, caller: Caller, request: RenewRequest) -> RenewAnswer:
        """A new certificate for a hub that is let in."""
        ...

    async def hub_token(self, request: AssertionRequest, origin: Origin) -> HubTokenAnswer: ...

    def keys(self) -> JwksAnswer: ...

    async def directory(self, caller: Caller, after: int | None) -> DirectoryAnswer | None:
        """What a hub mirrors, whole; None where its revision is `after` still."""
        ...
