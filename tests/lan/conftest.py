"""A network for each test of this folder, where the machine lets us make one.

Where it does not, they are skipped, with one reason and their count; with MEDXZ_NAMESPACES=required that is a failure.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.lan.clinic import Clinic, copied
from tests.lan.hosts import Lan, Network
from tests.lan.namespaces import CannotMakeNamespaces, check_that_namespaces_can_be_made

HERE = Path(__file__).parent


@cache
def why_not() -> str | None:
    """Why no namespaces can be made here; None where they can."""
    try:
        check_that_namespaces_can_be_made()
    except CannotMakeNamespaces as error:
        return f"no network namespaces on this machine: {error}"
    return None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip them by a mark, not one by one in the fixture: so they are told together."""
    stand_on_it = [
        item for item in items if item.path.parent == HERE and "network" in getattr(item, "fixturenames", ())
    ]
    if stand_on_it and os.environ.get("MEDXZ_NAMESPACES") != "required" and (reason := why_not()):
        for item in stand_on_it:
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture
def network() -> Iterator[Network]:
    if reason := why_not():
        pytest.fail(reason)
    with Network() as made:
        yield made


@pytest.fixture
def lan(network: Network) -> Lan:
    """The clinic's."""
    return network.lan("lan")


@pytest.fixture
def wan(network: Network) -> Lan:
    """The internet."""
    return network.lan("wan")


@pytest.fixture(scope="session")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a clinic whose people have logged in, which every test copies."""
    folder = tmp_path_factory.mktemp("filled")
    with Network() as made:
        Clinic(folder, made).fill()
    return folder


@pytest.fixture
def clinic(network: Network, filled: Path, tmp_path: Path) -> Clinic:
    """One of its own. `network` ends what runs on it."""
    return Clinic(copied(filled, tmp_path / "clinic"), network)
