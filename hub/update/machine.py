"""The machine that is updated: which image it runs, and what is known of the update that was tried last.

What is known lies in `/var/lib/medxz-update`, which survives every update and which the hub itself can't write to: a
hub that was broken into must not talk the machine into taking an older version for good.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from medxz.program.errors import CommandFailed
from medxz.store.durable import sync
from medxz.versions import Version

_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
_COMPATIBLE: Final = "medxz-hub-"

State = Literal["installing", "installed", "confirmed", "failed"]


class Image(BaseModel):
    """`/usr/lib/medxz-hub/image.json`, as the recipe wrote it; on a Debian of somebody's own `package.json`."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    version: str
    built: str = ""
    arch: str
    is_package: bool = False

    @property
    def compatible(self) -> str:
        return _COMPATIBLE + ("deb-" if self.is_package else "") + self.arch


class Trial(BaseModel):
    """The update that was tried last. `boot_id` is of the run of the machine in which it was installed.

    `must_sync`: it was in step with its cloud before, and has to come to be so again. `why`: what it failed for;
    `may_pass`: the same may go well another time, so that it is tried again by itself.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    version: str
    before: str
    slot: str
    began_at: str
    boot_id: str
    must_sync: bool
    state: State
    why: str | None = None
    may_pass: bool = False
    tries: int = 1

    @property
    def is_under_way(self) -> bool:
        return self.state in {"installing", "installed"}


class Refusal(BaseModel):
    """A release of the cloud's that is nothing for this machine: nothing was written, and what runs goes on."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    version: str
    runs: str
    at: str
    why: str


@dataclass(frozen=True, slots=True)
class Machine:
    """One, below its root."""

    root: Path

    @property
    def folder(self) -> Path:
        return self.root / "var/lib/medxz-update"

    @property
    def bundle(self) -> Path:
        """Where a bundle lies while it is installed."""
        return self.folder / "bundle.raucb"

    def boot_id(self) -> str:
        """Of this run of the machine: systemd tells it to a unit that does not see it for itself.

        Where packages are exchanged in place of a restart, each exchange begins another run.
        """
        told, file = os.environ.get("MEDXZ_BOOT_ID"), self.root / "run/medxz-boot-id"
        text = told or (file if file.is_file() else _BOOT_ID).read_text("ascii")
        exchanges = self.folder / "exchanges"
        after = exchanges.read_text("ascii").strip() if exchanges.is_file() else ""
        return text.strip().replace("-", "") + after

    def image(self) -> Image:
        """CommandFailed on a machine that runs neither an image of ours nor a package."""
        folder = self.root / "usr/lib/medxz-hub"
        file = folder / "image.json"
        if not file.exists():
            file = folder / "package.json"
        try:
            image = Image.model_validate_json(file.read_bytes())
            Version.read(image.version)
        except FileNotFoundError:
            raise CommandFailed(
                "this hub runs neither from an image nor from a package, so there is nothing to exchange",
                "update it as it was installed: docs/updates.md",
                "no_image",
            ) from None
        except (OSError, ValidationError, ValueError):
            raise CommandFailed(f"{file} does not say which version this is", "install it anew") from None
        return image

    def trial(self) -> Trial | None:
        """None where nothing was tried yet, or nobody knows any more."""
        try:
            return Trial.model_validate_json((self.folder / "trial.json").read_bytes())
        except (OSError, ValidationError):
            return None

    def keep(self, trial: Trial) -> None:
        """It is on the disk when this ends: what is tried next is judged by it.

        While an update is under way, `trying-<slot>` says so to a unit that needs nothing of ours: what runs in that slot
        and can't even confirm itself is left by it (systemd/medxz-hub-giveback@.service).
        """
        self.make_folder()
        if trial.is_under_way:
            (self.folder / f"trying-{trial.slot}").touch(mode=0o644)
        self._write("trial.json", trial)
        self.accept()
        for flag in self.folder.glob("trying-*"):
            if not trial.is_under_way or flag.name != f"trying-{trial.slot}":
                flag.unlink()
        sync(self.folder)

    def refusal(self) -> Refusal | None:
        """What of the cloud's was refused last, until it offers it no more or something else is tried."""
        try:
            return Refusal.model_validate_json((self.folder / "refused.json").read_bytes())
        except (OSError, ValidationError):
            return None

    def refuse(self, refusal: Refusal) -> None:
        """Beside what is known of the last update, which says still what can be gone back to."""
        self.make_folder()
        self._write("refused.json", refusal)
        sync(self.folder)

    def accept(self) -> None:
        """Nothing is refused any more."""
        (self.folder / "refused.json").unlink(missing_ok=True)

    def _write(self, name: str, note: BaseModel) -> None:
        unfinished = self.folder / f".{name}"
        unfinished.unlink(missing_ok=True)
        with unfinished.open("x", encoding="utf-8") as opened:
            opened.write(note.model_dump_json() + "\n")
            opened.flush()
            os.fchmod(opened.fileno(), 0o644)  # whatever the unit's umask: the hub tells its cloud of it
            os.fsync(opened.fileno())
        unfinished.rename(self.folder / name)

    def make_folder(self) -> None:
        try:
            self.folder.mkdir(mode=0o755, parents=True, exist_ok=True)
            self.folder.chmod(0o755)
        except OSError as error:
            raise CommandFailed(
                f"{self.folder} can't be made: {error.strerror}", "run this as root"
            ) from None
