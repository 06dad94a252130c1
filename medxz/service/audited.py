"""What was done and by whom, as an administrator asks for it. What keeps the chains is made elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from medxz.service.gate import Caller, require
from medxz.wire import AuditAnswer, AuditVerifyAnswer


@dataclass(frozen=True, slots=True)
class AuditWanted:
    """Which entries are asked for: all, or those about these ids; `first` and `last` are days, both included."""

    patient_id: str | None = None
    encounter_id: str | None = None
    user_id: str | None = None
    device_id: str | None = None
    first: str | None = None
    last: str | None = None


class Audited(Protocol):
    """The audit of one clinic. Both calls are for administrators alone, and say so."""

    async def page(
        self, caller: Caller, wanted: AuditWanted, cursor: str | None, limit: int
    ) -> AuditAnswer: ...

    async def verify(self, caller: Caller) -> AuditVerifyAnswer:
        """Go through every chain of the clinic that this server has."""
        ...


class NothingAudited:
    """For a server that keeps no audit: there is nothing to tell."""

    async def page(
        self,
        caller: Caller,
        wanted: AuditWanted,  # noqa: ARG002  # of nothing
        cursor: str | None,  # noqa: ARG002
        limit: int,  # noqa: ARG002
    ) -> AuditAnswer:
        require(caller, "admin")
        return AuditAnswer(entries=[], next_cursor=None)

    async def verify(self, caller: Caller) -> AuditVerifyAnswer:
        require(caller, "admin")
        return AuditVerifyAnswer(ok=True, chains=[])
