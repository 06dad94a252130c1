"""Query parameters, read by the table of endpoints: what is not in it is refused, and so is what comes twice."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from medxz import limits
from medxz.clock import is_date
from medxz.errors import Invalid

if TYPE_CHECKING:
    from medxz.endpoints import Parameter
    from medxz.web.call import QueryValue

_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,15})")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]{0,15})(?:\.[0-9]{1,20})?(?:[eE][+-]?[0-9]{1,3})?")


def read_query(parameters: tuple[Parameter, ...], text: str) -> dict[str, QueryValue]:
    """The parameters of a query by name, with the table's defaults; Invalid names the one that does not fit."""
    values = {p.name: p.schema["default"] for p in parameters if "default" in p.schema}
    known = {parameter.name: parameter for parameter in parameters}
    seen: set[str] = set()
    for name, value in _pairs(text):
        parameter = known.get(name)
        if parameter is None:
            raise Invalid("there is no such query parameter here", field=name[:64])
        if name in seen:
            raise Invalid("this query parameter may stand once only", field=name)
        seen.add(name)
        values[name] = _read(parameter, value)
    for parameter in parameters:
        if parameter.required and parameter.name not in values:
            raise Invalid("must be given", field=parameter.name)
    return values  # type: ignore[return-value]  # the defaults of the table are of the table's types


def read_places(places: tuple[Parameter, ...], values: tuple[str, ...]) -> tuple[str, ...]:
    """What stands in the places of a path; Invalid names the one that does not fit."""
    return tuple(_read_text(place, value) for place, value in zip(places, values, strict=True))


def _pairs(text: str) -> list[tuple[str, str]]:
    if not text:
        return []
    try:
        text.encode("ascii")
        return parse_qsl(
            text, keep_blank_values=True, errors="strict", max_num_fields=limits.QUERY_PARAMETERS_MAX
        )
    except ValueError:  # too many, not UTF-8 inside the percents, or raw bytes beyond ASCII
        raise Invalid("the query is not percent-encoded UTF-8, or has too many parameters") from None


def _read(parameter: Parameter, text: str) -> QueryValue:
    schema = parameter.schema
    kind = schema["type"]
    if kind == "string":
        longest = schema.get("maxLength")
        if isinstance(longest, int) and len(text) > longest:
            raise Invalid(f"is longer than {longest} characters", field=parameter.name)
        return _read_text(parameter, text)
    number: int | float
    if kind == "integer":
        if _INTEGER.fullmatch(text) is None:
            raise Invalid("must be an integer", field=parameter.name)
        number = int(text)
    else:
        if _NUMBER.fullmatch(text) is None:
            raise Invalid("must be a number", field=parameter.name)
        number = float(text)
    low, high = schema.get("minimum"), schema.get("maximum")
    if (isinstance(low, int) and number < low) or (isinstance(high, int) and number > high):
        raise Invalid(f"must be from {low} to {high}", field=parameter.name)
    return number


def _read_text(parameter: Parameter, text: str) -> str:
    """A text that is of the parameter's form; what it says is never repeated."""
    schema = parameter.schema
    choice, pattern = schema.get("enum"), schema.get("pattern")
    if isinstance(choice, list) and text not in choice:
        raise Invalid(f"must be one of {', '.join(choice)}", field=parameter.name)
    if isinstance(pattern, str) and re.fullmatch(pattern, text) is None:
        raise Invalid(f"must be of the form {pattern}", field=parameter.name)
    if schema.get("format") == "date" and not is_date(text):
        raise Invalid("must be a day of the calendar, written YYYY-MM-DD", field=parameter.name)
    if not text and schema.get("minLength"):
        raise Invalid("must not be empty", field=parameter.name)
    return text
