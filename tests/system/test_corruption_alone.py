"""A hub without a cloud whose files rot: what it can read it has again, who has an account comes in again."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hub import ask
from medxz.program.errors import CommandFailed
from tests.system.flipping import flip, in_page
from tests.system.hub_process import wait_until
from tests.system.test_lone_hub import LoneHub, PairedTablet

pytestmark = pytest.mark.slow

NURSE = "nora@clinic.example"
SEED = 72


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[LoneHub]:
    made = LoneHub(tmp_path).start()
    yield made
    made.end()


def set_aside(hub: LoneHub) -> list[dict[str, Any]]:
    try:
        return list(ask.ask(hub.data.with_name("hub.sock"), "status")["damaged_files"])
    except CommandFailed:
        return []


@pytest.mark.parametrize("file", ["hub.db", "audit.db"])
def test_nobody_has_to_do_anything(hub: LoneHub, tmp_path: Path, file: str) -> None:
    """The first page of its log, or of its accounts, is flipped: the same hub, the same people, every op."""
    hub.add_user(NURSE, "clinician")
    tablet = PairedTablet(hub, tmp_path / "tablet", NURSE)
    for family in ("One", "Two"):
        tablet.record(family)
    assert tablet.families() == {"One", "Two"}
    hub.stop()
    flip(hub.data / file, in_page(1, random.Random(SEED)))
    hub.start()
    wait_until(lambda: any(told["state"] == "done" for told in set_aside(hub)), "it is set aside and read")
    assert [told["file"] for told in set_aside(hub)] == [file]
    tablet.record("Three")
    assert tablet.families() == {"One", "Two", "Three"}
    tablet.login()
    second = PairedTablet(hub, tmp_path / "second", NURSE)
    assert second.families() == {"One", "Two", "Three"}
