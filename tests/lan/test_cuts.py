"""Cables that are pulled and programs that are killed while people work: where an op is safe is told truly, and none is lost."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

import pytest

from tests.lan.application import Application, Event
from tests.lan.clinic import Clinic, LanTablet
from tests.lan.starvation import Starvation
from tests.system.hub_process import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("lan")]

LEFT_S_MAX = 2.0
"""In which a hub that does not answer is left."""


def working(clinic: Clinic, tablet: LanTablet) -> Application:
    """At the hub, with one op that has gone by it to the cloud."""
    started = tablet.application()
    started.until_status("the hub", target=clinic.hub.url)
    started.record()
    started.until_status("the op at the hub", target=clinic.hub.url, here=0, hub=1)
    wait_until(lambda: clinic.hub.is_settled, "the op in the cloud")
    return started


def until_at_the_hub(application: Application, clinic: Clinic) -> Event:
    return application.until(
        lambda event: event["event"] == "status" and clinic.hub.is_at(event["target"]), "the hub again"
    )


def recorded(application: Application, count: int) -> set[str]:
    """The ids of ops that it was told to record, once it has."""
    found: set[str] = set()
    while len(found) < count:
        found.add(str(application.until(lambda event: event["event"] == "recorded", "an op")["op_id"]))
    return found


def ids_at(tablet: LanTablet) -> list[str]:
    return [str(op["op_id"]) for op in tablet.ask("log", "--limit", "10000")["ops"]]


def test_a_hub_that_is_cut_off_is_left_and_taken_again(clinic: Clinic) -> None:
    """Within two seconds of a pulled cable a tablet has left its hub for the cloud, and what is recorded is safe there;
    when the hub is back it is taken again, and got what it missed.
    """
    clinic.start()
    nora = working(clinic, clinic.nora)
    with Starvation() as starvation:
        clinic.hub.host.unplug()
        cut_at = time.monotonic()
        left = nora.until_status("the cloud", target=clinic.cloud.url)
    assert left["at"] - cut_at < LEFT_S_MAX + starvation.seconds
    nora.record()
    nora.until_status("the op in the cloud", cloud=2, here=0)

    clinic.hub.host.plug()
    back_at = time.monotonic()
    back = until_at_the_hub(nora, clinic)
    print(f"left after {left['at'] - cut_at:.2f} s, back after {back['at'] - back_at:.2f} s")
    wait_until(lambda: clinic.hub.has(2), "the hub to have what it missed")
    nora.record()
    nora.until_status("the op at the hub", here=0, hub=1)


def unplugged(clinic: Clinic) -> Callable[[], object]:
    clinic.hub.host.unplug()
    return clinic.hub.host.plug


def killed(clinic: Clinic) -> Callable[[], object]:
    clinic.hub.end(signal.SIGKILL)
    return clinic.hub.start


def test_a_hub_that_moves_is_followed(clinic: Clinic) -> None:
    """A hub that gets another address is found there by a tablet that was in step with it, with no internet."""
    clinic.start()
    nora = working(clinic, clinic.nora)
    clinic.wan.cut()
    clinic.hub.host.move(200)
    nora.record()
    recorded(nora, 1)
    nora.until_it_stands(
        lambda status: (
            clinic.hub.is_at(status["target"]) and (status["here"], status["hub"] + status["cloud"]) == (0, 2)
        ),
        "the op at the hub where it is now",
    )


@pytest.mark.parametrize("happens", [unplugged, killed])
def test_a_hub_is_cut_off_during_a_push(
    clinic: Clinic, happens: Callable[[Clinic], Callable[[], object]]
) -> None:
    """Ops that are being pushed when the hub vanishes are all in the cloud soon after, and each is everywhere once."""
    clinic.start()
    nora = working(clinic, clinic.nora)
    nora.record(200, every_s=0.005)
    ops = recorded(nora, 60)
    back = happens(clinic)
    ops |= recorded(nora, 140)
    nora.until_it_stands(lambda status: status["cloud"] == 201, "all of it in the cloud")
    back()
    wait_until(lambda: clinic.hub.has(201), "the hub to have all of it")
    clinic.dan.sync()
    here = ids_at(clinic.dan)
    assert len(here) == len(set(here)) == 201
    assert ops <= set(here)
    assert clinic.hub.told("status")["ops"] == 201


def test_the_internet_is_cut_for_the_length_of_a_run(clinic: Clinic) -> None:
    """With the internet gone the tablets of a site go on seeing each other's work at once through their hub, which says
    that it is alone; when it is back everything is in the cloud.
    """
    clinic.start()
    nora, dan = working(clinic, clinic.nora), working(clinic, clinic.dan)
    clinic.wan.cut()
    for writer, reader in ((nora, dan), (dan, nora)):
        reader.all_told()
        writer.record(50, every_s=0.05)
        for op_id in sorted(recorded(writer, 50)):
            reader.events.extend(writer_told(reader, op_id))
    wait_until(lambda: clinic.hub.upstream() == "offline", "the hub to know that it is alone")
    for one in (nora, dan):
        one.until_it_stands(lambda status: is_at_hub(status, 50), "the hub to have it, and the cloud not")
        assert clinic.hub.is_at(one.status["target"])
    clinic.wan.mend()
    wait_until(lambda: clinic.hub.is_settled, "the cloud to have it")
    for one, tablet in ((nora, clinic.nora), (dan, clinic.dan)):
        one.end()
        tablet.until_in_the_cloud()
        assert tablet.status()["cloud"] == 51


def is_at_hub(status: Event, count: int) -> bool:
    return status["here"] == 0 and status["hub"] >= count


def writer_told(reader: Application, op_id: str) -> list[Event]:
    """Wait until the reader has it; what it told before is not lost for the next who waits."""
    passed: list[Event] = []

    def is_it(event: Event) -> bool:
        if event.get("op_id") == op_id:
            return True
        passed.append(event)
        return False

    reader.until(is_it, f"op {op_id} at the other tablet", seconds=10)
    return passed


def test_hub_and_cloud_are_both_cut_off(clinic: Clinic) -> None:
    """With nobody to talk to, what is recorded is safe here and said to be here alone; whoever comes back first takes it."""
    clinic.start()
    nora = working(clinic, clinic.nora)
    clinic.wan.cut()
    clinic.hub.host.unplug()
    nora.record(20)
    ops = recorded(nora, 20)
    nora.until_it_stands(lambda status: (status["here"], status["target"]) == (20, None), "it to say so")
    clinic.wan.mend()
    nora.until_status("the cloud to have it", target=clinic.cloud.url, cloud=21)
    clinic.hub.host.plug()
    until_at_the_hub(nora, clinic)
    wait_until(lambda: clinic.hub.has(21), "the hub to have it")
    clinic.dan.sync()
    assert ops <= set(ids_at(clinic.dan))
