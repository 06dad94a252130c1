"""Where the parts of a first boot find and leave things. All of it counts from a root, which is `/` but in tests."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

FILE_NAME: Final = "medxz-hub.toml"
REPORT_NAME: Final = "medxz-hub-report.txt"

# what an editor or a careless download makes of the name
MISNAMED: Final = (
    "medxz-hub.toml.txt",
    "medxz-hub.txt",
    "medxz-hub.toml.toml",
    "medxz_hub.toml",
    "medxz-hub",
)


@dataclass(frozen=True, slots=True)
class BootPlaces:
    """Of one machine."""

    root: Path = Path("/")

    @property
    def card(self) -> Path:
        """The partition that every computer can write."""
        return self.root / "boot/firmware"

    @property
    def file(self) -> Path:
        return self.card / FILE_NAME

    @property
    def report(self) -> Path:
        return self.card / REPORT_NAME

    @property
    def run(self) -> Path:
        """What root tells the rest of this start; gone with it."""
        return self.root / "run/medxz-boot"

    @property
    def order(self) -> Path:
        """Whom to be claimed by, with the code: for the hub's user alone."""
        return self.run / "claim.json"

    @property
    def found(self) -> Path:
        """What was found in the card's file, without a secret."""
        return self.run / "found.json"

    @property
    def state(self) -> Path:
        """How far the claim is, without a secret; the folder is the claiming service's own."""
        return self.root / "run/medxz-first-boot/state.json"

    @property
    def kept(self) -> Path:
        """The settings that were right last, for a card that can't be read or a section that is wrong."""
        return self.root / "var/lib/medxz-boot/kept.json"

    @property
    def hub(self) -> Path:
        """The hub's own directory, where an image has it."""
        return self.root / "var/lib/medxz/hub"

    @property
    def opened_by(self) -> Path:
        """What opened the data partition: firmware/boot/data-partition leaves it."""
        return self.run / "data-opened-by"

    @property
    def settings(self) -> Path:
        """What the read-only /etc of an image leads to."""
        return self.root / "var/lib/medxz-settings"

    @property
    def authorized_keys(self) -> Path:
        return self.settings / "ssh/authorized_keys"

    @property
    def networkd(self) -> Path:
        return self.root / "run/systemd/network"

    @property
    def screen(self) -> Path:
        return self.root / "dev/tty1"

    @property
    def time_zones(self) -> Path:
        return self.root / "usr/share/zoneinfo"
