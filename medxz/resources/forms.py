"""FHIR R4's primitive types, as they are written in JSON: each is its JSON type and a form, and says what it wants.

Nothing is turned into something else: "5" is no number and 1 is no boolean. Of what was written a message says nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from typing import Annotated, Any, Final

from pydantic import AfterValidator, Field, PlainValidator, StrictBool, StrictStr
from pydantic_core import PydanticCustomError

BROKEN_FORM: Final = "form"


def refuse(message: str) -> PydanticCustomError:
    """A value that has the right JSON type and is not lawful; the message is shown as it is."""
    return PydanticCustomError(BROKEN_FORM, "{rule}", {"rule": message})


def matching(pattern: str, rule: str) -> AfterValidator:
    """Text of this pattern; the rule says it in words."""
    compiled = re.compile(pattern, re.ASCII)

    def hold(text: str) -> str:
        if compiled.fullmatch(text) is None:
            raise refuse(rule)
        return text

    return AfterValidator(hold)


_DAY: Final = r"(?!0000)\d{4}(?:-(?:0[1-9]|1[0-2])(?:-(?:0[1-9]|[12]\d|3[01]))?)?"
_WHOLE_DAY: Final = r"(?!0000)\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])"
_CLOCK: Final = r"(?:[01]\d|2[0-3]):[0-5]\d:(?:[0-5]\d|60)(?:\.\d+)?"
_ZONE: Final = r"(?:Z|[+-](?:(?:0\d|1[0-3]):[0-5]\d|14:00))"
_MOMENT: Final = rf"{_WHOLE_DAY}T{_CLOCK}{_ZONE}"

DATE_RULE: Final = "must be a date that there is, written YYYY, YYYY-MM or YYYY-MM-DD"
DATE_TIME_RULE: Final = (
    "must be a date that there is, written YYYY, YYYY-MM or YYYY-MM-DD, or such a day with seconds and time zone: "
    "YYYY-MM-DDThh:mm:ssZ or YYYY-MM-DDThh:mm:ss+hh:mm"
)
INSTANT_RULE: Final = (
    "must be a moment with seconds and time zone: YYYY-MM-DDThh:mm:ssZ or YYYY-MM-DDThh:mm:ss+hh:mm"
)
TIME_RULE: Final = "must be a time of day written hh:mm:ss"
REFERENCE_RULE: Final = "must be written Type/id, urn:uuid:…, urn:oid:…, as an absolute address (https://…), or #id of a contained resource"


def _dated(pattern: str, rule: str) -> Callable[[str], str]:
    """The pattern, and a day that is in the calendar."""
    compiled = re.compile(pattern, re.ASCII)  # \d would take the digits of any script

    def hold(text: str) -> str:
        if compiled.fullmatch(text) is None:
            raise refuse(rule)
        if len(text) >= len("YYYY-MM-DD"):
            try:
                date.fromisoformat(text[:10])
            except ValueError:
                raise refuse(rule) from None
        return text

    return hold


def _decimal(value: Any) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise refuse("must be a number, not in quotes")
    return Decimal(value)


def _integer(least: int, rule: str) -> Callable[[Any], int]:
    def hold(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= 2**31 - 1:
            raise refuse(rule)
        return value

    return hold


Boolean = StrictBool
# not empty; FHIR says the same of `string` and of `markdown`
String = Annotated[StrictStr, matching(r"[\s\S]+", "must not be empty text")]
Code = Annotated[
    StrictStr,
    matching(r"[^\s]+(\s[^\s]+)*", "must be a code: not empty, no spaces around it or doubled within"),
]
Id = Annotated[StrictStr, matching(r"[A-Za-z0-9.-]{1,64}", "must be 1 to 64 letters, digits, '-' and '.'")]
Uri = Annotated[StrictStr, matching(r"\S+", "must be a URI: not empty, without spaces")]
Date = Annotated[StrictStr, AfterValidator(_dated(_DAY, DATE_RULE))]
DateTime = Annotated[StrictStr, AfterValidator(_dated(rf"{_DAY}|{_MOMENT}", DATE_TIME_RULE))]
Instant = Annotated[StrictStr, AfterValidator(_dated(_MOMENT, INSTANT_RULE))]
Time = Annotated[StrictStr, matching(_CLOCK, TIME_RULE)]
Number = Annotated[Decimal, PlainValidator(_decimal)]
Integer = Annotated[
    int, PlainValidator(_integer(-(2**31), "must be a whole number of at most 32 bits, not in quotes"))
]
UnsignedInt = Annotated[int, PlainValidator(_integer(0, "must be a whole number from 0 on, not in quotes"))]
PositiveInt = Annotated[int, PlainValidator(_integer(1, "must be a whole number from 1 on, not in quotes"))]
ReferenceText = Annotated[
    StrictStr,
    matching(
        r"#[A-Za-z0-9.-]{0,64}|[A-Z][A-Za-z]{1,63}/[A-Za-z0-9.-]{1,64}(?:/_history/[A-Za-z0-9.-]{1,64})?"
        r"|urn:uuid:[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}|urn:oid:[0-2](?:\.(?:0|[1-9][0-9]*))+"
        r"|https?://[^\s/]+\S*",
        REFERENCE_RULE,
    ),
]
AtLeastOne = Field(min_length=1)

__all__ = [
    "AtLeastOne", "Boolean", "Code", "Date", "DateTime", "Id", "Instant", "Integer", "Number", "PositiveInt",
    "ReferenceText", "String", "Time", "UnsignedInt", "Uri", "BROKEN_FORM", "matching", "refuse",
]  # fmt: skip
