"""The plug is pulled while a tablet pushes: what the tablet was told is stored is there when the box is back."""

from __future__ import annotations

import threading

import pytest

from tests.image.clinic import wait_until_served
from tests.image.conftest import Box

pytestmark = pytest.mark.xdist_group("a box at work")

PUSHES_BEFORE_THE_CUT = 5


def test_a_power_cut_in_a_push_loses_nothing(box: Box) -> None:
    """Ops of which the tablet was told that the hub has them survive the plug, and what was under way comes again."""
    tablet = box.tablet()
    acknowledged: list[str] = []
    under_way = threading.Event()
    cut = threading.Event()

    def push_until_it_fails() -> None:
        for number in range(200):
            family = f"Cut{number}"
            tablet.record(family)
            box.families.add(family)
            if number >= PUSHES_BEFORE_THE_CUT:
                under_way.set()
            try:
                tablet.sync()
            except AssertionError:  # the command ended with a failure: the hub is gone
                return
            if cut.is_set():
                return
            acknowledged.append(family)

    pushing = threading.Thread(target=push_until_it_fails)
    pushing.start()
    assert under_way.wait(120)
    box.machine.pull_the_plug()
    cut.set()
    pushing.join(120)
    assert len(acknowledged) >= PUSHES_BEFORE_THE_CUT

    box.machine.start()
    wait_until_served(box.machine)
    box.machine.wait_for_ssh()
    tablet.until_in_the_cloud()
    assert tablet.families() == box.families
    health = box.machine.ssh(
        "medxz-hub", "doctor", "--data", "/var/lib/medxz/hub", "--json", check=False, seconds=240
    )
    assert '"damaged"' not in health.stdout
