"""Through a graph, parents first: what stands before each op, what after it, and what stands at the end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from medxz.merge.change import Change
from medxz.merge.contending import Contended
from medxz.merge.graph import Graph
from medxz.merge.merging import Merged
from medxz.merge.standing import Standing
from medxz.policy import policy_of


def reading_of(entity_type: str) -> type[Standing]:
    """How ops of this type are read."""
    return Merged if policy_of(entity_type) == "merge" else Contended


def standing_of(entity_type: str, graph: Graph) -> Standing:
    """What the whole graph amounts to."""
    walk = Walk(entity_type, graph)
    for _ in walk.steps():
        pass
    return walk.end


class Walk:
    """One walk through a graph. A standing is dropped when the last child has been there; the heads' are kept."""

    def __init__(self, entity_type: str, graph: Graph) -> None:
        self._graph = graph
        self._reading = reading_of(entity_type)
        self._standings: list[Standing | None] = [None] * len(graph.changes)

    def steps(self) -> Iterator[tuple[Change, Standing, Standing]]:
        """Each op, with what stands before it and after it."""
        graph, standings = self._graph, self._standings
        forked = graph.forked  # where nothing is beside anything, nobody asks who is behind whom
        children = [0] * len(standings)
        for parents in graph.parents:
            for parent in parents:
                children[parent] += 1
        for place, change in enumerate(graph.changes):
            parents = graph.parents[place]
            before = self._joined(parents)
            after = before.followed_by(change, 1 << place if forked else 0)
            standings[place] = after
            for parent in parents:
                children[parent] -= 1
                if not children[parent]:
                    standings[parent] = None
            yield change, before, after

    @property
    def end(self) -> Standing:
        """What stands at the end of a walk that was gone to its end."""
        return self._joined(self._graph.heads)

    def _joined(self, places: Sequence[int]) -> Standing:
        standings = [(place, self._standing(place)) for place in places]
        if len(standings) == 1:
            return standings[0][1]
        return join(self._reading, [(1 << place, standing) for place, standing in standings])

    def _standing(self, place: int) -> Standing:
        standing = self._standings[place]
        assert standing is not None, "parents come first, and stay until their last child"
        return standing


def join(reading: type[Standing], sides: Sequence[tuple[int, Standing]]) -> Standing:
    """Standings beside each other, each with the bit of its op. One that is behind another adds nothing."""
    behind = 0
    for bit, standing in sides:
        behind |= standing.closure & ~bit
    apart = [standing for bit, standing in sides if not bit & behind]
    if not apart:
        return reading.nothing()
    return apart[0] if len(apart) == 1 else reading.joined(apart)
