"""The figures, by the names that `make bench` and `python -m bench NAME` know them by."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from bench.context import Context
from bench.figure import Figure
from bench.figures import (
    courier,
    fleet,
    footprint,
    lan,
    meaning,
    pulls,
    pushes,
    relay,
    scale,
    search,
    sites,
    snapshot,
    wan,
)

Measure = Callable[[Context], list[Figure]]

OF_THE_HUB: Final[dict[str, Measure]] = {
    "push": pushes.batches,
    "singles": pushes.singles,
    "replay": pushes.replays,
    "pull": pulls.pages,
    "mixed": pulls.mixed,
    "stream": pulls.stream,
    "disk": footprint.disk,
    "syncs": footprint.syncs,
    "memory": footprint.memory,
    "start": footprint.start,
    "snapshot": snapshot.starts,
    "search": search.patients,
    "meaning": meaning.conflicts,
    "scale": scale.longer_log,
}
OF_THE_CLOUD: Final[dict[str, Measure]] = {
    "wan": wan.bytes_up,
    "sites": sites.outage,
    "relay": relay.pushes,
    "second": relay.second,
    "idle": relay.idle,
    "clinics": relay.scale,
}
OF_THE_LAN: Final[dict[str, Measure]] = {
    "found": lan.found,
    "moves": lan.moves,
}
OF_THE_COURIER: Final[dict[str, Measure]] = {
    "courier": courier.trips,
}
OF_THE_FLEET: Final[dict[str, Measure]] = {
    "fleet": fleet.rollouts,
}
FIGURES: Final = OF_THE_HUB | OF_THE_CLOUD | OF_THE_LAN | OF_THE_COURIER | OF_THE_FLEET
