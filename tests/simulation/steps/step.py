"""What every step is: frozen data drawn once, and one thing that it does to a world, if the world is such that it can."""

from __future__ import annotations

import random
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from tests.simulation.world import World


@dataclass(frozen=True, slots=True)
class Step:
    """`salt` is where small choices come from which only the world that it meets can offer: of which entity, which field."""

    salt: int

    @classmethod
    def draw(cls, chance: random.Random, parties: int) -> Self:
        """One of its kind. A field `who` (or `other`) is the number of a party, `share` and `few` a share of one, a small number."""
        drawn: dict[str, int | float] = {}
        for field in fields(cls):
            match field.name:
                case "who" | "other":
                    drawn[field.name] = chance.randrange(parties)
                case "salt":
                    drawn[field.name] = chance.getrandbits(24)
                case "share":
                    drawn[field.name] = round(chance.random(), 3)
                case "few":
                    drawn[field.name] = chance.randint(1, 6)
                case name:
                    raise TypeError(f"{cls.__name__}.{name} is not drawn by anybody")
        return cls(**drawn)  # type: ignore[arg-type]

    def chance(self) -> random.Random:
        """Its small choices, the same whenever it is done."""
        return random.Random(self.salt)

    async def do(self, world: World) -> str | None:
        """Do it, and say what was done; None where it could not be done and nothing was."""
        raise NotImplementedError

    def __str__(self) -> str:
        drawn = ", ".join(
            f"{field.name}={getattr(self, field.name)}" for field in fields(self) if field.name != "salt"
        )
        return f"{type(self).__name__}({drawn})"
