"""What a party holds after a healing, as it was read from its real store: what the checkers hold the ledger against.

Only values: whoever gathers them (`World.holdings`) asks the party, the checkers ask nobody.
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
class HeldOp:
    """An op where it lies; `seq` is the server's own number of it, None on a device."""

    op: Operation
    seq: int | None = None


@dataclass(frozen=True, slots=True)
class HeldEntity:
    """An entity as the party shows it: `state` as JSON text, `conflicts` whole, by their ids and as JSON text.

    A conflict's text has its fields and each side's op, author and value; nothing that is a server's own.
    """

    state: bytes
    heads: tuple[str, ...]
    conflicts: Mapping[str, bytes] = field(default_factory=dict)
    missing_parents: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Audit:
    """A party's audit: `broken` says where a chain does not hold; `text` is all that its entries say."""

    entries: int = 0
    broken: str | None = None
    text: bytes = b""


@dataclass(frozen=True, slots=True)
class Holding:
    """One party's share of one clinic; the cloud has one for each clinic.

    `whole`: its log has every op that it should have. A device that began from a snapshot, or forgot, has less in its log
    than in its entities. `in_touch`: it was in step with the others by the end of the healing; one that is revoked, or was
    cut off for good, is not. `device_id` is a tablet's present one. `parked` are ops that a server refused for good.
    """

    party: str
    kind: PartyKind
    clinic_id: str
    ops: Sequence[HeldOp]
    entities: Mapping[EntityKey, HeldEntity] = field(default_factory=dict)
    audit: Audit = field(default_factory=Audit)
    server_id: str | None = None
    epoch: str | None = None
    scope: Scope = "full"
    whole: bool = True
    in_touch: bool = True
    device_id: str | None = None
    parked: frozenset[str] = frozenset()

    @property
    def op_ids(self) -> frozenset[str]:
        return frozenset(held.op.op_id for held in self.ops)

    def sees(self, entity_type: str) -> bool:
        """Whether a party of its scope is told of that type."""
        return self.scope == "full" or entity_type in FRONT_DESK_TYPES
