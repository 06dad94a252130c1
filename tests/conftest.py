"""What every test shares with the runner."""

import re

import pytest

from tests.postgres import own_database_url, postgres_url  # noqa: F401  # fixtures for everybody

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


def pytest_make_parametrize_id(config: pytest.Config, val: object, argname: str) -> str | None:
    """Leave a fresh UUID out of a test's name: the workers of xdist have to collect the same names."""
    return f"{argname}-uuid" if isinstance(val, str) and _UUID.search(val) else None
