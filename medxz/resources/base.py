"""What all elements and resources have in common, and the rules that span several members of one.

A model says with its fields which members there are, which must be there, and which codes they may hold; with
`at_most_one` and `exactly_one` which choice types (`value[x]`) it has; with `rules` what its members ask of each other.
What a model does not name is let pass and kept. `rules` look at the JSON as it is, nulls taken away.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any, ClassVar, Final, NamedTuple, get_args, get_type_hints

from pydantic import BaseModel, ConfigDict

from medxz.resources.forms import Code, Id, Instant, String, Uri

Members = Mapping[str, Any]


class Problem(NamedTuple):
    """Where a resource is not lawful (`name[0].family`), and what it has to be."""

    path: str
    message: str


Rule = Callable[[Members], Iterator[Problem]]


class Element(BaseModel):
    """A part of a resource, or a whole one."""

    model_config = ConfigDict(frozen=True, extra="allow", defer_build=True)

    at_most_one: ClassVar[tuple[str, ...]] = ()
    exactly_one: ClassVar[tuple[str, ...]] = ()
    rules: ClassVar[tuple[Rule, ...]] = ()


class Extension(Element):
    """What FHIR itself has no member for. Its value may be of any type."""

    url: Uri


class Meta(Element):
    versionId: Id | None = None
    lastUpdated: Instant | None = None
    profile: tuple[Uri | None, ...] | None = None


class Resource(Element):
    resourceType: String | None = None
    id: Id | None = None
    meta: Meta | None = None
    implicitRules: Uri | None = None
    language: Code | None = None
    contained: tuple[dict[str, Any], ...] | None = None
    extension: tuple[Extension, ...] | None = None
    modifierExtension: tuple[Extension, ...] | None = None


# The types that a choice's name may end in. `effectiveDate` is a mistake that nobody would ever read the value of.
DATATYPES: Final = frozenset((
    "Base64Binary", "Boolean", "Canonical", "Code", "Date", "DateTime", "Decimal", "Id", "Instant", "Integer",
    "Markdown", "Oid", "PositiveInt", "String", "Time", "UnsignedInt", "Uri", "Url", "Uuid", "Address", "Age",
    "Annotation", "Attachment", "CodeableConcept", "Coding", "ContactPoint", "Count", "Distance", "Dosage", "Duration",
    "HumanName", "Identifier", "Money", "Period", "Quantity", "Range", "Ratio", "Reference", "SampledData", "Signature",
    "Timing",
))  # fmt: skip


class Shape(NamedTuple):
    """What is looked up of a model: its choices, each with its forms, and the elements inside it."""

    choices: tuple[tuple[str, frozenset[str], bool], ...]
    inner: tuple[tuple[str, type[Element]], ...]


@cache
def shape_of(model: type[Element]) -> Shape:
    hints = get_type_hints(model)  # what a model says of one further down is a name until then
    names = {field.alias or name: hints[name] for name, field in model.model_fields.items()}
    choices = tuple(
        (stem, frozenset(name for name in names if is_form(stem, name)), stem in model.exactly_one)
        for stem in (*model.exactly_one, *model.at_most_one)
    )
    inner = ((name, element_in(annotation)) for name, annotation in names.items())
    return Shape(choices, tuple((name, element) for name, element in inner if element is not None))


def element_in(annotation: Any) -> type[Element] | None:
    """The model inside `Period | None` or `tuple[Period, ...]`; None where it is a primitive."""
    if isinstance(annotation, type) and issubclass(annotation, Element):
        return annotation
    return next((found for part in get_args(annotation) if (found := element_in(part)) is not None), None)


def has_choice(stem: str, members: Members) -> bool:
    """Whether `stem[x]` is there in any form, be it one of which only an extension is known."""
    return any(is_form(stem, name.removeprefix("_")) for name in members)


def is_form(stem: str, name: str) -> bool:
    return name.startswith(stem) and name[len(stem) :] in DATATYPES


def present(members: Members) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}


def inconsistencies(
    model: type[Element], members: Members, *, path: str = "", whole: bool = True
) -> Iterator[Problem]:
    """What the choices and rules of this element, and of those inside it, find wrong.

    A patch is not `whole`: what it does not name may well be there already.
    """
    shape, there = shape_of(model), present(members)
    for stem, forms, needed in shape.choices:
        yield from _of_choice(stem, forms, there, path=path, needed=needed and whole)
    if whole:
        for rule in model.rules:
            yield from (Problem(f"{path}{where}", message) for where, message in rule(there))
    for name, element in shape.inner:
        value = there.get(name)
        if isinstance(value, dict):
            yield from _inside(element, value, f"{path}{name}")
        elif isinstance(value, list):
            for index, item in enumerate(value):
                if isinstance(item, dict):
                    yield from _inside(element, item, f"{path}{name}[{index}]")


def _inside(element: type[Element], value: Members, path: str) -> Iterator[Problem]:
    if not value:
        yield Problem(path, "must not be empty")
    else:
        yield from inconsistencies(element, value, path=f"{path}.")


def _of_choice(
    stem: str, forms: frozenset[str], there: Members, *, path: str, needed: bool
) -> Iterator[Problem]:
    # `_valueString` alone is a value too: one of which only an extension is known
    named = sorted({name.removeprefix("_") for name in there if is_form(stem, name.removeprefix("_"))})
    lawful = ", ".join(sorted(forms))
    for name in named:
        if name not in forms:
            yield Problem(f"{path}{name}", f"is no form of {stem}[x]; there are {lawful}")
    if len(named) > 1:
        yield Problem(f"{path}{stem}[x]", f"must be there once, not as {', '.join(named)}")
    if not named and needed:
        yield Problem(f"{path}{stem}[x]", f"is missing; it is one of {lawful}")
