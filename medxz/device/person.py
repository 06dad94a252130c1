"""Who uses the device now, and what that person may see and write on it: by the roles that came with the session.

What a tablet holds follows the tablet; what is shown of it follows the person, as at a server. A device whose token said
nothing of roles shows what it holds.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import msgspec

from medxz.errors import LoginNeeded, RoleForbids
from medxz.roles import EVERY, NONE, Types, readable, writable

if TYPE_CHECKING:
    from medxz.device.store.rows import HeldOp

_WITHHELD: Final = msgspec.Raw(b"null")


@dataclass(frozen=True, slots=True)
class Person:
    """Who is logged in, and whether the device is locked now. `roles` is None where nobody has said any."""

    user_id: str | None
    roles: tuple[str, ...] | None
    is_locked: bool = False

    @property
    def reads(self) -> Types:
        if self.user_id is None:
            return NONE
        return EVERY if self.roles is None else readable(self.roles)

    def require_reading(self, entity_types: Collection[str] = ()) -> None:
        """LoginNeeded where nobody is there to read; RoleForbids where one of these types is not this person's."""
        if self.user_id is None:
            raise LoginNeeded("nobody is logged in on this device, so nothing of it is shown")
        for entity_type in entity_types:
            if entity_type not in self.reads:
                raise RoleForbids(f"{self._who()} does not read {entity_type}")

    def require_writing(self, entity_type: str) -> None:
        """RoleForbids where the servers would reject it; LoginNeeded where nobody is there, whoever is named as the author."""
        if self.user_id is None:
            raise LoginNeeded("nobody is logged in on this device, so nothing was recorded")
        if self.roles is not None and entity_type not in writable(self.roles):
            raise RoleForbids(f"{self._who()} does not write {entity_type}: nothing was recorded")

    def shown(self, held: HeldOp) -> HeldOp | None:
        """An op as this person sees it arrive: none of another's types, and no payload while the device is locked."""
        if held.op.entity_type not in self.reads:
            return None
        if self.is_locked:
            return replace(held, op=msgspec.structs.replace(held.op, payload=_WITHHELD))
        return held

    def _who(self) -> str:
        return f"the role {', '.join(self.roles)}" if self.roles else "who is logged in has no role, and"


def roles_text(roles: Collection[str] | None) -> str | None:
    """As they are kept."""
    return None if roles is None else " ".join(sorted(roles))


def read_roles(text: str | None) -> tuple[str, ...] | None:
    return None if text is None else tuple(text.split())
