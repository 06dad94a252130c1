"""Section 6 of docs/protocol.md once more, word by word: sets, brute force, no care for speed.

It shares nothing with medxz/merge but the shape of a Change; the engine is held against it over generated histories.
"""

import uuid
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

from medxz.merge.change import Change
from medxz.merge.entity import Entity

NAMESPACE = uuid.UUID("ecedffc5-1d05-5e10-b09a-ad54783bcf93")
MERGED = {"Patient", "RelatedPerson", "Coverage", "Appointment", "Encounter"}
Mark = tuple[str, bytes | None] | None


def naive_id(entity: Entity, op_ids: Iterable[str]) -> str:
    text = "".join(f"{part}\n" for part in (entity.clinic_id, entity.entity_type, entity.entity_id))
    return str(uuid.uuid5(NAMESPACE, text + ",".join(sorted(op_ids))))


class Ops:
    """A set of ops, with the edges that count."""

    def __init__(self, changes: Iterable[Change]) -> None:
        self.all = {change.op_id: change for change in changes}
        named = {o: {p for p in c.parents if p in self.all} for o, c in self.all.items()}
        self.missing = sorted({p for c in self.all.values() for p in c.parents if p not in self.all})

        def reach(start: str) -> set[str]:
            found: set[str] = set()
            new = set(named[start])
            while new:
                found |= new
                new = {p for o in new for p in named[o]} - found
            return found

        reached = {o: reach(o) for o in self.all}
        self.parents = {o: {p for p in named[o] if o not in reached[p] and p != o} for o in self.all}
        named = self.parents
        self.ancestors = {o: reach(o) for o in self.all}

    def closure(self, op_id: str) -> set[str]:
        return self.ancestors[op_id] | {op_id}

    def heads(self, some: set[str]) -> set[str]:
        """Those that no other of them descends from."""
        return {o for o in some if not any(o in self.ancestors[other] for other in some)}

    def writes(self, op_id: str) -> dict[str, bytes | None]:
        change = self.all[op_id]
        fields = dict(change.fields)
        if change.op_type == "amend":
            for ancestor in self.ancestors[op_id]:
                for name in self.all[ancestor].fields:
                    fields.setdefault(name, None)
        return fields


def best(op_ids: Iterable[str], retracted: Callable[[str], bool]) -> str:
    return max(op_ids, key=lambda o: (not retracted(o), o))


def finding(entity: Entity, kind: str, fields: list[str], sides: dict[str, tuple[dict, Mark]]) -> dict:
    return {"id": naive_id(entity, sides), "kind": kind, "fields": fields, "sides": sides}


def merge_view(entity: Entity, ops: Ops, some: set[str]) -> dict[str, Any]:
    heads = ops.heads(some)
    fields = sorted({name for o in some for name in ops.writes(o)})
    live = {
        name: {
            o
            for o in some
            if name in ops.writes(o)
            and not any(o in ops.ancestors[d] and name in ops.writes(d) for d in some)
        }
        for name in fields
    }
    retracts = {
        o
        for o in some
        if ops.all[o].op_type == "retract"
        and not any(o in ops.ancestors[d] and ops.all[d].op_type in ("amend", "resolve") for d in some)
    }

    def mark(behind: Iterable[str]) -> Mark:
        marks = retracts & {a for h in behind for a in ops.closure(h)}
        return (max(marks), ops.all[max(marks)].reason) if marks else None

    unretracted = {h for h in heads if not mark([h])}

    def on_retracted_side(o: str) -> bool:
        return not any(o in ops.closure(h) for h in unretracted)

    state, torn = {}, []
    for name in fields:
        if len({ops.writes(o)[name] for o in live[name]}) > 1:
            torn.append(name)
        value = ops.writes(best(live[name], on_retracted_side))[name]
        if value is not None:
            state[name] = value
    conflicts = []
    if unretracted and unretracted != heads:
        states = {h: merge_view(entity, ops, ops.closure(h))["state"] for h in heads}
        names = {name for one in states.values() for name in one}
        sides = {h: ({name: states[h].get(name) for name in names}, mark([h])) for h in heads}
        conflicts.append(finding(entity, "retract", ["*"], sides))
    if torn:
        sides = {}
        for o in {o for name in torn for o in live[name]}:
            values = {name: ops.writes(o)[name] for name in torn if o in live[name]}
            behind = [h for h in heads if o in ops.closure(h)]
            sides[o] = (values, mark(behind) if on_retracted_side(o) else None)
        edit = finding(entity, "edit", torn, sides)
        if not conflicts or conflicts[0]["id"] != edit["id"]:
            conflicts.append(edit)
    return {"state": state, "retracted": None if unretracted else mark(heads), "conflicts": conflicts}


def contended_view(entity: Entity, ops: Ops, some: set[str]) -> dict[str, Any]:  # noqa: C901
    names = sorted({name for o in ops.all for name in ops.all[o].fields})

    @cache
    def under(o: str, name: str) -> frozenset[tuple[str, bytes | None]]:
        """The ops that the field stands under where o was written, each with its value."""
        change = ops.all[o]
        if name in change.fields:
            return frozenset({(o, change.fields[name])})
        if change.op_type in ("create", "amend"):
            return frozenset({(o, None)})
        together = {one for p in ops.heads(ops.parents[o]) for one in under(p, name)}
        values = {value for _, value in together} or {None}
        return frozenset({(o, next(iter(values)))}) if len(values) == 1 else frozenset(together)

    @cache
    def marks(o: str) -> frozenset[tuple[str, Mark]]:
        change = ops.all[o]
        together = {one for p in ops.heads(ops.parents[o]) for one in marks(p)}
        there = [m for _, m in together if m]
        if change.op_type == "retract":
            return frozenset({(o, max([(o, change.reason), *there], key=lambda m: m[0]))})
        if change.op_type in ("amend", "resolve") or not there:
            return frozenset({(o, None)})
        if len(there) == len(together):
            return frozenset({(o, max(there, key=lambda m: m[0]))})
        return frozenset(together)

    heads = ops.heads(some)
    all_marks = {one for h in heads for one in marks(h)}
    there = [m for _, m in all_marks if m]
    is_retracted = bool(there) and len(there) == len(all_marks)
    mixed = bool(there) and not is_retracted
    state, torn, ids = {}, {}, {o for o, _ in all_marks} if mixed else set()
    for name in names:
        together = {one for h in heads for one in under(h, name)}
        if len({value for _, value in together}) > 1:
            torn[name] = dict(together)
            ids |= torn[name].keys()
        ranked = []
        for h in heads:
            own = dict(marks(h))
            for o, value in under(h, name):
                marked = own[o] is not None if o in own else all(own.values())
                ranked.append((not marked, o, value))
        value = max(ranked, key=lambda one: one[:2])[2] if ranked else None
        if value is not None:
            state[name] = value

    def side(o: str) -> tuple[dict, Mark]:
        values = {name: torn[name][o] for name in torn if o in torn[name]}
        if mixed:
            values |= {name: value for name, value in state.items() if name not in torn}
            return values, dict(all_marks).get(o)
        own = dict(marks(o)).get(o)
        return values, (own or max(there, key=lambda m: m[0])) if is_retracted else None

    conflicts = []
    if ids:
        kind, fields = ("retract", ["*"]) if mixed else ("edit", sorted(torn))
        conflicts.append(finding(entity, kind, fields, {o: side(o) for o in ids}))
    retracted = max(there, key=lambda m: m[0]) if is_retracted else None
    return {"state": state, "retracted": retracted, "conflicts": conflicts}


def naive_view(entity: Entity, changes: Iterable[Change], some: set[str] | None = None) -> dict[str, Any]:
    """State, retracted, conflicts, heads, missing parents and version; of `some` of the ops, where that is asked."""
    ops = Ops(changes)
    some = set(ops.all) if some is None else some
    view = (merge_view if entity.entity_type in MERGED else contended_view)(entity, ops, some)
    return view | {"heads": sorted(ops.heads(some)), "missing": ops.missing, "version": len(some)}


def contender_view(entity: Entity, changes: Iterable[Change]) -> tuple[dict, Mark, list[tuple]]:
    """Append and manual by whole states: a second reading, for histories whose resolves name every field.

    Each op has contenders, one for each side that is left: what it makes of those of its parents, under its own id
    where they have become one. State, mark, and (id, fields, op_ids) of the conflict.
    """
    ops = Ops(changes)

    def marked(change: Change, mark: Mark) -> Mark:
        if change.op_type in ("amend", "resolve"):
            return None
        own = (change.op_id, change.reason)
        return max(mark or own, own, key=lambda m: m[0]) if change.op_type == "retract" else mark

    @cache
    def contenders(o: str) -> tuple[tuple[str, tuple, Mark], ...]:
        change = ops.all[o]
        before = {one for p in ops.heads(ops.parents[o]) for one in contenders(p)} or {("", (), None)}
        after = []
        for key, values, mark in before:
            new = {} if change.op_type in ("create", "amend") else dict(values)
            new = {name: value for name, value in (new | change.fields).items() if value is not None}
            after.append((key, tuple(sorted(new.items())), marked(change, mark)))
        if len({(values, mark is None) for _, values, mark in after}) == 1:
            mark = max((m for _, _, m in after if m), key=lambda m: m[0], default=None)
            return ((o, after[0][1], mark),)
        return tuple(after)

    left = {one for h in ops.heads(set(ops.all)) for one in contenders(h)}
    assert len({key for key, _, _ in left}) == len(left)
    _, shown, mark = max(left, key=lambda one: (one[2] is None, one[0]))
    if mark is not None:
        mark = max((m for _, _, m in left if m), key=lambda m: m[0])
    names = {name for _, values, _ in left for name, _ in values}
    fields = sorted(n for n in names if len({dict(values).get(n) for _, values, _ in left}) > 1)
    if len({mark is None for _, _, mark in left}) > 1:
        fields = ["*"]
    keys = {key for key, _, _ in left}
    return dict(shown), mark, [(naive_id(entity, keys), fields, keys)] if fields else []
