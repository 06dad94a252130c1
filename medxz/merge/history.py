"""What became of an entity, op by op: who wrote what when, what it was before and after, what merged by itself.

"Before" is what the ops behind an op amount to, however many lay beside each other there; not what some screen showed.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from medxz.merge.change import Change, json_of, object_json
from medxz.merge.entity import Entity
from medxz.merge.graph import graph_of
from medxz.merge.standing import Merge, Standing
from medxz.merge.walk import Walk

BeforeAfter = tuple[bytes | None, bytes | None]


class Entry(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One op in the history of its entity.

    `fields`: those that it changed, and those that a resolve settled. `resolves`: the conflicts that are gone with it.
    `retracted`: whether the entity is, after it. `merged`: what lay beside each other before it and merged by itself.
    """

    change: Change
    fields: dict[str, BeforeAfter]
    retracted: bool
    resolves: tuple[str, ...]
    merged: Merge | None

    def to_wire_json(self) -> bytes:
        """The entry as the protocol sends it."""
        change = self.change
        members: dict[str, bytes | None] = {
            "op_id": json_of(change.op_id),
            "op_type": json_of(change.op_type),
            "parents": json_of(change.parents),
            "user_id": json_of(change.user_id),
            "device_id": json_of(change.device_id),
            "device_time": json_of(change.device_time),
            "schema_version": json_of(change.schema_version),
            "fields": object_json(
                {name: object_json({"before": a, "after": b}) for name, (a, b) in self.fields.items()}
            ),
            "retracted": json_of(self.retracted),
            "resolves": json_of(self.resolves),
            "merged": merge_json(self.merged),
        }
        if change.server_seq is not None:
            members["server_seq"] = json_of(change.server_seq)
        if change.server_received_at is not None:
            members["server_received_at"] = json_of(change.server_received_at)
        if change.reason is not None:
            members["reason"] = change.reason
        return object_json(members)


class History(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The entries, parents first and then by op_id; `merged` is what merged by itself over the present heads."""

    entity: Entity
    entries: tuple[Entry, ...]
    merged: Merge | None


def history_of(entity: Entity, changes: Iterable[Change]) -> History:
    """The history that these ops make, in whatever order they are given."""
    walk = Walk(entity.entity_type, graph_of(changes))
    entries = tuple(_entry(entity, change, before, after) for change, before, after in walk.steps())
    return History(entity=entity, entries=entries, merged=walk.end.merge())


def merge_json(merge: Merge | None) -> bytes:
    """A merge as the protocol sends it."""
    if merge is None:
        return b"null"
    fields = {
        name: object_json({"value": value, "op_ids": json_of(op_ids)})
        for name, (value, op_ids) in merge.fields.items()
    }
    return object_json({"heads": json_of(merge.heads), "fields": object_json(fields)})


def _entry(entity: Entity, change: Change, before: Standing, after: Standing) -> Entry:
    old, new = before.shown(), after.shown()
    names = {name for name in (*old, *new) if old.get(name) != new.get(name)}
    if change.op_type == "resolve":
        names.update(change.fields)
    gone = before.findings()
    left = {finding.op_ids for finding in after.findings()} if gone else set()
    return Entry(
        change=change,
        fields={name: (old.get(name), new.get(name)) for name in sorted(names)},
        retracted=after.retracted() is not None,
        resolves=tuple(entity.conflict_id(finding.op_ids) for finding in gone if finding.op_ids not in left),
        merged=before.merge(),
    )
