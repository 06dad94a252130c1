"""The merge engine with graphs that no device would make, and readers of states that anybody may have written."""

from __future__ import annotations

import json
from collections.abc import Sequence
from random import Random
from typing import Any, Final

from medxz.merge.change import Change, members_of
from medxz.merge.dated import date_of, encounter_of, patients_of, span_of
from medxz.merge.entity import Entity
from medxz.merge.growing import Growing
from medxz.merge.history import history_of
from medxz.merge.line import changes_of_line, line_of
from medxz.merge.patients import facts_of
from medxz.merge.view import resolved_of, view_of
from medxz.rules import payload_problem
from medxz.store.views.question import matches
from tests.fuzz.surface import Surface, holds
from tests.unit.merge.naive import naive_view
from tests.unit.merge.worlds import ENTITIES, FIELDS, VALUES, change, plain

OPS_MAX: Final = 10
_OP_TYPES: Final = ("create", "update", "amend", "retract", "resolve")
_BYTES_AN_OP: Final = 5


def graph_seeds() -> Sequence[bytes]:
    random = Random("graphs")
    made = [
        bytes([kind]) + random.randbytes(_BYTES_AN_OP * count)
        for kind in range(3)
        for count in (1, 2, 3, 5, 8, OPS_MAX)
    ]
    chain = b"".join(bytes((at % 5, 1, 1 << (at % 8), at, at)) for at in range(OPS_MAX))
    return [b"", *made, b"\x00" + chain, b"\x01" + chain]


def graph_of_bytes(data: bytes) -> tuple[Entity, list[Change]]:
    """Any bytes as ops of one entity: five each. Parents may be itself, later ops, and ops that nobody has."""
    entity = ENTITIES[data[0] % 3]
    body = data[1 : 1 + _BYTES_AN_OP * OPS_MAX]
    count = len(body) // _BYTES_AN_OP
    made = []
    for at in range(count):
        kind, near, far, which, values = body[at * _BYTES_AN_OP : (at + 1) * _BYTES_AN_OP]
        op_type = _OP_TYPES[kind % 5]
        parents = {at - 1 - back for back in range(4) if near >> back & 1 and at - 1 - back >= 0}
        parents |= {(far >> 4) % (count + 1)} if far & 1 else set()
        parents |= {(far >> 1) % (count + 1)} if far & 8 else set()
        named = sorted(f"{one:02}" if one < count else "gone" for one in parents)
        fields = {
            name: VALUES[(values + slot) % len(VALUES)]
            for slot, name in enumerate(FIELDS)
            if which >> slot & 1
        }
        made.append(
            change(
                f"{(at * 7 + near) % 10}{at:02}"[-2:] if kind & 64 else f"{at:02}", op_type, named,
                fields={} if op_type == "retract" else fields,
                reason=b'"x"' if op_type in ("retract", "resolve") and kind & 32 else None,
            )
        )  # fmt: skip
    return entity, made


def take_graph(data: bytes) -> str:
    """A function of the set of ops: in any order, op by op, through lines, and as the document has it word by word."""
    if not data:
        return "nothing"
    entity, changes = graph_of_bytes(data)
    if not changes:
        return "nothing"
    view = view_of(entity, changes)
    random = Random(data)
    for _ in range(2):
        mixed = random.sample(changes, len(changes))
        holds("whatever the order", view_of(entity, mixed) == view, mixed)
        holds("resolved whatever the order", resolved_of(entity, mixed) == resolved_of(entity, changes))
    holds("as the document says", plain(view) == naive_view(entity, changes), plain(view))
    _check_growing(entity, changes, random)
    line = line_of(entity, changes)
    named, told = changes_of_line(entity.clinic_id, line)
    holds(
        "through a line", named == entity and view_of(entity, told) == view and line_of(entity, told) == line
    )
    cut = random.randint(1, len(changes))
    held = changes_of_line(entity.clinic_id, line_of(entity, changes[:cut]))[1]
    holds("upon a line", view_of(entity, [*held, *changes[cut:]]) == view)
    for entry in history_of(entity, changes).entries:
        json.loads(entry.to_wire_json())
    json.loads(view.to_wire_json())
    return f"{data[0] % 3} {len(view.heads) > 1} {len(view.conflicts)} {view.retracted is not None} {len(view.missing_parents) > 0}"


def _check_growing(entity: Entity, changes: Sequence[Change], random: Random) -> None:
    one = Growing(entity)
    order = random.sample(changes, len(changes))
    for count, newest in enumerate(order, start=1):
        if not one.add(newest):
            one = Growing.of(entity, order[:count])
        conflicts = view_of(entity, order[:count]).conflicts
        expected = (conflicts[0].conflict_id, conflicts[0].fields) if conflicts else None
        holds("op by op", one.conflict == expected, one.conflict, expected)
        base = one.base()
        if base is not None and random.random() < 0.5:
            one = Growing.from_base(entity, base)


def state_seeds() -> Sequence[bytes]:
    told: list[dict[str, Any]] = [
        {"name": [{"use": "official", "family": "Müller-Lüdenscheid", "given": ["Änne", "X"], "text": "t"}, "plain"],
         "birthDate": "1980-02-03", "identifier": [{"system": "s", "value": "AB-12 34", "type": {"coding": [{"code": "MR"}]}}],
         "telecom": [{"system": "phone", "value": "+49 (0)170 1234567 ext. 4"}],
         "link": [{"other": {"reference": "Patient/019a8c5e-7d0f-7b11-8d55-6f0e2c4b8a77"}, "type": "seealso"}]},
        {"subject": {"reference": "urn:uuid:019a8c5e-7d0f-7b11-8d55-6f0e2c4b8a77"}, "effectiveDateTime": "2026-11-21T10:00:00+14:00",
         "encounter": {"reference": "http://h/Encounter/019a8c5e-7d0f-7b11-8d55-6f0e2c4b8a77/_history/1"}},
        {"patient": {"reference": "Patient/019A8C5E-7D0F-7B11-8D55-6F0E2C4B8A77"}, "occurrencePeriod": {"start": "2026", "end": "2025-02-31"},
         "period": {"start": "0001-01-01T00:00:00Z", "end": "9999-12-31T23:59:59-12:00"}, "date": "2026-11", "issued": "x"},
        {"participant": [{"actor": {"reference": "Patient/019a8c5e-7d0f-7b11-8d55-6f0e2c4b8a77"}}], "start": "2026-11-21T23:59:60Z"},
    ]  # fmt: skip
    return [json.dumps(one, ensure_ascii=False).encode() for one in told] + [
        b"m\xc3\xbcller 1980 0170-123 456 AB12",
        b'3.2.1980 "x* OR',
    ]


def take_state(data: bytes) -> str:
    """A lawful payload is read whatever its form; any text is a question to the search index and never its syntax."""
    questions = matches(data.decode("utf-8", "replace"))
    for question in questions:
        bare = question.replace('NOT "!"', "").replace('AND "!"', "").replace('OR "!"', "")
        tokens = bare.split('"')[1::2]
        holds("a token has no syntax in it", all(_is_token(token) for token in tokens), question)
        holds("quotes are in pairs", question.count('"') % 2 == 0, question)
    span_of(data[:40].decode("utf-8", "replace"))
    if payload_problem(data) is not None:
        return f"asked {len(questions)}"
    state = members_of(data)
    facts = facts_of(state)
    for text in (
        facts.sort_name,
        *facts.words,
        *facts.identifiers,
        *facts.phones,
        *facts.links,
        *facts.birth_dates,
    ):
        text.encode()
    found = {
        kind: patients_of(kind, state)
        for kind in ("Patient", "Observation", "Appointment", "RelatedPerson", "X")
    }
    span = date_of(state)
    holds("an end is not before its beginning", span is None or span.first_ms <= span.last_ms, span)
    encounter_of(state)
    return f"{facts.sort_name != ''} {len(facts.shared)} {any(found.values())} {span is not None}"


def _is_token(token: str) -> bool:
    return token != "" and not set(token.lstrip("#@+")) & set(" \"*^:()-'")


SURFACES: Final = (
    Surface(
        "merge",
        "view, Growing, lines, naive reading",
        take_graph,
        graph_seeds,
        is_json=False,
        bytes_max=1 + _BYTES_AN_OP * OPS_MAX,
        short_run=100,
    ),
    Surface("state", "facts, dates, search words", take_state, state_seeds),
)
