"""The examples of docs/protocol.md section 6, read from the document."""

import re
from itertools import permutations
from pathlib import Path

import pytest

from medxz.merge.change import Change
from medxz.merge.entity import Entity
from medxz.merge.view import View, view_of
from tests.unit.merge.naive import naive_view
from tests.unit.merge.worlds import ENTITIES, change, plain

PROTOCOL = (Path(__file__).resolve().parents[3] / "docs" / "protocol.md").read_text("utf-8")
BEFORE = "`A create: name=1 phone=1`"
OP = re.compile(r"`([A-Z]) (\w+)(?: of ([A-Z ]+))?(?:: ([^`]+))?`")
OUTCOME = re.compile(
    r"(?:`([^`]*)`)(?: retracted by ([A-Z]))?((?:; `[^`]+` between [A-Z ]+)*)(?:; ([A-Z]) missing)?"
)


def examples() -> list[tuple[str, str, str, str]]:
    text = PROTOCOL.partition("### Examples")[2].partition("\n### ")[0]
    rows = [
        tuple(cell.strip() for cell in line.strip("|").split("|"))
        for line in text.splitlines()
        if "|" in line
    ]
    return [(row[0], row[1], row[2], row[3]) for row in rows[2:]]


def fields_of(text: str | None) -> dict[str, bytes | None]:
    pairs = (pair.split("=") for pair in (text or "").split())
    return {name: None if value == "-" else value.encode() for name, value in pairs}


def ops_of(text: str) -> list[Change]:
    found = OP.findall(f"{BEFORE}, {text}")
    assert len(found) == text.count("`") // 2 + 1, text
    return [
        change(o, op_type, parents.split(), fields=fields_of(fields)) for o, op_type, parents, fields in found
    ]


def outcome(view: View) -> str:
    """A view, written as in the document."""
    text = "`" + " ".join(f"{name}={value.decode()}" for name, value in view.state.items()) + "`"
    if view.retracted:
        text += f" retracted by {view.retracted.op_id}"
    for conflict in view.conflicts:
        assert conflict.kind == ("retract" if conflict.fields == ("*",) else "edit")
        text += f"; `{' '.join(conflict.fields)}` between {' '.join(conflict.op_ids)}"
    return text + "".join(f"; {parent} missing" for parent in view.missing_parents)


@pytest.mark.parametrize(("what", "ops", "patient", "condition"), examples(), ids=lambda cell: cell[:40])
def test_each_example_is_so(what: str, ops: str, patient: str, condition: str) -> None:
    """An example comes out as it is written, whatever the order, under each policy and in the naive reading too."""
    changes = ops_of(ops)
    for entity, expected in zip(ENTITIES, (patient, condition, condition), strict=True):
        assert OUTCOME.fullmatch(expected), what
        for order in permutations(changes):
            assert outcome(view_of(entity, order)) == expected
        assert plain(view_of(entity, changes)) == naive_view(entity, changes)


def test_none_is_lost() -> None:
    """The table has the cases that people will look for."""
    told = {what for what, *_ in examples()}
    assert len(told) == len(examples()) >= 24
    assert {
        "create beside create",
        "a resolve that misses a head",
        "three heads",
        "a cycle",
        "and has come",
    } <= told


@pytest.mark.parametrize("entity", ENTITIES, ids=["merge", "manual", "append"])
def test_what_a_resolve_leaves_keeps_its_id(entity: Entity) -> None:
    """A resolve of some fields leaves the others in conflict under the id that it had."""
    row = next(row for row in examples() if row[0] == "a resolve that names only some fields")
    changes = ops_of(row[1])
    (before,), (after,) = (view_of(entity, some).conflicts for some in (changes[:-1], changes))
    assert before.conflict_id == after.conflict_id
    assert (before.fields, after.fields) == (("name", "phone"), ("name",))
