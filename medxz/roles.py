"""What each role may read and write, and what a device of each scope holds: the one table.

Reading entities, history and conflicts follows the roles of whoever asks: those in the caller's token at a server, those
of the session on a device. Writing follows the roles of an op's author; pull, stream and snapshot follow the device's
scope. A type that nobody has thought of is like any clinical one.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final, Literal

from medxz.errors import Forbidden
from medxz.scope import FRONT_DESK_TYPES, Scope

Role = Literal["admin", "clinician", "front_desk", "hub", "operator"]


@dataclass(frozen=True, slots=True)
class Types:
    """A set of entity types: those that are named, or, where none can be named, every one there is."""

    named: frozenset[str] | None

    def __contains__(self, entity_type: object) -> bool:
        return self.named is None or entity_type in self.named

    def __or__(self, other: Types) -> Types:
        if self.named is None or other.named is None:
            return EVERY
        return Types(self.named | other.named)


@dataclass(frozen=True, slots=True)
class Rights:
    """What a role may do with which types."""

    reads: Types
    writes: Types


EVERY: Final = Types(None)
NONE: Final = Types(frozenset())
FRONT_DESK: Final = Types(FRONT_DESK_TYPES)

ROLES: Final[dict[Role, Rights]] = {
    "admin": Rights(reads=EVERY, writes=EVERY),
    "clinician": Rights(reads=EVERY, writes=EVERY),
    "front_desk": Rights(reads=FRONT_DESK, writes=FRONT_DESK),
    "hub": Rights(reads=EVERY, writes=NONE),  # it passes on what others wrote, and is nobody's author
    "operator": Rights(reads=NONE, writes=NONE),
}
SCOPES: Final[dict[Scope, Types]] = {"full": EVERY, "front_desk": FRONT_DESK}


def readable(roles: Collection[str]) -> Types:
    """The types that somebody with these roles may read."""
    types = NONE
    for role, rights in ROLES.items():
        if role in roles:
            types |= rights.reads
    return types


def writable(roles: Collection[str]) -> Types:
    """The types that somebody with these roles may write."""
    types = NONE
    for role, rights in ROLES.items():
        if role in roles:
            types |= rights.writes
    return types


def require_reading(roles: Collection[str], entity_type: str) -> None:
    """Forbidden where none of these roles reads that type, whether there is such an entity or not."""
    if entity_type not in readable(roles):
        raise Forbidden("none of this token's roles reads entities of this type")
