"""From the log's texts to what merging knows: the entity that some ops are of, and its changes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from medxz.merge.change import Change, change_of
from medxz.merge.entity import Entity
from medxz.op import Operation

_DECODE: Final = msgspec.json.Decoder(Operation).decode


def entity_and_changes(ops: Sequence[bytes]) -> tuple[Entity, list[Change]]:
    """Of one entity's ops, of which there is at least one, as the log gives them."""
    decoded = [_DECODE(op) for op in ops]
    first = decoded[0]
    return Entity(first.clinic_id, first.entity_type, first.entity_id), [change_of(op) for op in decoded]
