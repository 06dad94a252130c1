"""What a server has of a clinic, read out of its own store by its own services, past the network and whoever may read.

Lists come from the derived tables and states from the ops, just as a client would be told them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

import msgspec

from medxz.merge.view import view_of
from medxz.op import Operation
from medxz.service import ClinicServices
from medxz.service.changes import entity_and_changes
from medxz.store.base import LogStore
from medxz.store.views import ConflictState, HeldConflict
from medxz.store.views.follower import Follower
from tests.simulation.parties.party import Conflicts, States

_DECODE = msgspec.json.Decoder(Operation).decode
_PAGE = 500
CONFLICT_STATES: Final[tuple[ConflictState, ...]] = ("open", "resolved")


async def ops_of(log: LogStore) -> list[Operation]:
    """The whole log in its order. What is damaged is not in it."""
    found: list[Operation] = []
    after = 0
    while page := [_DECODE(text) for text in await log.ops_after(after, _PAGE)]:
        found += page
        after = page[-1].server_seq or 0
    return found


def follower_of(clinic: ClinicServices) -> Follower:
    """What keeps the derived tables of a hub, which its services have and its program does not hand out."""
    return clinic.entities._follower


async def states_of(log: LogStore, follower: Follower) -> States:
    """Every entity that the server lists, as it shows it."""
    types = sorted({op.entity_type for op in await ops_of(log)})
    states: States = {}
    for entity_type in types:
        async for entity_id in _listed(follower, entity_type):
            own = await log.entity_ops(entity_type, entity_id)
            states[entity_type, entity_id] = view_of(*entity_and_changes(own)).to_wire_json() if own else b""
    return states


async def conflicts_of(follower: Follower) -> Conflicts:
    """Open and resolved ones."""
    found: Conflicts = {}
    for state in CONFLICT_STATES:
        after: str | None = None
        while True:
            portion = await follower.ask(
                lambda views, state=state, after=after: views.conflicts(state, None, after, _PAGE)  # type: ignore[misc]
            )
            found |= {held.conflict_id: told(held) for held in portion.rows}
            after = portion.after
            if after is None:
                break
    return found


def told(held: HeldConflict) -> bytes:
    """A conflict with whether it is open, as everybody tells it."""
    return b'%b,"state":"%b"}' % (bytes(held.body)[:-1], held.state.encode())


async def _listed(follower: Follower, entity_type: str) -> AsyncIterator[str]:
    after: str | None = None
    while True:
        portion = await follower.ask(
            lambda views, after=after: views.entities(entity_type, after, _PAGE)  # type: ignore[misc]
        )
        for row in portion.rows:
            yield row.entity_id
        after = portion.after
        if after is None:
            return
