"""Ops that were kept although this server knows better: the list that an administrator works through."""

from __future__ import annotations

from typing import Final

from medxz.clock import format_time
from medxz.service.gate import Caller, require
from medxz.service.list_cursor import ListCursors
from medxz.store.base import LogStore
from medxz.wire import Review, ReviewsAnswer


class Reviews:
    """The use case. One instance a server."""

    def __init__(self, log: LogStore, cursors: ListCursors) -> None:
        self._log: Final = log
        self._cursors: Final = cursors

    async def list(self, caller: Caller, cursor: str | None, limit: int) -> ReviewsAnswer:
        """Oldest first."""
        require(caller, "admin")
        after = int(self._cursors.read(cursor, "reviews") or 0)
        rows = await self._log.reviews(after, limit + 1)
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
            next_cursor=self._cursors.following(str(page[-1].id), "reviews") if len(rows) > limit else None,
        )
