"""`medxz-hub pair`: a code for one device, made where somebody stands with it: by the hub alone, or by its cloud.

What it tells leads to this hub, by an address of the LAN, and names the CA that the hub shows.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Protocol

from pydantic import Field

from hub.arguments import Arguments
from hub.ask import Json
from medxz import limits
from medxz.scope import Scope
from medxz.wire import CodeAnswer, CodeRequest

if TYPE_CHECKING:
    from hub.accounts import HubAccounts
    from hub.alone.office import Office
    from hub.identity import HubIdentity


class PairRequest(Arguments):
    """`name`: what the device will be called, whatever it says itself."""

    name: Annotated[str, Field(min_length=1, max_length=limits.NAME_CHARS_MAX)] | None = None
    scope: Scope | None = None


class Pairing(Protocol):
    """Makes codes for devices of the hub's site."""

    async def pair(self, request: PairRequest) -> CodeAnswer: ...


@dataclass(frozen=True, slots=True)
class LonePairing:
    """By the hub itself. `url`: where devices find it."""

    office: Office
    url: Callable[[], str]

    async def pair(self, request: PairRequest) -> CodeAnswer:
        codes = await self.office.codes(self.url())
        [made] = await codes.make(
            self.office.clinic_id,
            "device",
            self.office.site_id,
            scope=request.scope,
            device_name=request.name,
        )
        return made.told()


@dataclass(frozen=True, slots=True)
class ClaimedPairing:
    """By the cloud, which the hub asks as itself."""

    accounts: HubAccounts
    identity: HubIdentity
    url: Callable[[], str]

    async def pair(self, request: PairRequest) -> CodeAnswer:
        claim = self.identity.claim
        assert claim is not None
        made = await self.accounts.pair(
            CodeRequest(kind="device", site=claim.site_id, scope=request.scope, name=request.name)
        )
        # one that began alone goes on showing its own root
        fp = self.identity.ca_fingerprint if claim.began_alone else made.fp
        url = f"{self.url()}/#c={made.code}&fp={fp}"
        return made.model_copy(update={"url": url, "fp": fp})


def pairing_commands(pairing: Pairing) -> dict[str, Callable[[Json], Awaitable[Json]]]:
    """For the control socket: no device gets far with a code of a hub that does not run."""

    async def pair(arguments: Json) -> Json:
        return (await pairing.pair(PairRequest.read(arguments))).model_dump()

    return {"pair": pair}
