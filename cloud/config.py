"""The cloud's settings, beside what every server has; where they come from: medxz/program/settings.py.

Refused: a database that is no PostgreSQL, a public URL without TLS that leads off this machine.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, ClassVar, Final
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from medxz import limits
from medxz.loopback import is_loopback
from medxz.program import settings as sources
from medxz.program.origins import is_origin
from medxz.program.places import Places
from medxz.program.settings import Number, Packaged, Program, Said, ServerSettings

PROGRAM: Final = Program(
    "medxz-cloud", "cloud", Packaged(Path("/var/lib/medxz-cloud/data"), Path("/etc/medxz-cloud/cloud.toml"))
)


def _bare(value: str) -> str:
    if not is_origin(value.rstrip("/")):
        raise ValueError("must be scheme, host and port, as https://cloud.example")
    return value.rstrip("/")


def _postgres(value: str) -> str:
    if urlsplit(value).scheme not in {"postgresql", "postgres"}:
        raise ValueError("must begin with postgresql://")
    return value


class CloudPlaces(Places):
    """Where the files of a cloud lie: on PostgreSQL only what can be made anew, and the lock."""

    @property
    def authority(self) -> Path:
        return self.data / "cloud.db"

    @property
    def lock(self) -> Path:
        return self.data / "cloud.lock"

    @property
    def url_file(self) -> Path:
        """While it runs: where it serves."""
        return self.data / "cloud.url"

    @property
    def running_file(self) -> Path:
        """While it runs: where this machine finds it, and by which certificates."""
        return self.data / "cloud.running"

    def clinic(self, clinic_id: str) -> Path:
        return self.data / "clinics" / clinic_id


class Settings(ServerSettings):
    """Everything that an operator may set."""

    PROGRAM: ClassVar[Program] = PROGRAM
    SECRETS: ClassVar[frozenset[str]] = frozenset({"database"})

    database: Annotated[str, AfterValidator(_postgres)] | None = Field(
        None, description="`postgresql://…`, several hosts with commas; unset: SQLite files in the directory"
    )
    database_connections: Number = Field(
        16, ge=4, le=1_000, description="connections to that database of this process at most"
    )
    public_url: Annotated[str, AfterValidator(_bare)] | None = Field(
        None, description="where devices and hubs find the cloud; unset: where it serves"
    )
    clinics_open: Number = Field(
        limits.CLINICS_OPEN_MAX,
        ge=1,
        le=100_000,
        description="clinics whose logs are open at a time at most; who is not asked for makes room",
    )

    connections: Number = Field(
        limits.CLOUD_CONNECTIONS_MAX,
        ge=16,
        le=1_000_000,
        description="connections of devices and hubs to this process at most",
    )
    streams: Number = Field(
        limits.CLOUD_STREAMS_MAX,
        ge=1,
        le=1_000_000,
        description="how many of them may be streams; the rest is left to requests",
    )

    @property
    def places(self) -> CloudPlaces:
        return CloudPlaces(self.data, self.key_file)

    def contradictions(self, said: Said) -> Iterator[str]:
        yield from super().contradictions(said)
        if self.streams >= self.connections:
            yield f"{said('streams')}: must be fewer than {said('connections')}"
        url = urlsplit(self.public_url or "")
        if url.scheme == "http" and not is_loopback(url.hostname or ""):
            yield f"{said('public_url')}: without TLS it may lead to 127.0.0.1, ::1 or localhost alone"


def load_settings(
    flags: Mapping[str, object], environ: Mapping[str, str], config: Path | None = None
) -> Settings:
    """The cloud's settings out of every source."""
    return sources.load_settings(Settings, flags, environ, config)
