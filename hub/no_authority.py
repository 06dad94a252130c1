"""What no hub does for other hubs, whether it was claimed or not: that is the cloud's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medxz.errors import Forbidden
from medxz.service.gate import require

if TYPE_CHECKING:
    from medxz.service.accounts import Origin
    from medxz.service.gate import Caller
    from medxz.wire import (
        AssertionRequest,
        ClaimAnswer,
        ClaimRequest,
        DirectoryAnswer,
        HubTokenAnswer,
        RenewAnswer,
        RenewRequest,
    )


class NoAuthority:
    """What no hub does, whoever asks."""

    async def claim(self, _request: ClaimRequest, _origin: Origin) -> ClaimAnswer:
        raise Forbidden("a hub claims no hubs; ask the cloud")

    async def renew(self, caller: Caller, _request: RenewRequest) -> RenewAnswer:
        require(caller, "hub")
        raise Forbidden("a hub certifies no hubs; ask the cloud")

    async def hub_token(self, _request: AssertionRequest, _origin: Origin) -> HubTokenAnswer:
        raise Forbidden("a hub lets in no hubs; ask the cloud")

    async def directory(self, caller: Caller, _after: int | None) -> DirectoryAnswer | None:
        require(caller, "hub")
        raise Forbidden("a hub's directory is the cloud's; ask the cloud")
