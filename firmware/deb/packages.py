"""The packages that are made of this tree: what each holds, installs and starts. What they have in common: build.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Package:
    """One .deb."""

    name: str
    programs: dict[str, str]
    """command -> the module that it runs."""
    units: str
    """What the names of its units begin with."""
    state: str
    key: str
    """Where it is, there are records that a purge does not take away."""
    etc: str
    synopsis: str
    description: str
    files: dict[str, str]
    """What lies where, for the manual page."""
    exchange: bool = False
    """Whether it is updated by itself."""
    suggests: str = ""
    """What it makes use of where it is installed."""

    @property
    def home(self) -> str:
        """Its virtual environment."""
        return f"usr/lib/{self.name}"


HUB: Final = Package(
    name="medxz-hub",
    programs={"medxz-hub": "hub", "medxz": "medxz.device"},
    units="medxz-hub",
    state="/var/lib/medxz",
    key="/var/lib/medxz/hub.key",
    etc="/etc/medxz",
    synopsis="keeps a clinic's medical records in step",
    description=(
        "The hub is the box on a clinic's network that tablets and laptops sync with,\n"
        "whatever the line to the internet does; the hub syncs with the cloud when\n"
        "there is one to be reached. Records are encrypted where they lie.\n"
        "\n"
        "It comes with a virtual environment of its own, and with hardened systemd\n"
        "units and timers."
    ),
    files={
        "/var/lib/medxz/hub/": "The records, encrypted.",
        "/var/lib/medxz/hub.key": "Their key. Without it nobody can read them: keep a copy elsewhere.",
        "/var/lib/medxz/backups/": "Backups, before they are carried elsewhere.",
        "/etc/medxz/hub.toml": "The settings of the hub that the package runs, where there are any.",
        "/etc/medxz/updates.pem": "Whose updates it takes by itself; without it, none.",
    },
    exchange=True,
    suggests="smartmontools",
)

CLOUD: Final = Package(
    name="medxz-cloud",
    programs={"medxz-cloud": "cloud"},
    units="medxz-cloud",
    state="/var/lib/medxz-cloud",
    key="/var/lib/medxz-cloud/data.key",
    etc="/etc/medxz-cloud",
    synopsis="relay across the sites of clinics, for medxz hubs",
    description=(
        "The cloud carries the records of clinics between their sites, decides who\n"
        "may write where, and lets people, devices and hubs in. It stores in SQLite\n"
        "files or in a PostgreSQL that several of them serve.\n"
        "\n"
        "It comes with a virtual environment of its own, and with a hardened systemd\n"
        "unit."
    ),
    files={
        "/var/lib/medxz-cloud/data/": "What it keeps, encrypted.",
        "/var/lib/medxz-cloud/data.key": "Its key. Without it nobody can read that: keep a copy elsewhere.",
        "/etc/medxz-cloud/cloud.toml": "The settings of the cloud that the package runs, where there are any.",
    },
)

PACKAGES: Final = {package.name: package for package in (HUB, CLOUD)}
