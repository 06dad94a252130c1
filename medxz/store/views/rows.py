"""What the views answer with: which entities, which conflicts, and where the next portion begins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Generic, Literal, TypeVar

Row = TypeVar("Row")
ConflictState = Literal["open", "resolved"]

# The kind of conflict that is not of one entity: it comes and goes with what patients share.
DUPLICATE: Final = "duplicate"


@dataclass(frozen=True, slots=True)
class Portion(Generic[Row]):
    """Some of a list. `after` asks for what follows it, and is None at the end.

    Who follows it sees each row that is there all the while exactly once, whatever is added meanwhile.
    """

    rows: Sequence[Row]
    after: str | None


@dataclass(frozen=True, slots=True)
class Found:
    """An entity. What it looks like is not kept here: it is worked out from its ops."""

    entity_type: str
    entity_id: str
    is_retracted: bool


@dataclass(frozen=True, slots=True)
class HeldConflict:
    """A conflict as it is told: `body` is its JSON; a resolved one says by which op in `resolved_by`."""

    conflict_id: str
    kind: str
    state: ConflictState
    entity_type: str
    entity_id: str
    body: bytes
