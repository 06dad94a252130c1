"""A tablet on a bad Wi-Fi: slow, lossy, or both. Everything arrives, and nobody changes his mind all the time."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from tests.lan.application import Application, Event
from tests.lan.clinic import Clinic, copied
from tests.lan.hosts import Network
from tests.system.hub_process import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("lan")]

OPS = 30
ARRIVED_S_MAX = 60.0


@pytest.fixture
def slow(network: Network, filled: Path, tmp_path: Path) -> Clinic:
    """A clinic in which Nora's tablet has a bad link."""
    return Clinic(copied(filled, tmp_path / "clinic"), network, slow=("nora",)).start()


def at_the_hub(clinic: Clinic, application: Application) -> Application:
    application.until_status("the hub", target=clinic.hub.url)
    application.until(lambda event: event.get("standing") == "live", "the stream")
    return application


@pytest.mark.parametrize(
    ("delay_s", "loss", "moves_max"),
    [(0.0, 0.01, 0), (0.0, 0.2, 2), (0.4, 0.0, 0), (0.4, 0.01, 0)],
    ids=["1%", "20%", "800ms", "800ms-1%"],
)
def test_everything_arrives(slow: Clinic, delay_s: float, loss: float, moves_max: int) -> None:
    """What two tablets record arrives at each other and in the cloud, though the link of one is bad; and that one does
    not move from server to server because of it, nor think that it has lost its own.
    """
    nora, dan = (at_the_hub(slow, tablet.application()) for tablet in (slow.nora, slow.dan))
    slow.nora.host.shape(delay_s, loss)
    for one in (nora, dan):
        one.record(OPS, every_s=0.1)
    events = {one: until_all(one) for one in (nora, dan)}
    targets = [event["target"] for event in events[nora] if event["event"] == "status"]
    moves = sum(one != other for one, other in pairwise(targets))
    assert moves <= moves_max, targets
    assert slow.hub.is_at(targets[-1])
    losses = [event for event in events[nora] if event.get("standing") == "offline"]
    assert len(losses) <= moves_max, losses
    wait_until(lambda: slow.hub.has(2 * OPS) and slow.hub.is_settled, "all of it in the cloud")


def until_all(application: Application) -> list[Event]:
    """What it told until it had all ops of the other, and a server all of its own."""
    told: list[Event] = []
    met: set[str] = set()

    def is_done(event: Event) -> bool:
        told.append(event)
        if event["event"] == "op":
            met.add(event["op_id"])
        status = next((one for one in reversed(told) if one["event"] == "status"), None)
        return len(met) == OPS and status is not None and status["hub"] + status["cloud"] == OPS

    application.until(is_done, "all of it", seconds=ARRIVED_S_MAX)
    return told
