"""What a device holds: everything of its clinic, or only what a front desk needs."""

from __future__ import annotations

from typing import Final, Literal

Scope = Literal["full", "front_desk"]
FRONT_DESK_TYPES: Final = frozenset({"Patient", "RelatedPerson", "Coverage", "Appointment"})


def is_narrower(scope: Scope, than: Scope) -> bool:
    return scope == "front_desk" and than == "full"
