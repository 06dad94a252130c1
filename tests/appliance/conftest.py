"""One machine with a real systemd for the tests of this folder, where this machine lets us run one.

Where it does not, they are skipped with the reason; with MEDXZ_NAMESPACES=required that is a failure.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import pytest

from tests.appliance.nspawn import CannotNspawn, Container, check_that_it_can

C = TypeVar("C", bound=Container)


@contextmanager
def started(made: C) -> Iterator[C]:
    """It, running; a test that asks for it is skipped where it can't."""
    try:
        check_that_it_can()
        made.make().start()
    except CannotNspawn as error:
        if os.environ.get("MEDXZ_NAMESPACES") == "required":
            pytest.fail(str(error))
        pytest.skip(f"no container on this machine: {error}")
    with made:
        yield made


@pytest.fixture(scope="session")
def container(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    """With the package's files, and no hub yet."""
    with started(Container(tmp_path_factory.mktemp("container"))) as box:
        yield box
