"""What the tests of real processes share: a hub for a module, and the first device on it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.hub_process import HubProcess
from tests.system.tablet import Tablet


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
