"""Conflicts and duplicates: what somebody has to look at, and what was settled, of the types that the caller reads."""

from __future__ import annotations

from typing import Final

from medxz.errors import NotFound
from medxz.roles import readable, require_reading
from medxz.service.gate import Caller, require
from medxz.service.list_cursor import ListCursors, list_json
from medxz.service.noting import Noting
from medxz.store.views import ConflictState, HeldConflict
from medxz.store.views.follower import Follower

__all__ = ["ConflictState", "Conflicts"]


class Conflicts:
    """The use case. One instance a server."""

    def __init__(self, follower: Follower, cursors: ListCursors, noting: Noting) -> None:
        self._follower: Final = follower
        self._cursors: Final = cursors
        self._noting: Final = noting

    async def page(self, caller: Caller, state: ConflictState, cursor: str | None, limit: int) -> bytes:
        """A page of them, as JSON."""
        require(caller, "device_or_hub")
        types = readable(caller.roles).named
        after = self._cursors.read(cursor, "conflicts", state)
        portion = await self._follower.ask(lambda views: views.conflicts(state, types, after, limit))
        following = self._cursors.following(portion.after, "conflicts", state)
        self._noting.listed(caller, "read", None, [row.entity_id for row in portion.rows])
        return list_json("conflicts", map(_told, portion.rows), following)

    async def one(self, caller: Caller, conflict_id: str) -> bytes:
        """One of them, as JSON; Forbidden where it is of a type that the caller does not read."""
        require(caller, "device_or_hub")
        found = await self._follower.ask(lambda views: views.conflict(conflict_id))
        if found is None:
            raise NotFound("there is no such conflict here, or it became another one when more was written")
        require_reading(caller.roles, found.entity_type)
        self._noting.listed(caller, "read", found.entity_type, [found.entity_id])
        return _told(found)


def _told(found: HeldConflict) -> bytes:
    """A conflict with whether it is open."""
    return b'%b,"state":"%b"}' % (found.body[:-1], found.state.encode())
