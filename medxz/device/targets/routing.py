"""Which kinds of servers somebody tries, in which order: as the clinic decided for the role. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final

from medxz.device.store.identity import Kind

DEFAULT: Final[tuple[Kind, ...]] = ("hub", "cloud")
# of several roles that somebody has, the first of these counts
_ROLES: Final = ("admin", "clinician", "front_desk")


def route(routing: Mapping[str, Sequence[Kind]], roles: Collection[str] | None) -> tuple[Kind, ...]:
    """The kinds in their order, each once; what nobody decided is the hub, then the cloud."""
    for role in _ROLES:
        if role in (roles or ()) and (decided := tuple(dict.fromkeys(routing.get(role, ())))):
            return decided
    return DEFAULT
