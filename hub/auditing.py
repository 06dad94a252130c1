"""The hub's audit as its operator reads it over the control socket: by pages, the newest first, and its chains walked.

That somebody looked is noted first, as at /v1/audit. Walking the chains may take longer than an answer is waited for, so
it is begun, and asked for until it is done. Refused: ids and times that are none, a cursor that no page gave.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Final

from pydantic import Field

from hub.arguments import Arguments
from hub.ask import ANSWER_BYTES_MAX, Json
from medxz import limits
from medxz.service.audit import Audit, entries_of, verified
from medxz.store.authority.base import Transactions

# so many fit into an answer however much each of them says
PAGE_MAX: Final = 200
# well below what a command waits for an answer
WALKED_S: Final = 5.0
_BY_OPERATOR: Final = {"by": "operator"}
_ENTRY_BYTES_MAX: Final = limits.AUDIT_DETAIL_BYTES_MAX + limits.KIB


class PageRequest(Arguments):
    """`query`: as /v1/audit takes it; `before`: the place that the page before told."""

    query: Mapping[str, str] = {}
    before: Annotated[str, Field(max_length=200)] | None = None
    limit: Annotated[int, Field(ge=1, le=limits.LIST_PAGE_MAX)] = limits.LIST_PAGE_DEFAULT


@dataclass(slots=True)
class AuditDesk:
    """One running hub's."""

    transactions: Transactions
    clinic_id: str
    notes: Audit
    _walking: asyncio.Task[Json] | None = field(default=None, init=False)

    def table(self) -> dict[str, Callable[[Json], Awaitable[Json]]]:
        return {"audit_page": self.page, "audit_verify": self.verify}

    async def page(self, arguments: Json) -> Json:
        """`{"entries", "after"}`; `after` is null where there are no more."""
        asked = PageRequest.read(arguments)
        detail = {**asked.query, **_BY_OPERATOR}
        await self.notes.note(self.clinic_id, "audit_read", detail=detail)
        entries, after = await entries_of(
            self.transactions, self.clinic_id, asked.query, asked.before, min(asked.limit, PAGE_MAX)
        )
        return {"entries": [entry.model_dump() for entry in entries], "after": after}

    async def verify(self, _arguments: Json) -> Json:
        """`{"found"}`: null as long as it is under way."""
        if self._walking is None:
            self._walking = asyncio.create_task(self._walk(), name="audit walk")
        await asyncio.wait([self._walking], timeout=WALKED_S)
        if not self._walking.done():
            return {"found": None}
        walked, self._walking = self._walking, None
        return {"found": await walked}

    async def _walk(self) -> Json:
        await self.notes.note(self.clinic_id, "audit_verified", detail=_BY_OPERATOR)
        return (await verified(self.transactions, self.clinic_id)).model_dump()

    async def close(self) -> None:
        """What is being walked is given up."""
        if self._walking is not None:
            self._walking.cancel()
            await asyncio.wait([self._walking])


assert PAGE_MAX * _ENTRY_BYTES_MAX <= ANSWER_BYTES_MAX
