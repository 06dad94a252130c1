"""What a set of ops amounts to: the promise that both readings keep (merging.py, contending.py).

A Standing is made in two ways: `followed_by` puts one op upon it, `joined` puts the standings of concurrent heads
beside each other. It holds no references to earlier standings but those it joins, so that a long chain costs no more
than its last op.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Self

from medxz.merge.change import Change

Kind = Literal["edit", "retract"]
ALL_FIELDS = ("*",)


@dataclass(frozen=True, slots=True)
class Retracted:
    """That an entity, or one side of a conflict, is retracted: by which op, and the reason as it was written."""

    op_id: str
    reason: bytes | None


@dataclass(frozen=True, slots=True)
class Finding:
    """That some ops do not agree on some fields, or on whether the entity is retracted (`*`)."""

    kind: Kind
    fields: tuple[str, ...]
    op_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Said:
    """What one op of a finding stands for: its values of the finding's fields."""

    change: Change
    values: dict[str, bytes | None]
    retracted: Retracted | None


@dataclass(frozen=True, slots=True)
class Merge:
    """What was put together by itself: which heads, and the fields in which they had not said the same.

    A field has its value and the ops that wrote it. Where no field is named, the heads agreed.
    """

    heads: tuple[str, ...]
    fields: dict[str, tuple[bytes | None, tuple[str, ...]]]


@dataclass(frozen=True, slots=True)
class Ground:
    """All that one head stands on where nothing is in conflict: to each op that counts the fields it counts for."""

    head: str
    fields: dict[str, dict[str, bytes | None]]
    retracts: dict[str, bytes | None]


class Standing(ABC):
    """What the ops up to here amount to; `closure` has a bit for the place of each of them.

    `bit` is that of the op that was put upon the rest; what was joined has none.
    """

    __slots__ = ("bit", "closure")

    bit: int
    closure: int

    @classmethod
    @abstractmethod
    def nothing(cls) -> Self:
        """What no ops amount to."""

    @classmethod
    @abstractmethod
    def joined(cls, sides: Sequence[Self]) -> Self:
        """Two or more heads beside each other, none of which is behind another."""

    @abstractmethod
    def followed_by(self, change: Change, bit: int) -> Self:
        """This, and then that op, whose place has that bit."""

    @abstractmethod
    def shown(self) -> dict[str, bytes]:
        """The fields of the state, in no order."""

    @abstractmethod
    def retracted(self) -> Retracted | None:
        """Whether the state is a retracted one."""

    @abstractmethod
    def findings(self) -> list[Finding]:
        """What is in conflict: at most one finding of each kind, `retract` first."""

    @abstractmethod
    def said(self, finding: Finding) -> list[Said]:
        """The sides of one of these findings, in the order of its op_ids."""

    @abstractmethod
    def merge(self) -> Merge | None:
        """What `joined` put together without asking; None where there was nothing of the kind."""

    @abstractmethod
    def ground(self) -> Ground:
        """What is left to know of a single head without a finding."""

    @classmethod
    @abstractmethod
    def upon(cls, ground: Ground) -> Self:
        """The standing of that head, its places counted anew."""

    @property
    @abstractmethod
    def bytes_kept(self) -> int:
        """About how much memory this holds that others do not."""


def stub(op_id: str, fields: dict[str, bytes | None], reason: bytes | None = None) -> Change:
    """An op of which only this is left to know."""
    return Change(
        op_id=op_id,
        op_type="",
        parents=(),
        fields=fields,
        reason=reason,
        user_id="",
        device_id="",
        device_time="",
        schema_version=0,
    )


def greatest(marks: Sequence[Change]) -> Retracted | None:
    """The mark that the greatest of these retracts leaves."""
    if not marks:
        return None
    last = max(marks, key=lambda change: change.op_id)
    return Retracted(last.op_id, last.reason)
