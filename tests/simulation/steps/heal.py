"""Healing, as a step among others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.simulation.steps.step import Step

if TYPE_CHECKING:
    from tests.simulation.world import World


@dataclass(frozen=True, slots=True)
class Heal(Step):
    """All is well again, everybody comes into step, and everything is checked."""

    async def do(self, world: World) -> str | None:
        await world.heal()
        return "healed"
