"""What is kept, and what is given back, after a start."""

from __future__ import annotations

from pathlib import Path

import pytest

from hub.update.updating import Wish
from medxz.program.errors import CommandFailed
from tests.unit.hub.update.box import Box


@pytest.fixture
def box(tmp_path: Path) -> Box:
    """It has just started into an update."""
    box = Box(tmp_path)
    box.updater.from_file(box.bundle(), Wish())
    box.boot()
    assert box.backend.booted == "B"
    return box


def test_a_start_like_any_other(tmp_path: Path) -> None:
    """Where nothing is tried, what runs is good at once: the bootloader counts each start."""
    box = Box(tmp_path)
    box.backend.starts["A"] = False
    assert box.confirmer.run() == {"state": "kept", "version": "0.1.0", "why": None}
    assert box.backend.starts["A"]


def test_a_good_update_is_kept(box: Box) -> None:
    """When the hub has become well and has stayed so for a while, it is confirmed."""
    box.hub.problems = ["it does not answer", "it does not serve", None]
    begun = box.clock.monotonic()
    assert box.confirmer.run()["state"] == "confirmed"
    assert box.clock.monotonic() - begun >= 20
    assert (box.backend.starts["B"], box.backend.restarts) == (True, 1)
    assert not list(box.machine.folder.glob("trying-*"))
    assert box.confirmer.run()["state"] == "kept"


def test_a_bad_update_is_given_back(box: Box) -> None:
    """What is not well in time is given back, with the reason, and the one before is kept."""
    box.hub.problems = ["its database is not well: writer"]
    told = box.confirmer.run()
    assert (told["state"], told["why"]) == ("giving_back", "its database is not well: writer")
    assert (box.backend.next, box.backend.restarts) == ("A", 2)
    box.boot()
    assert box.confirmer.run() == {"state": "kept", "version": "0.1.0", "why": None}
    trial = box.machine.trial()
    assert trial is not None
    assert (trial.state, trial.why, trial.may_pass) == ("failed", "its database is not well: writer", False)
    assert not list(box.machine.folder.glob("trying-*"))


def test_a_hub_that_falls_down_again_and_again(box: Box) -> None:
    """One that is well for moments, between starts, is not well."""
    numbers = iter(range(10_000))
    box.hub.started_at = lambda: str(next(numbers))  # type: ignore[method-assign]
    assert "stay up" in str(box.confirmer.run()["why"])


def test_an_update_that_never_came_up(box: Box) -> None:
    """Where the bootloader went back by itself, that is told and remembered."""
    box.start("A", "0.1.0")
    told = box.confirmer.run()
    assert (told["state"], told["version"]) == ("back", "0.1.0")
    trial = box.machine.trial()
    assert trial is not None
    assert (trial.state, trial.may_pass) == ("failed", False)
    assert not box.backend.starts["B"]


def test_an_update_that_waits(tmp_path: Path) -> None:
    """Asked before the restart, it says that the update waits, and has not failed."""
    box = Box(tmp_path)
    box.updater.from_file(box.bundle(), Wish(restart=False))
    assert box.confirmer.run()["state"] == "waiting"
    box.boot()
    assert box.confirmer.run()["state"] == "confirmed"


def test_nothing_to_go_back_to(box: Box) -> None:
    """Where the other half would not start, what runs goes on, unwell as it is."""
    box.backend.starts["A"] = False
    box.hub.problems = ["it does not serve"]
    with pytest.raises(CommandFailed) as error:
        box.confirmer.run()
    assert (error.value.code, box.backend.restarts) == ("unwell", 1)


def test_a_power_cut_while_it_is_given_back(box: Box) -> None:
    """Once the bootloader knows, a cut before anything was written down ends in the version before."""
    box.hub.problems = ["it does not serve"]

    box.backend.reject()
    box.boot()
    told = box.confirmer.run()
    assert (told["state"], told["version"]) == ("back", "0.1.0")


def test_only_the_cloud_was_away(box: Box) -> None:
    """A version that only did not sync may be tried again."""
    box.hub.problems = ["it does not sync with its cloud: no route"]
    box.confirmer.run()
    trial = box.machine.trial()
    assert trial is not None
    assert trial.may_pass
