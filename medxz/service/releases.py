"""What hubs are to run, and the bundles of it. The cloud has them; a hub hands out none.

Whom it is wanted of is asked each time: which hub gets what is the answer's, so that it can come to differ from hub to
hub without another request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from medxz.errors import Forbidden
from medxz.service.gate import require

if TYPE_CHECKING:
    from medxz.service.download import Download
    from medxz.service.gate import Caller
    from medxz.wire import UpdateAnswer


class Releases(Protocol):
    """What hubs are to run. Both raise Forbidden where the caller is no hub."""

    async def wanted(self, caller: Caller, compatible: str, version: str | None) -> UpdateAnswer | None:
        """What this hub is to run in place of `version`; None where that is it already."""
        ...

    async def bundle(self, caller: Caller, sha256: str) -> Download:
        """The one of that content; NotFound where there is none."""
        ...


class NoReleases:
    """Those of a server that hands out none."""

    async def wanted(self, caller: Caller, _compatible: str, _version: str | None) -> UpdateAnswer | None:
        require(caller, "hub")
        raise Forbidden("a hub hands out no releases; ask the cloud")

    async def bundle(self, caller: Caller, _sha256: str) -> Download:
        require(caller, "hub")
        raise Forbidden("a hub hands out no releases; ask the cloud")
