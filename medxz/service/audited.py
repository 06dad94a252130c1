"""What was done and by whom, as an administrator asks for it. What keeps the chains is made elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from medxz.service.gate import Caller, require
from medxz.wire import AuditAnswer, AuditVerifyAnswer


class Audited(Protocol):
    """The audit of one clinic. Both calls are for administrators alone, and say so."""

    async def page(
        self, caller: Caller, query: Mapping[str, str], cursor: str | None, limit: int
    ) -> AuditAnswer:
        """The newest first. `query`: what was asked of patient, encounter, user, device, from (with it), to (without)."""
        ...

    async def verify(self, caller: Caller) -> AuditVerifyAnswer:
        """Go through every chain of the clinic that this server has."""
        ...


class NothingAudited:
    """For a server that keeps no audit: there is nothing to tell."""

    async def page(
        self,
        caller: Caller,
        query: Mapping[str, str],  # noqa: ARG002  # of nothing
        cursor: str | None,  # noqa: ARG002
        limit: int,  # noqa: ARG002
    ) -> AuditAnswer:
        require(caller, "admin")
        return AuditAnswer(entries=[], next_cursor=None)

    async def verify(self, caller: Caller) -> AuditVerifyAnswer:
        require(caller, "admin")
        return AuditVerifyAnswer(ok=True, chains=[])
