"""What counts as a conflict, by the type of an entity."""

from __future__ import annotations

from typing import Final, Literal

Policy = Literal["append", "merge", "manual"]

_MERGED: Final = ("Patient", "RelatedPerson", "Coverage", "Appointment", "Encounter")
_BY_HAND: Final = (
    "AllergyIntolerance", "Condition", "MedicationRequest", "CarePlan", "Composition", "DocumentReference",
)  # fmt: skip
_POLICIES: Final[dict[str, Policy]] = {
    **dict.fromkeys(_MERGED, "merge"),
    **dict.fromkeys(_BY_HAND, "manual"),
}


def policy_of(entity_type: str) -> Policy:
    """Types that are not named are only ever appended to: what is not understood is not merged."""
    return _POLICIES.get(entity_type, "append")
