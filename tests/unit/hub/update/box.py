"""A machine that is updated, in a folder: its slots are words, its hub does what a test says."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hub.update.backend import BundleInfo, BundleRefused, Slot, Slots
from hub.update.confirming import Confirmer
from hub.update.machine import Machine
from hub.update.updating import Updater
from medxz.program.errors import CommandFailed
from tests.making import HandClock

KIND = "medxz-hub-amd64"
SCHEMAS = "log=5/5 audit=3/3"


class FakeBackend:
    """Two slots; a bundle is the JSON of what it says, and `signed` or not."""

    pattern = "*.raucb"

    def __init__(self) -> None:
        self.booted, self.next = "A", "A"
        self.holds = {"A": "0.1.0", "B": None}
        self.starts = {"A": True, "B": False}
        self.restarts = 0
        self.breaks: Callable[[], None] = lambda: None

    def slots(self) -> Slots:
        here, other = (Slot(name, self.starts[name], self.holds[name]) for name in (self.booted, self._other))
        return Slots(here, other, self.next)

    @property
    def _other(self) -> str:
        return "B" if self.booted == "A" else "A"

    def inspect(self, bundle: Path) -> BundleInfo:
        said = json.loads(bundle.read_bytes())
        if not said["signed"]:
            raise BundleRefused("not signed", "take another")
        return BundleInfo(said["version"], said["compatible"], said["build"])

    def install(self, bundle: Path, progress: Callable[[int, int], None]) -> None:
        version = self.inspect(bundle).version
        self.starts[self._other] = False
        progress(50, 100)
        self.breaks()
        self.holds[self._other], self.starts[self._other], self.next = version, True, self._other

    def confirm(self) -> None:
        self.starts[self.booted] = True

    def disown(self) -> None:
        self.starts = {self.booted: True, self._other: False}
        self.next = self.booted

    def reject(self) -> None:
        self.starts[self.booted] = False
        self.next = self._other

    def turn(self) -> None:
        self.next = self._other

    def restart(self) -> None:
        self.restarts += 1


class FakeHub:
    """Pushes as often as `busy` says, and is as well as `problems` says, one after the other."""

    def __init__(self) -> None:
        self.busy, self.held, self.in_step = 0, False, True
        self.offer: dict[str, Any] | None = None
        self.fetched: list[dict[str, Any]] = []
        self.problems: list[str | None] = []
        self.begun = "once"

    def ask(self, command: str, arguments: dict[str, Any] | None = None) -> dict[str, Any]:
        return {"wanted": self.offer} if command == "update_wanted" else self.fetched.pop(0)

    def is_in_step(self) -> bool:
        return self.in_step

    def hold(self, seconds: float, quiet_s: float) -> bool:
        self.busy -= 1
        self.held = self.busy < 0
        return self.held

    def let_go(self) -> None:
        self.held = False

    def problem(self, *, must_sync: bool) -> str | None:
        return self.problems.pop(0) if len(self.problems) > 1 else (self.problems or [None])[0]

    def started_at(self) -> str | None:
        return self.begun


@dataclass
class Box:
    """The machine with everything around it."""

    root: Path
    backend: FakeBackend = field(default_factory=FakeBackend)
    hub: FakeHub = field(default_factory=FakeHub)
    clock: HandClock = field(default_factory=HandClock)
    backups: int = 0
    needs_backup: bool = False
    backup_fails: bool = False

    def __post_init__(self) -> None:
        (self.root / "usr/lib/medxz-hub").mkdir(parents=True)
        (self.root / "run").mkdir()
        self.boots = 0
        self.start("A", "0.1.0")

    @property
    def machine(self) -> Machine:
        return Machine(self.root)

    @property
    def updater(self) -> Updater:
        return Updater(
            self.machine, self.backend, self.hub, self.root, self._back_up, lambda _build: self.needs_backup,
            monotonic=self.clock.monotonic, sleep=self._sleep,
        )  # fmt: skip

    @property
    def confirmer(self) -> Confirmer:
        return Confirmer(
            self.machine, self.backend, self.hub, monotonic=self.clock.monotonic, sleep=self._sleep
        )

    def start(self, slot: str, version: str) -> None:
        """The machine, from that slot."""
        self.boots += 1
        self.backend.booted = slot
        (self.root / "run/medxz-boot-id").write_text(f"boot {self.boots}\n")
        image = {"version": version, "built": "2026-11-22", "arch": "amd64"}
        (self.root / "usr/lib/medxz-hub/image.json").write_text(json.dumps(image))

    def boot(self) -> None:
        """As its bootloader would."""
        version = self.backend.holds[self.backend.next]
        assert version is not None
        self.start(self.backend.next, version)

    def bundle(self, version: str = "0.2.0", *, signed: bool = True, compatible: str = KIND) -> Path:
        file = self.root / f"{version}.raucb"
        said = {"version": version, "compatible": compatible, "build": SCHEMAS, "signed": signed}
        file.write_text(json.dumps(said))
        return file

    def failed_in(self, state: str, **changes: Any) -> None:
        """What is known of the last update, changed."""
        trial = self.machine.trial()
        assert trial is not None
        self.machine.keep(replace_model(trial, state=state, **changes))

    def _back_up(self) -> None:
        if self.backup_fails:
            raise CommandFailed("no backup", "make one", "no_backup")
        self.backups += 1

    def _sleep(self, seconds: float) -> None:
        self.clock.time_ms += int(seconds * 1_000)


def replace_model(trial: Any, **changes: Any) -> Any:
    return trial.model_copy(update=changes)


__all__ = ["KIND", "SCHEMAS", "Box", "FakeBackend", "FakeHub"]
