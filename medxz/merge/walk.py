"""Through a graph, parents first: what stands before each op, what after it, and what stands at the end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet

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
    return Walk(entity_type, graph).finish()


class Walk:
    """One walk through a graph.

    A standing is dropped when the last child has been there: only the heads' stay, and those in the places to `keep`.
    """

    def __init__(self, entity_type: str, graph: Graph, *, keep: AbstractSet[int] = frozenset()) -> None:
        self._keep = keep
        self._graph = graph
        self._reading = reading_of(entity_type)
        self._standings: list[Standing | None] = [None] * len(graph.changes)

    def steps(self) -> Iterator[tuple[Change, Standing, Standing]]:
        """Each op, with what stands before it and after it."""
        graph, standings = self._graph, self._standings
        # where nothing is beside anything, nobody asks who is behind whom
        forked = bool(self._keep) or graph.forked
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
                if not children[parent] and parent not in self._keep:
                    standings[parent] = None
            yield change, before, after

    def finish(self) -> Standing:
        """Go to the end; what stands there."""
        for _ in self.steps():
            pass
        return self.end

    @property
    def end(self) -> Standing:
        """What stands at the end of a walk that was gone to its end."""
        return self._joined(self._graph.heads)

    def standing(self, place: int) -> Standing:
        """What stands after the op in this place, where it was kept."""
        standing = self._standings[place]
        assert standing is not None, "parents come first, and stay until their last child"
        return standing

    def kept(self) -> Iterator[tuple[int, Standing]]:
        """What a walk that was gone to its end has left, with the places."""
        for place, standing in enumerate(self._standings):
            if standing is not None:
                yield place, standing

    def _joined(self, places: Sequence[int]) -> Standing:
        if len(places) == 1:
            return self.standing(places[0])
        return join(self._reading, [self.standing(place) for place in places])


def join(reading: type[Standing], sides: Sequence[Standing]) -> Standing:
    """Standings of ops beside each other. One that is behind another adds nothing."""
    if len(sides) == 1:
        return sides[0]
    behind = 0
    for standing in sides:
        behind |= standing.closure & ~standing.bit
    apart = [standing for standing in sides if not standing.bit & behind]
    if not apart:
        return reading.nothing()
    return apart[0] if len(apart) == 1 else reading.joined(apart)
