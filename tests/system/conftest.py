"""What the tests of real processes share for a module: a hub and the first device on it; a cloud of two sites."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.hub_process import HubProcess
from tests.system.tablet import Tablet
from tests.system.world import NURSE, CloudProcess


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubProcess]:
    process = HubProcess(tmp_path_factory.mktemp("hub")).start("--plain-http", "--no-mdns")
    yield process
    process.kill()


@pytest.fixture
def first(hub: HubProcess, tmp_path: Path) -> Iterator[Tablet]:
    tablet = Tablet(tmp_path / "first", hub).begin()
    yield tablet
    tablet.end()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sites")


@pytest.fixture(scope="module")
def cloud(folder: Path) -> Iterator[CloudProcess]:
    """A clinic of two sites in its cloud, and a nurse who works at both."""
    made = CloudProcess(folder, "North", "South")
    made.add_user(NURSE)
    yield made.start()
    made.end()
