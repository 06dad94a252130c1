"""Two hubs of one site: the pieces of a clinic in one process (tests/uplink), and what neighbours are asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from hub.neighbours.neighbour import LinkState
from medxz.clock import SystemClock
from medxz.trust.proofs import sign_proof
from tests.uplink.conftest import IDS, Box, Relay, make_box, nora, north, relay, south, until

__all__ = ["make_box", "nora", "north", "relay", "south"]


def states(box: Box) -> list[LinkState]:
    assert box.running.doors.neighbours is not None
    return box.running.doors.neighbours.states()


def are_online(*boxes: Box) -> bool:
    return all([state.is_online for state in states(box)] == [True] for box in boxes)


def id_of(box: Box) -> str:
    return box.running.storage.log.server_id


def ops_of(box: Box) -> int:
    return box.running.storage.log.last_seq


def assertion(of: Box, at: Box, audience: str | None = None) -> dict[str, str]:
    """What one hub shows another to be let in."""
    claim = of.running.identity.claim
    assert claim is not None
    return {
        "assertion": sign_proof(claim.private_key, claim.hub_id, audience or id_of(at), SystemClock(), IDS)
    }


async def asked(of: Box, at: Box) -> httpx.Response:
    return await at.http.post("/v1/auth/hub", json=assertion(of, at))


async def figures(http: httpx.AsyncClient) -> dict[str, float]:
    """What /metrics says."""
    lines = (await http.get("/metrics")).text.splitlines()
    told: list[Any] = [line.rsplit(" ", 1) for line in lines if not line.startswith("#")]
    return {name: float(value) for name, value in told}


@pytest.fixture
async def second(relay: Relay, north: Box, make_box: Callable[[str], Box]) -> Box:
    """Another hub at the site of the first; the two have met."""
    box = make_box("second")
    await box.claim(relay, "North")
    await box.start()
    await until(lambda: are_online(north, box), "the two hubs of the site")
    return box
