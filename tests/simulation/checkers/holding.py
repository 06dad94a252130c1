"""What a party holds after a healing, as it was read from its real store: what the checkers hold the ledger against.

Only values. Whoever gathers them asks the party; the checkers ask nobody.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from medxz.op import Operation
from medxz.scope import FRONT_DESK_TYPES, Scope

PartyKind = Literal["cloud", "hub", "tablet"]
EntityKey = tuple[str, str]
"""entity_type, entity_id."""


@dataclass(frozen=True, slots=True)
class HeldSide:
    """What one op says in a conflict: JSON text by field, None where it removes; `retracted`: this side is."""

    op_id: str
    values: Mapping[str, bytes | None]
    retracted: bool = False


@dataclass(frozen=True, slots=True)
class HeldConflict:
    """A conflict as a party shows it."""

    conflict_id: str
    kind: str
    fields: tuple[str, ...]
    heads: tuple[str, ...]
    sides: tuple[HeldSide, ...] = ()


@dataclass(frozen=True, slots=True)
class HeldEntity:
    """An entity as a party shows it: JSON text by field, the heads in order, the conflicts that are open, by id."""

    state: Mapping[str, bytes]
    heads: tuple[str, ...]
    conflicts: tuple[HeldConflict, ...] = ()
    missing_parents: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Audit:
    """A party's audit: `broken` says where a chain does not hold; `text` is what its entries say, ids and all."""

    entries: int
    broken: str | None = None
    text: bytes = b""


@dataclass(frozen=True, slots=True)
class Holding:
    """One party's share of one clinic; the cloud has one for each clinic.

    `ops` stand in the order of its log. `whole`: that log has every op that the party should know. A device that began from
    a snapshot, or has forgotten, has less in its log than in its entities. `in_touch`: it was in step with the others when
    the healing ended; one that was revoked, or that nobody can reach any more, is not. `device_id` is a tablet's of now.
    `parked` are ops that a server has
    refused for good; `directory` is all that a server knows of people, devices and hubs, as text; `renamed` leads from an op of an identity that was given up to the op that repeats it.
    """

    party: str
    kind: PartyKind
    clinic_id: str
    ops: Sequence[Operation]
    entities: Mapping[EntityKey, HeldEntity] = field(default_factory=dict)
    conflicts: Mapping[str, bytes] = field(default_factory=dict)
    directory: bytes = b""
    audit: Audit | None = None
    server_id: str | None = None
    epoch: str | None = None
    device_id: str | None = None
    scope: Scope = "full"
    whole: bool = True
    in_touch: bool = True
    parked: frozenset[str] = frozenset()
    renamed: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_server(self) -> bool:
        return self.kind != "tablet"

    def op_ids(self) -> frozenset[str]:
        return frozenset(op.op_id for op in self.ops)

    def brings(self, op: Operation) -> bool:
        """Whether the clinic's servers get this op from here: a server gives all that it has, a device its own."""
        if not self.in_touch or op.op_id in self.parked:
            return False
        return self.is_server or op.device_id == self.device_id

    def sees(self, entity_type: str) -> bool:
        """Whether a party of its scope is told of that type."""
        return self.scope == "full" or entity_type in FRONT_DESK_TYPES
