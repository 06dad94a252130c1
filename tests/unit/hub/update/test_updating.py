"""What an update refuses, what it waits for, and what a power cut leaves of it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from hub.update.backend import BundleInfo
from hub.update.updating import Wish
from medxz import limits
from medxz.errors import CloudRequired
from medxz.program.errors import CommandFailed
from tests.unit.hub.update.box import KIND, Box

OFFER = {"version": "0.2.0", "compatible": KIND, "size": 1 << 20, "sha256": "ab" * 32, "added_at": "t"}


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path)


def refused(box: Box, bundle: Path, wish: Wish | None = None) -> str:
    """The code that it is refused with; nothing has changed then."""
    with pytest.raises(CommandFailed) as error:
        box.updater.from_file(bundle, wish or Wish())
    assert box.backend.next == box.backend.booted
    assert not box.machine.bundle.exists()
    return error.value.code


def test_a_bundle_is_installed_and_restarted_into(box: Box) -> None:
    """What is proved is written beside what runs, and the machine restarts while nobody can push."""
    told = box.updater.from_file(box.bundle(), Wish())
    assert told == {"state": "restarting", "version": "0.2.0", "before": "0.1.0"}
    assert (box.backend.next, box.backend.restarts, box.hub.held) == ("B", 1, True)
    trial = box.machine.trial()
    assert trial is not None
    assert (trial.state, trial.slot, trial.must_sync) == ("installed", "B", True)
    assert (box.machine.folder / "trying-B").exists(), "so that it is left even if it can't confirm itself"
    assert not box.machine.bundle.exists()


def test_a_folder_is_a_stick(box: Box, tmp_path: Path) -> None:
    """Of a folder its one bundle is taken; none and two are told apart from one."""
    stick = tmp_path / "stick"
    stick.mkdir()
    assert refused(box, stick) == "failed"
    box.bundle().rename(stick / "one.raucb")
    assert box.updater.from_file(stick, Wish(restart=False))["state"] == "installed"
    box.bundle().rename(stick / "two.raucb")
    with pytest.raises(CommandFailed, match="2 bundles"):
        box.updater.from_file(stick, Wish())


def test_what_is_not_for_this_machine_is_refused(box: Box) -> None:
    """Unsigned, of another kind of machine, older, of no version: each is refused, and nothing has changed."""
    assert refused(box, box.bundle(signed=False)) == "bundle_refused"
    assert refused(box, box.bundle(compatible="medxz-hub-arm64")) == "bundle_refused"
    assert refused(box, box.bundle("0.0.9")) == "downgrade"
    assert refused(box, box.bundle("0.1.0-rc.1")) == "downgrade"
    assert refused(box, box.bundle("newest")) == "bundle_refused"


def test_a_step_back_by_force(box: Box) -> None:
    """An older version is installed where somebody says so; its signature is asked for all the same."""
    assert refused(box, box.bundle("0.0.9", signed=False), Wish(force=True)) == "bundle_refused"
    assert box.updater.from_file(box.bundle("0.0.9"), Wish(force=True))["version"] == "0.0.9"


def test_back_to_what_was_replaced(box: Box) -> None:
    """Without a bundle the version before is tried again, and kept or given back like any other; where none was replaced there is none."""
    with pytest.raises(CommandFailed, match="nothing lies beside") as nothing:
        box.updater.back(Wish())
    assert nothing.value.code == "no_way_back"
    box.updater.from_file(box.bundle(), Wish())
    box.boot()
    with pytest.raises(CommandFailed) as early:
        box.updater.back(Wish())
    assert early.value.code == "trying"
    box.confirmer.run()
    box.hub.busy = 3
    assert box.updater.back(Wish()) == {"state": "restarting", "version": "0.1.0", "before": "0.2.0"}
    assert (box.backend.next, box.backend.restarts, box.hub.held) == ("A", 2, True)
    box.boot()
    assert box.confirmer.run() == {"state": "confirmed", "version": "0.1.0", "why": None}
    assert (box.backend.next, box.backend.starts) == ("A", {"A": True, "B": True})


def test_back_only_to_what_lies_there(box: Box) -> None:
    """Where something else lies beside what runs, or it can't start, or what runs has come by no update, nothing is begun."""
    box.updater.from_file(box.bundle(), Wish())
    box.boot()
    box.confirmer.run()

    def refused_back() -> str:
        with pytest.raises(CommandFailed) as error:
            box.updater.back(Wish())
        assert (box.backend.next, box.backend.restarts) == ("B", 1)
        return error.value.code

    box.backend.holds["A"] = "0.0.9"
    assert refused_back() == "no_way_back"
    box.backend.holds["A"], box.backend.starts["A"] = "0.1.0", False
    assert refused_back() == "no_way_back"
    box.backend.starts["A"] = True
    box.start("B", "0.3.0")
    assert refused_back() == "no_way_back"
    box.start("B", "0.2.0")
    assert box.updater.back(Wish())["version"] == "0.1.0"


def test_back_to_what_can_not_serve_any_more(box: Box) -> None:
    """Where the version before is not well with what the newer one wrote, the newer one runs again."""
    box.updater.from_file(box.bundle(), Wish())
    box.boot()
    box.confirmer.run()
    box.updater.back(Wish())
    box.boot()
    box.hub.problems = ["it does not open its database"]
    assert box.confirmer.run()["state"] == "giving_back"
    box.boot()
    box.hub.problems = []
    assert (box.confirmer.run()["state"], box.machine.image().version) == ("kept", "0.2.0")


def test_the_same_version_is_nothing_to_do(box: Box) -> None:
    """What runs is not installed again, unless by force."""
    assert box.updater.from_file(box.bundle("0.1.0"), Wish())["state"] == "current"
    assert box.updater.from_file(box.bundle("0.1.0"), Wish(force=True))["state"] == "restarting"


def test_nothing_while_somebody_pushes(box: Box) -> None:
    """Neither written nor restarted while devices push; when they never stop, it is given up and tried again later."""
    box.hub.busy = 10_000
    assert refused(box, box.bundle(), Wish(wait_s=60)) == "busy"
    assert box.machine.trial() is None
    box.hub.busy = 5
    begun = box.clock.monotonic()
    assert box.updater.from_file(box.bundle(), Wish())["state"] == "restarting"
    assert box.clock.monotonic() - begun >= 10


def test_the_restart_waits_for_another_time(box: Box) -> None:
    """Installed and not restarted, the next update restarts and installs nothing anew."""
    box.updater.from_file(box.bundle(), Wish(restart=False))
    assert box.backend.restarts == 0
    box.hub.offer = {**OFFER, "version": "0.3.0"}
    assert box.updater.from_cloud(Wish())["version"] == "0.2.0"
    assert box.backend.restarts == 1


def test_from_the_cloud(box: Box, tmp_path: Path) -> None:
    """What the cloud offers is fetched by the hub, taken from it, and installed; without an offer nothing is."""
    assert box.updater.from_cloud(Wish())["state"] == "current"
    box.hub.offer = OFFER
    fetched = box.bundle()
    box.hub.fetched = [
        {"state": "fetching", "done": 1, "size": 2, "file": "", "why": None, "needs_cloud": False},
        {"state": "done", "done": 2, "size": 2, "file": str(fetched), "why": None, "needs_cloud": False},
    ]
    assert box.updater.from_cloud(Wish())["state"] == "restarting"
    assert not fetched.exists()


def fetched_as(box: Box, file: Path, version: str = "0.2.0") -> None:
    """A hub that says that what it fetched lies there."""
    box.hub.offer = {**OFFER, "version": version}
    box.hub.fetched = [
        {"state": "done", "done": 2, "size": 2, "file": str(file), "why": None, "needs_cloud": False}
    ]


@pytest.mark.parametrize("bad", [{"signed": False}, {"compatible": "medxz-hub-arm64"}])
def test_what_is_nothing_for_this_machine_is_told(box: Box, bad: dict[str, Any]) -> None:
    """A release that is refused is noted beside the last update, until the cloud offers it no more or another is tried."""
    box.updater.from_file(box.bundle(), Wish(restart=False))
    box.boot()
    box.confirmer.run()
    before = box.machine.trial()
    fetched_as(box, box.bundle("0.3.0", **bad), "0.3.0")
    with pytest.raises(CommandFailed) as error:
        box.updater.from_cloud(Wish())
    assert error.value.code == "bundle_refused"
    refusal = box.machine.refusal()
    assert refusal is not None
    assert (refusal.version, refusal.runs, refusal.why) == ("0.3.0", "0.2.0", str(error.value))
    assert box.machine.trial() == before
    box.hub.offer = None
    box.updater.from_cloud(Wish())
    assert box.machine.refusal() is None
    box.machine.refuse(refusal)
    box.updater.from_file(box.bundle("0.4.0"), Wish())
    assert box.machine.refusal() is None


def test_what_was_proved_is_what_is_installed(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hub that was broken into and has its bundle still open changes nothing of it once it was proved."""
    fetched, backend = box.bundle(), box.backend
    other = box.bundle("0.0.9").read_bytes()
    proving = backend.inspect
    with fetched.open("r+b") as held:

        def proved(bundle: Path) -> BundleInfo:
            found = proving(bundle)
            held.seek(0)
            held.write(other)
            held.truncate()
            held.flush()
            return found

        monkeypatch.setattr(backend, "inspect", proved)
        fetched_as(box, fetched)
        box.updater.from_cloud(Wish(restart=False))
    assert backend.holds["B"] == "0.2.0"


def test_a_hub_names_no_other_file(box: Box, tmp_path: Path) -> None:
    """Of what root has nothing is taken or lost, wherever the hub says that its bundle lies, nor through a link."""
    box.updater.from_file(box.bundle("0.1.1"), Wish(restart=False))
    box.failed_in("failed")
    for file in (box.machine.folder / "trial.json", tmp_path / "link.raucb", tmp_path / "run"):
        if file.name == "link.raucb":
            file.symlink_to(box.bundle())
        fetched_as(box, file)
        with pytest.raises(CommandFailed):
            box.updater.from_cloud(Wish())
    assert box.machine.trial() is not None
    assert box.bundle().exists()
    assert not box.machine.bundle.exists()


def test_what_can_not_be_a_bundle_fills_no_disk(
    box: Box, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is longer than a bundle or than there is room for is refused before a byte of it is copied."""
    large = tmp_path / "large.raucb"
    with large.open("wb") as file:
        file.truncate(limits.RELEASE_BYTES_MAX + 1)
    assert refused(box, large) == "bundle_refused"
    pipe = tmp_path / "pipe.raucb"
    os.mkfifo(pipe)
    assert refused(box, pipe) == "failed"
    usage = shutil.disk_usage(tmp_path)._replace(free=1 << 20)
    monkeypatch.setattr("hub.update.taking.shutil.disk_usage", lambda _path: usage)
    assert refused(box, box.bundle()) == "no_room"


def test_a_cloud_that_goes_away(box: Box) -> None:
    """A download that can't go on needs the cloud; one that is wrong has failed."""
    box.hub.offer = OFFER
    told = {"state": "failed", "done": 1, "size": 2, "file": "", "why": "gone", "needs_cloud": True}
    box.hub.fetched = [told]
    with pytest.raises(CloudRequired):
        box.updater.from_cloud(Wish())
    box.hub.fetched = [{**told, "needs_cloud": False}]
    with pytest.raises(CommandFailed, match="gone"):
        box.updater.from_cloud(Wish())


def test_a_backup_before_what_can_not_be_undone(box: Box) -> None:
    """Where the old version could not read the database any more there is a backup first; without one, no update."""
    box.needs_backup, box.backup_fails = True, True
    assert refused(box, box.bundle()) == "no_backup"
    box.backup_fails = False
    box.updater.from_file(box.bundle(), Wish())
    assert box.backups == 1


def test_cut_off_while_it_is_written(box: Box) -> None:
    """A power cut while it is written leaves what ran, and the next update installs it again."""

    def cut() -> None:
        raise CommandFailed("power", "")

    box.backend.breaks = cut
    with pytest.raises(CommandFailed):
        box.updater.from_file(box.bundle(), Wish())
    assert not box.backend.starts["B"]
    box.boot()
    assert box.confirmer.run()["state"] == "cut_off"
    box.backend.breaks = lambda: None
    assert box.updater.from_file(box.bundle(), Wish())["state"] == "restarting"


def test_what_failed_here_is_not_taken_again(box: Box) -> None:
    """A version that was given back is refused until somebody insists, or there is a newer one."""
    box.updater.from_file(box.bundle(), Wish())
    box.failed_in("failed", why="its database is not well")
    assert refused_at_boot(box) == "failed_before"
    assert box.updater.from_file(box.bundle("0.2.1"), Wish())["state"] == "restarting"


def test_what_the_cloud_was_away_for_is_tried_three_times(box: Box) -> None:
    """Where only the cloud could not be reached the same version is tried again, a few times."""
    for attempt in range(1, 4):
        assert box.updater.from_file(box.bundle(), Wish())["state"] == "restarting"
        trial = box.machine.trial()
        assert trial is not None
        assert trial.tries == attempt
        box.failed_in("failed", why="it does not sync with its cloud", may_pass=True)
        box.start("A", "0.1.0")
        box.backend.disown()
    assert refused_at_boot(box) == "failed_before"


def refused_at_boot(box: Box) -> str:
    """After the machine has gone back."""
    box.start("A", "0.1.0")
    box.backend.disown()
    return refused(box, box.bundle())


def test_nothing_is_installed_over_what_could_be_gone_back_to(box: Box) -> None:
    """While the version that runs is still being tried, no other one takes the place of the one before."""
    box.updater.from_file(box.bundle(), Wish())
    box.boot()
    with pytest.raises(CommandFailed) as error:
        box.updater.from_file(box.bundle("0.3.0"), Wish())
    assert error.value.code == "trying"
    assert box.backend.holds["A"] == "0.1.0"


def test_a_machine_without_an_image(tmp_path: Path) -> None:
    """A hub that was installed as a package is told to update that."""
    box = Box(tmp_path)
    (tmp_path / "usr/lib/medxz-hub/image.json").unlink()
    assert refused(box, box.bundle()) == "no_image"


def test_back_on_the_clouds_word(box: Box) -> None:
    """A hub goes back to what it ran before its last update where the cloud means it, and to nothing else that is older."""
    box.updater.from_file(box.bundle(), Wish())
    box.boot()
    box.confirmer.run()
    assert box.machine.image().version == "0.2.0"

    def offered(version: str, *, go_back: bool) -> str:
        bundle = box.bundle(version)
        box.hub.offer = {"version": version, "size": 1, "go_back": go_back}
        box.hub.fetched = [{"state": "done", "done": 1, "size": 1, "file": str(bundle)}]
        try:
            return str(box.updater.from_cloud(Wish())["state"])
        except CommandFailed as error:
            return error.code

    assert offered("0.0.9", go_back=True) == "downgrade", "it never ran that one"
    assert offered("0.1.0", go_back=False) == "downgrade"
    assert offered("0.1.0", go_back=True) == "restarting"
    box.boot()
    box.confirmer.run()
    assert box.machine.image().version == "0.1.0"
    assert offered("0.0.9", go_back=True) == "downgrade"
