"""The models against somebody else's reading of FHIR R4: the same members, and never stricter but where we say so."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Iterator
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest

from medxz.resources import MODELS, problems_of
from medxz.resources.base import Element, element_in, shape_of
from tests.unit.resources.oracle import LEFT_OUT, Field, Maker, Place, accepts, fields_of, modelled

SEEDS = range(40)


def as_payload(resource: dict[str, Any]) -> bytes:
    return json.dumps(resource, separators=(",", ":")).encode()


def problems(resource: dict[str, Any], op_type: str = "create") -> list[tuple[str, str]]:
    return [*problems_of(resource["resourceType"], 1, op_type, as_payload(resource))]


def codes_in(hint: Any) -> set[str]:
    if get_origin(hint) is Literal:
        return set(get_args(hint))
    return {code for part in get_args(hint) for code in codes_in(part)}


def differences(model: type[Element], theirs: str, path: str, seen: set[type[Element]]) -> Iterator[str]:
    """Where a model of ours, and those inside it, say something else of a member than the oracle."""
    if model in seen:
        return
    seen.add(model)
    fields = {field.name: field for field in fields_of(theirs)}
    hints = get_type_hints(model)
    for name, ours in model.model_fields.items():
        field = fields.get(ours.alias or name)
        if field is None:
            if not {name, ours.alias} & (LEFT_OUT | {"resourceType"}):
                yield f"{path}{name} is not theirs"
            continue
        inner, codes = element_in(hints[name]), codes_in(hints[name])
        said = ours.is_required(), "tuple[" in str(hints[name]), inner is not None
        if said != (field.required, field.is_list, field.is_element):
            yield f"{path}{name} is required, a list, an element: {said}"
        if field.codes and codes != set(field.codes):
            yield f"{path}{name} has other codes: {sorted(codes ^ set(field.codes))}"
        if inner is not None:
            yield from differences(inner, field.kind, f"{path}{name}.", seen)
    yield from choice_differences(model, fields, path)


def choice_differences(model: type[Element], fields: dict[str, Field], path: str) -> Iterator[str]:
    ours = {stem: (forms, needed) for stem, forms, needed in shape_of(model).choices}
    for stem in ours.keys() | {field.choice for field in fields.values() if field.choice}:
        theirs = [field for field in fields.values() if field.choice == stem]
        forms = frozenset(field.name for field in theirs)
        if ours.get(stem) != (forms, any(field.choice_required for field in theirs)):
            yield f"{path}{stem}[x]: {ours.get(stem)}"


@pytest.mark.parametrize("kind", MODELS)
def test_the_same_members(kind: str) -> None:
    """Every member that is modelled is the oracle's: required there or not, a list or not, of the same codes."""
    assert list(differences(MODELS[kind], kind, f"{kind}.", set())) == []


@pytest.mark.parametrize("kind", MODELS)
def test_what_is_lawful_there_is_lawful_here(kind: str) -> None:
    """A resource that the oracle takes has no problems, whole or as a patch."""
    taken = 0
    for seed in SEEDS:
        resource = Maker(kind, seed).resource
        if accepts(kind, as_payload(resource)):
            taken += 1
            assert problems(resource) == [], (seed, resource)
            assert problems(resource, "update") == [], (seed, resource)
    assert taken > len(SEEDS) * 0.9


BAD_DATES = (
    "2026-02-30",
    "2026-13",
    "21.11.2026",
    "2026-11-21 10:00:00Z",
    "2026-11-21T10:00:00",
    "26-01-01",
    "",
)
TEXTS = {"String", "Markdown", "Code", "Id", "Uri", "Canonical", "Url", "Xhtml", "Base64"}


def wrong_type(place: Place) -> Any:
    if place.field.is_list:
        return {"a": 1}
    if place.field.is_element:
        return "text"
    return 5 if place.field.kind in TEXTS - {"Base64"} else {"a": 1}


FITS: dict[str, Callable[[Field], bool]] = {
    "dropped": lambda field: field.required or field.choice_required,
    "wrong type": lambda field: True,
    "bad date": lambda field: field.kind in {"Date", "DateTime", "Instant"} and not field.is_list,
    "bad reference": lambda field: field.kind == "Reference" and not field.is_list,
    "bad code": lambda field: bool(field.codes) and not field.is_list,
    "two values": lambda field: field.choice == "value" and field.name != "valueString",
}


def broken(maker: Maker, how: str) -> Place | None:
    """Break the resource in one place, if it has one where it can be broken so."""
    places = [place for place in maker.places if FITS[how](place.field) and modelled(maker.kind, place.path)]
    if not places:
        return None
    place = maker.chance.choice(places)
    name = place.field.name
    match how:
        case "dropped":
            del place.holder[name]
        case "wrong type":
            place.holder[name] = wrong_type(place)
        case "bad date":
            place.holder[name] = maker.chance.choice(BAD_DATES)
        case "bad reference":
            place.holder[name] = {"reference": maker.chance.choice((5, "", {"reference": "Patient/1"}))}
        case "bad code":
            place.holder[name] = "no-such-code"
        case "two values":
            place.holder["valueString"] = "another"
    return place


@pytest.mark.parametrize("how", FITS)
def test_what_is_broken_is_refused_by_both(how: str) -> None:
    """A required member dropped, a wrong type, date, reference or code, two values: refused there and here, by path."""
    tried = 0
    for kind, seed in itertools.product(MODELS, SEEDS):
        maker = Maker(kind, seed)
        place = broken(maker, how)
        if place is None:
            continue
        tried += 1
        if how != "bad code":  # the oracle lists codes but lets any pass
            assert not accepts(kind, as_payload(maker.resource)), (place, maker.resource)
        found = problems(maker.resource)
        parent = place.path.rpartition(".")[0]
        about = {place.path, parent, f"{parent}.{place.field.choice}[x]".lstrip(".")}
        assert any(path in about or path.startswith(place.path) for path, _ in found), (seed, place, found)
        assert not any(re.search(r"no-such-code|another|2026-02", message) for _, message in found)
    assert tried >= 20
