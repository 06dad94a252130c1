"""The hub's settings, beside what every server has; where they come from: medxz/program/settings.py."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from medxz import limits
from medxz.program import settings as sources
from medxz.program.places import Places
from medxz.program.settings import Number, Packaged, Program, ServerSettings


class HubPlaces(Places):
    """Where the files of a hub lie: the store inside its directory, key and socket beside it."""

    @property
    def store(self) -> Path:
        return self.data / "hub.db"

    @property
    def views(self) -> Path:
        """What can be made anew from the store."""
        return self.data / "views.db"

    @property
    def audit(self) -> Path:
        """What was done here and by whom; on a hub alone the accounts too, since both change at once."""
        return self.data / "audit.db"

    @property
    def keepsake(self) -> Path:
        """What makes this hub that hub, once more: for when the store is damaged."""
        return self.data / "keepsake"

    @property
    def settings(self) -> Path:
        return self.data / "hub.toml"

    @property
    def backups(self) -> Path:
        """Where backups are made, before they are carried elsewhere."""
        return self.data.with_name("backups")

    @property
    def backup_note(self) -> Path:
        """When the last backup was made, and where it went."""
        return self.data / "backup.json"

    @property
    def courier(self) -> Path:
        """What a courier is to carry, or has brought, on its way between the hub and a medium."""
        return self.data / "courier"

    @property
    def remote(self) -> Path:
        """The settings that the fleet's operator gave this hub."""
        return self.data / "fleet.json"

    @property
    def lock(self) -> Path:
        return self.data / "hub.lock"

    @property
    def socket(self) -> Path:
        return self.beside(".sock")


class Settings(ServerSettings):
    """Everything that an operator may set."""

    PROGRAM: ClassVar[Program] = Program(
        "medxz-hub", "hub", Packaged(Path("/var/lib/medxz/hub"), Path("/etc/medxz/hub.toml"))
    )

    mdns: bool = Field(True, description="announce the hub on its LAN by mDNS")
    keep_own_days: Number = Field(
        limits.KEEP_OWN_DAYS,
        ge=1,
        le=3_650,
        description="days for which a device keeps its own ops in any case",
    )
    offline_session_hours: Number = Field(
        limits.OFFLINE_SESSION_HOURS,
        ge=0,
        le=8_760,
        description="hours for which a session goes on while the cloud can't be reached",
    )
    require_signed_ops: bool = Field(False, description="refuse ops without a signature")
    backup_to: str | None = Field(
        None,
        pattern="^(cloud|/.*)$",
        description="where `medxz-hub backup` carries to: a folder's whole path (a mounted stick, a share), or `cloud`",
    )

    @property
    def places(self) -> HubPlaces:
        return HubPlaces(self.data, self.key_file)


def load_settings(
    flags: Mapping[str, object], environ: Mapping[str, str], config: Path | None = None
) -> Settings:
    """The hub's settings out of every source."""
    return sources.load_settings(Settings, flags, environ, config)
