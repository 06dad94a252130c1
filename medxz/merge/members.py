"""Reading a state that anybody may have written: FHIR where it looks like it, nothing where it does not.

A state is never refused here. What has another form than FHIR gives it is passed over, and the rest is still read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

State = Mapping[str, bytes]

_DECODER: Final = msgspec.json.Decoder(float_hook=str)  # a number's size is never a reason to fail
_UUID: Final = "[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"
_PATIENT: Final = re.compile(f"(?:Patient/|urn:uuid:|.*/Patient/)({_UUID})(?:/_history/.*)?")


_ENCOUNTER: Final = re.compile(f"(?:.*/)?Encounter/({_UUID})(?:/_history/.*)?")


def member(state: State, name: str) -> object:
    """A top-level member as Python has it; None where it is absent or cannot be read."""
    raw = state.get(name)
    if raw is None:
        return None
    try:
        return _DECODER.decode(raw)
    except (msgspec.DecodeError, RecursionError):
        return None


def texts(value: object) -> Iterator[str]:
    """The texts of a text or of a list of them."""
    for item in value if isinstance(value, list) else (value,):
        if isinstance(item, str):
            yield item


def objects(value: object) -> Iterator[dict[str, object]]:
    """The objects of an object or of a list of them."""
    for item in value if isinstance(value, list) else (value,):
        if isinstance(item, dict):
            yield item


def patient_id(reference: object) -> str | None:
    """Whom a reference means: `Patient/<uuid>`, with a server before or a version behind, or `urn:uuid:<uuid>`."""
    if isinstance(reference, dict):
        reference = reference.get("reference")
    if not isinstance(reference, str):
        return None
    found = _PATIENT.fullmatch(reference)
    return found[1].lower() if found is not None else None


def encounter_id(reference: object) -> str | None:
    """Which encounter a reference means: `Encounter/<uuid>`, with a server before or a version behind."""
    if isinstance(reference, dict):
        reference = reference.get("reference")
    found = _ENCOUNTER.fullmatch(reference) if isinstance(reference, str) else None
    return found[1].lower() if found is not None else None
