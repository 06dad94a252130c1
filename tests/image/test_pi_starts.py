"""The Pi's image comes up: as a system that serves on virt, and by its own boot loader on a Raspberry Pi 3B."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.image import images
from tests.image.clinic import SITE, Cloud, FirstPage, Tablet, flashed_without_code, wait_until_served
from tests.image.machine import wait_for
from tests.image.pi import Pi3, VirtPi

START_S = 600.0


@pytest.fixture
def pi(tmp_path: Path) -> Iterator[Pi3]:
    made = Pi3(tmp_path / "pi")
    yield made
    made.pull_the_plug()


def test_it_becomes_a_hub_that_serves(tmp_path: Path) -> None:
    """An arm64 box is claimed by a code that is typed at its page, serves, and takes in a tablet and what it records."""
    cloud = Cloud(tmp_path / "cloud").start()
    machine = VirtPi(tmp_path / "machine", images.disk("arm64"))
    flashed_without_code(machine, cloud)
    page = FirstPage(machine)
    try:
        machine.start()
        took = wait_for(page.is_there, f"the page that asks for a code; {machine.told()}", START_S)
        print(f"\nfirst boot of arm64, from power to the page that asks for a code: {took:.0f} s")
        assert page.type(cloud.code("hub", SITE)).status_code == httpx.codes.SEE_OTHER
        took = wait_until_served(machine, START_S)
        print(f"from the code to a hub that serves: {took:.0f} s")
        wait_for(lambda: not page.is_there(), "the page's end", START_S)
        tablet = Tablet(tmp_path / "tablet", machine, cloud)
        tablet.record("Adeyemi")
        tablet.until_in_the_cloud()
    finally:
        machine.end()
        cloud.end()


def test_u_boot_counts_each_start(pi: Pi3) -> None:
    """Each start takes one of the slot's three tries, written to the card before the kernel runs."""
    for left in ("2", "1"):
        pi.start()
        wait_for(lambda: "Starting slot A" in pi.told(), f"a slot; {pi.told()[-500:]}", START_S)
        pi.pull_the_plug()
        assert pi.environment()["BOOT_A_LEFT"] == left


def test_u_boot_leaves_a_slot_without_tries(pi: Pi3) -> None:
    """What RAUC has written is tried first; when its tries are used up, the other slot is started."""
    pi.start()
    wait_for(lambda: "Starting slot A" in pi.told(), f"a slot; {pi.told()[-500:]}", START_S)
    pi.pull_the_plug()
    # an update that is too broken to have a kernel, as RAUC leaves the counters after an installation
    pi.set_environment(BOOT_ORDER="B A", BOOT_B_LEFT="2", BOOT_A_LEFT="3")
    pi.start()
    wait_for(lambda: "Starting slot A" in pi.told(), f"the other slot; {pi.told()[-500:]}", START_S)
    wait_for(lambda: "Starting kernel" in pi.told(), "its kernel", START_S)
    pi.pull_the_plug()
    told = pi.environment()
    assert (told["BOOT_B_LEFT"], told["BOOT_A_LEFT"]) == ("0", "2")
