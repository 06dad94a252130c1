"""What every test shares with the runner."""

import re

import pytest

from tests.postgres import own_database_url, postgres_url  # noqa: F401  # fixtures for everybody

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


def pytest_make_parametrize_id(config: pytest.Config, val: object, argname: str) -> str | None:
    """Leave a fresh UUID out of a test's name: the workers of xdist have to collect the same names."""
    return f"{argname}-uuid" if isinstance(val, str) and _UUID.search(val) else None


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests of a group on one worker.

    xdist 3.8 writes the group behind `_nodeid`, at which pytest 9.2 looks no more: without this, groups are spread.
    """
    for item in items:
        grouped = getattr(item, "_nodeid", item.nodeid)
        if grouped != item.nodeid:
            item._id = type(item._id).parse(grouped)
