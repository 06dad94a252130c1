"""An update from its offer to the restart: what is refused, what is waited for, and in which order.

    proved (signature, machine, version) → nobody pushing → written beside what runs → nobody pushing → restart

Refused: another machine's bundle, a step back without --force, one that has failed here before, anything while the
version that runs is still being tried. A power cut anywhere leaves the hub on what it ran.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from hub.update.machine import Image, Machine, Refusal, Trial
from hub.update.taking import take_brought, take_fetched
from medxz.clock import SystemClock, format_time
from medxz.errors import CloudRequired
from medxz.program.errors import CommandFailed
from medxz.program.lock import lock_held_now
from medxz.versions import Version

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hub.update.backend import Backend, BundleInfo, Progress, Slots

QUIET_S: Final = 15.0
HELD_S: Final = 90.0
LOOK_EVERY_S: Final = 2.0
TRIES_MAX: Final = 3

Json = dict[str, Any]


class Hub(Protocol):
    """The running hub, as it is asked over its socket."""

    def ask(self, command: str, arguments: Json | None = None) -> Json: ...
    def is_in_step(self) -> bool: ...
    def hold(self, seconds: float, quiet_s: float) -> bool: ...
    def let_go(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Wish:
    """What whoever gives the command wants. `wait_s`: how long a moment without pushes is waited for; `go_back`: the
    cloud wants the version that ran before.
    """

    force: bool = False
    go_back: bool = False
    restart: bool = True
    wait_s: float = 6 * 3_600


@dataclass(frozen=True, slots=True)
class Updater:
    """One machine's. `fetched_in` is the hub's folder for what it fetches; `backup` makes one, and raises CommandFailed where it
    can't; `say` tells a person what goes on.
    """

    machine: Machine
    backend: Backend
    hub: Hub
    fetched_in: Path
    backup: Callable[[], None]
    needs_backup: Callable[[str], bool]
    say: Callable[[str], None] = lambda _line: None
    progress: Progress = lambda _done, _total: None
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    quiet_s: float = field(default=QUIET_S)

    def offer(self, *, force: bool = False) -> Json | None:
        """What the cloud wants this hub to run; None where it runs it. CloudRequired without a cloud."""
        image = self.machine.image()
        asked = {"compatible": image.compatible} | ({} if force else {"version": image.version})
        found: Json | None = self.hub.ask("update_wanted", asked)["wanted"]
        return found

    def from_cloud(self, wish: Wish) -> Json:
        """Whatever the cloud offers, or the restart that waits still."""
        with self._alone():
            if (waiting := self._waiting()) is not None:
                return self._restart(waiting, wish)
            offer = self.offer(force=wish.force)
            if offer is None:
                self.machine.accept()
                return _told("current", self.machine.image().version)
            self._refuse_again(str(offer["version"]), wish)
            may_go_back = bool(offer.get("go_back")) and self._ran_before(str(offer["version"]))
            take_fetched(self.fetched_in, self._fetched(offer), self.machine.bundle)
            try:
                return self._install(replace(wish, go_back=may_go_back))
            except CommandFailed as error:
                if (
                    error.code == "bundle_refused"
                ):  # and no later time will make it better: the cloud hears of it
                    self.machine.refuse(self._refusal(str(offer["version"]), str(error)))
                raise

    def from_file(self, place: Path, wish: Wish) -> Json:
        """A bundle that somebody brought."""
        with self._alone():
            take_brought(bundle_in(place, self.backend.pattern), self.machine.bundle)
            return self._install(wish)

    def back(self, wish: Wish) -> Json:
        """To the version that the last update replaced, which lies beside what runs still: tried like any other.

        One that is not well, or can't read the database any more, gives itself back to what runs now.
        """
        with self._alone():
            image, slots, last = self.machine.image(), self.backend.slots(), self.machine.trial()
            if last is not None and last.is_under_way:
                raise _is_tried_still(last)
            is_kept = last is not None and (last.state, last.version) == ("confirmed", image.version)
            if last is None or not is_kept or slots.other.version != last.before or not slots.other.starts:
                raise CommandFailed(
                    f"nothing lies beside {image.version} that it was updated from and that could start",
                    "medxz-hub update --from BUNDLE --force takes an older version that is brought",
                    "no_way_back",
                )
            trial = self._trial(last.before, image, slots)
            self._until_quiet(wish, 0.0)
            self.machine.keep(trial)
            self.backend.turn()
            turned = trial.model_copy(update={"state": "installed"})
            self.machine.keep(turned)
            return self._restart(turned, wish)

    # ------------------------------------------------------------------------------------- the steps

    @contextmanager
    def _alone(self) -> Iterator[None]:
        self.machine.image()
        self.machine.make_folder()
        with lock_held_now(self.machine.folder / "lock", "another update is under way: wait for it"):
            yield

    def _ran_before(self, version: str) -> bool:
        """Whether the update before this one brought what runs, in place of that version.

        No other step back is taken on the cloud's word: who broke into it could bring old mistakes back with it.
        """
        trial = self.machine.trial()
        return trial is not None and (trial.state, trial.version, trial.before) == (
            "confirmed", self.machine.image().version, version,
        )  # fmt: skip

    def _waiting(self) -> Trial | None:
        """What was installed and waits for the restart, in this run of the machine."""
        trial = self.machine.trial()
        waits = trial is not None and trial.state == "installed" and trial.boot_id == self.machine.boot_id()
        return trial if waits else None

    def _refuse_again(self, version: str, wish: Wish) -> None:
        trial = self.machine.trial()
        if wish.force or trial is None or trial.state != "failed" or trial.version != version:
            return
        if trial.tries >= TRIES_MAX or not trial.may_pass:
            raise CommandFailed(
                f"{version} was tried here and given back: {trial.why}",
                "a newer version is taken by itself; --force tries this one again",
                "failed_before",
            )

    def _fetched(self, offer: Json) -> str:
        """Its name in the hub's folder."""
        self.say(f"{offer['version']} is fetched from the cloud, {offer['size'] >> 20} MiB")
        while True:
            told = self.hub.ask("update_fetch", offer)
            self.progress(told["done"], told["size"])
            if told["state"] == "done":
                return Path(told["file"]).name
            if told["state"] == "failed":
                if told["needs_cloud"]:
                    raise CloudRequired(f"the bundle can't be fetched now: {told['why']}")
                raise CommandFailed(f"the bundle can't be fetched: {told['why']}", "see the hub's log")
            self.sleep(LOOK_EVERY_S / 4)

    def _install(self, wish: Wish) -> Json:
        bundle = self.machine.bundle
        try:
            image, slots = self.machine.image(), self.backend.slots()
            info = self.backend.inspect(bundle)
            self._check(info, image, slots, wish)
            if info.version == image.version and not wish.force:
                return _told("current", image.version)
            self._refuse_again(info.version, wish)
            if self.needs_backup(info.build):
                self.say("the new version changes the database for good: a backup is made first")
                self.backup()
            trial = self._trial(info.version, image, slots)
            self._until_quiet(wish, 0.0)
            self.machine.keep(trial)
            self.say(f"{info.version} is written beside what runs")
            self.backend.install(bundle, self.progress)
            installed = trial.model_copy(update={"state": "installed"})
            self.machine.keep(installed)
        finally:
            bundle.unlink(missing_ok=True)
        return self._restart(installed, wish)

    def _check(self, info: BundleInfo, image: Image, slots: Slots, wish: Wish) -> None:
        trial = self.machine.trial()
        if trial is not None and trial.is_under_way and trial.slot == slots.booted.name:
            raise _is_tried_still(trial)
        if info.compatible != image.compatible:
            raise CommandFailed(
                f"the bundle is for {info.compatible}, and this is {image.compatible}",
                "take the one for this machine",
                "bundle_refused",
            )
        try:
            is_back = Version.read(info.version) < Version.read(image.version)
        except ValueError as error:
            raise CommandFailed(
                f"the bundle's version is {info.version!r}: {error}", "make it anew", "bundle_refused"
            ) from None
        if is_back and not (wish.force or wish.go_back):
            raise CommandFailed(
                f"{info.version} is older than {image.version}, which runs",
                "going back can cost what the newer version has written: --force does so all the same",
                "downgrade",
            )

    def _trial(self, version: str, image: Image, slots: Slots) -> Trial:
        last = self.machine.trial()
        again = last is not None and last.state == "failed" and last.version == version
        return Trial(
            version=version,
            before=image.version,
            slot=slots.other.name,
            began_at=format_time(SystemClock().now_ms()),
            boot_id=self.machine.boot_id(),
            must_sync=self.hub.is_in_step(),
            state="installing",
            tries=last.tries + 1 if again and last is not None else 1,
        )

    def _refusal(self, version: str, why: str) -> Refusal:
        now = format_time(SystemClock().now_ms())
        return Refusal(version=version, runs=self.machine.image().version, at=now, why=why)

    def _until_quiet(self, wish: Wish, held_s: float) -> None:
        """Wait for a moment in which nobody pushes; with seconds, keep it so for as long."""
        give_up_at, told = self.monotonic() + wish.wait_s, False
        while not self.hub.hold(held_s or 1.0, self.quiet_s if held_s else 0.0):
            if self.monotonic() >= give_up_at:
                raise CommandFailed(
                    "devices are pushing all the time",
                    "it is tried again the next time; --wait says how long",
                    "busy",
                )
            if not told:
                self.say("devices are pushing: waiting for a moment without")
                told = True
            self.sleep(LOOK_EVERY_S)
        if not held_s:
            self.hub.let_go()

    def _restart(self, trial: Trial, wish: Wish) -> Json:
        if not wish.restart:
            return _told("installed", trial.version, before=trial.before)
        self._until_quiet(wish, HELD_S)
        self.say(f"the machine restarts into {trial.version}")
        try:
            self.backend.restart()
        except CommandFailed:
            self.hub.let_go()
            raise
        return _told("restarting", trial.version, before=trial.before)


def bundle_in(place: Path, pattern: str) -> Path:
    """The bundle itself, or the one of a folder, such as a stick's."""
    if not place.is_dir():
        if not place.is_file():
            raise CommandFailed(f"there is no {place}", "name a bundle, or the folder where one lies")
        return place
    found = sorted(place.glob(pattern))
    if len(found) != 1:
        raise CommandFailed(
            f"there are {len(found)} bundles ({pattern}) in {place}",
            "name one of them" if found else "put one there",
        )
    return found[0]


def _is_tried_still(trial: Trial) -> CommandFailed:
    return CommandFailed(
        f"{trial.version} is still being tried",
        "wait until it was confirmed: medxz-hub update --status",
        "trying",
    )


def _told(state: str, version: str, before: str | None = None) -> Json:
    return {"state": state, "version": version, "before": before}
