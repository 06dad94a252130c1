"""Ops that were kept although this server knows better: the list that an administrator works through."""

from __future__ import annotations

from typing import Final

from medxz.clock import format_time
from medxz.errors import BadCursor
from medxz.service.gate import Caller, require
from medxz.store.base import LogStore
from medxz.wire import Review, ReviewsAnswer


class Reviews:
    """The use case. One instance a server."""

    def __init__(self, log: LogStore) -> None:
        self._log: Final = log

    async def list(self, caller: Caller, cursor: str | None, limit: int) -> ReviewsAnswer:
        """Oldest first; the cursor is the last review_id of the page before."""
        require(caller, "admin")
        if cursor is not None and not (cursor.isascii() and cursor.isdigit() and len(cursor) < 16):
            raise BadCursor("this is not a cursor of this list")
        rows = await self._log.reviews(int(cursor or 0), limit + 1)
        page = rows[:limit]
        return ReviewsAnswer(
            reviews=[
                Review(
                    review_id=row.id,
                    op_id=row.op_id,
                    device_id=row.device_id,
                    user_id=row.user_id,
                    entity_type=row.entity_type,
                    entity_id=row.entity_id,
                    code=row.code,
                    at=format_time(row.received_ms),
                )
                for row in page
            ],
            next_cursor=str(page[-1].id) if len(rows) > limit else None,
        )
