"""Boxes for the tests of this folder that boot a PC's image: what is done to one is a story, told in the order of files.

On a machine with cores enough there are two beside each other, one that works and loses its power, and one that is updated.

They need images (`make test-image` makes them), QEMU and minutes: without MEDXZ_IMAGE_ARCH none of them is collected.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.image import images
from tests.image.clinic import Cloud, Tablet, flashed, wait_until_served
from tests.image.machine import Machine

HERE = Path(__file__).parent
ARCH = os.environ.get("MEDXZ_IMAGE_ARCH", "")
TEST_S = 1800


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """The PC's boxes have long stories; whatever is not of them comes with the other image, whose story is short."""
    is_test = collection_path.name.startswith("test_")
    is_box = collection_path.name.startswith("test_box")
    return True if is_test and (not ARCH or is_box != (ARCH == "amd64")) else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent == HERE:
            item.add_marker(pytest.mark.image)
            item.add_marker(pytest.mark.timeout(TEST_S))


@dataclass
class Box:
    """A box in a clinic, what is around it, and what was recorded there so far."""

    folder: Path
    cloud: Cloud
    machine: Machine
    code: str
    first_start_s: float = 0.0
    tablets: list[Tablet] = field(default_factory=list)
    families: set[str] = field(default_factory=set)

    def tablet(self) -> Tablet:
        if not self.tablets:
            self.tablets.append(Tablet(self.folder / "tablet", self.machine, self.cloud))
        return self.tablets[0]


@pytest.fixture(scope="session")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    """Flashed and started for the first time, with a claim file: it serves."""
    folder = tmp_path_factory.mktemp("box")
    cloud = Cloud(folder / "cloud").start()
    machine = Machine(folder / "machine", images.disk("amd64"))
    made = Box(folder, cloud, machine, flashed(machine, cloud).replace("-", ""))
    # a busy host's emulated timer may miss the moment in which a kernel looks whether it ticks
    machine.add_to_command_line("no_timer_check")
    if os.environ.get(
        "MEDXZ_IMAGE_LOUD"
    ):  # the journal on the serial line too, for who looks into what went wrong
        machine.add_to_command_line("systemd.journald.forward_to_console=1", "systemd.log_color=0")
    try:
        machine.start()
        made.first_start_s = wait_until_served(machine)
        machine.wait_for_ssh()
        yield made
    finally:
        machine.end()
        cloud.end()
