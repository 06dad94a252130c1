"""What the browser takes of a LAN on which anybody says anything."""

from __future__ import annotations

from typing import Any

import pytest

from medxz.lan.announcement import SERVICE
from medxz.lan.browsing import Browser


@pytest.mark.parametrize(
    "name", ["medxz-\x06." + SERVICE, "x" * 70 + "." + SERVICE, "medxz-1._other._tcp.local."]
)
async def test_a_name_that_is_none(name: str) -> None:
    """An instance under a name that DNS-SD does not have is not looked up, and nothing is raised for it."""
    library: Any = None
    browser = Browser()
    await browser._resolve(library, name)
    assert browser.found() == {}
