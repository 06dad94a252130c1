"""The messages about the fleet: how hubs are and what they are to run, and rollouts. Nothing in them is of a patient."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field

from medxz import limits
from medxz.clock import TIME_PATTERN
from medxz.versions import VERSION_CHARS_MAX, VERSION_PATTERN
from medxz.wire.forms import Answer, Count, Message, Uuid

RING_PATTERN: Final = "[a-z][a-z0-9-]{0,31}"
COMPATIBLE_PATTERN: Final = "[a-z0-9][a-z0-9.-]{0,63}"

Ring = Annotated[str, Field(pattern=f"^{RING_PATTERN}$")]
VersionText = Annotated[str, Field(pattern=f"^{VERSION_PATTERN}$", max_length=VERSION_CHARS_MAX)]
Compatible = Annotated[str, Field(pattern=f"^{COMPATIBLE_PATTERN}$")]
Percent = Annotated[str, Field(pattern="^(?:100|[1-9]?[0-9])%$")]
Several = Annotated[int, Field(ge=0, le=limits.FLEET_HUBS_MAX)]
Seconds = Annotated[int, Field(ge=0, le=limits.ROLLOUT_WAIT_S_MAX)]
CheckName = Annotated[str, Field(pattern="^[a-z][a-z0-9_-]{0,39}$")]
HubHealth = Literal["ok", "unwell", "away", "unknown"]
RolloutStanding = Literal["running", "paused", "aborted", "done"]
Progress = Literal["waiting", "offered", "settling", "away", "done", "failed", "skipped"]


class RingSettings(Message):
    """What may be set of a hub from far away. None is as if it were not there."""

    log_level: Literal["debug", "info", "warning", "error"] | None = None
    requests_per_s: Annotated[int, Field(ge=100, le=100_000)] | None = None
    ops_per_s: Annotated[int, Field(ge=1_000, le=1_000_000)] | None = None


class ReportedUpdate(Message):
    """The update that was tried last on a hub."""

    state: Literal["installing", "installed", "confirmed", "failed"]
    version: VersionText
    before: VersionText
    why: Annotated[str, Field(max_length=limits.REPORTED_WHY_CHARS_MAX)] | None = None
    began_at: Annotated[str, Field(pattern=f"^{TIME_PATTERN}$")]


class ReportedHealth(Message):
    """Whether a hub is well, and which of its checks fail, by their names alone."""

    ok: bool
    failing: tuple[CheckName, ...] = Field((), max_length=32, strict=False)


class ReportRequest(Message):
    """How a hub is. `compatible`: which image it runs; None where it is a package on somebody's machine."""

    version: VersionText
    compatible: Compatible | None = None
    health: ReportedHealth
    backlog: Count | None = None
    update: ReportedUpdate | None = None
    settings_revision: Count | None = None


class ReportAnswer(Answer):
    """What is wanted of that hub. `version`: None where that is the newest there is."""

    ring: str
    version: str | None
    settings: RingSettings
    settings_revision: int
    report_every_s: int


class HubRollout(Answer):
    """How far the last rollout that came to a hub is there."""

    rollout_id: str
    state: Progress
    why: str | None
    at: str


class FleetHub(Answer):
    """One hub as an operator sees it."""

    hub_id: str
    clinic_id: str
    clinic: str
    site_id: str
    site: str | None
    name: str
    url: str | None
    ring: str
    version: str | None
    version_wanted: str | None
    compatible: str | None
    health: HubHealth
    failing: list[str]
    backlog: int | None
    last_seen_at: str | None
    reported_at: str | None
    settings_revision: int | None
    update: ReportedUpdate | None
    rollout: HubRollout | None


class FleetHubsAnswer(Answer):
    hubs: list[FleetHub]
    next_cursor: str | None


class HubRingRequest(Message):
    """Which ring a hub is of from now on."""

    ring: Ring
    clinic_id: Uuid | None = None


class RingRequest(Message):
    """What a ring's hubs are to run, and with which settings. What is not named stays as it is."""

    version: VersionText | None = None
    settings: RingSettings | None = None


class RingAnswer(Answer):
    ring: str
    version: str | None
    settings: RingSettings
    hubs: int


class RingsAnswer(Answer):
    rings: list[RingAnswer]
    next_cursor: str | None


class RolloutRequest(Message):
    """What is to come to whom, how many at a time, and when it stops by itself."""

    version: VersionText
    rings: tuple[Ring, ...] = Field(
        ("canary", "early", "all"), min_length=1, max_length=limits.RINGS_MAX, strict=False
    )
    serial: Several | Percent = "25%"
    max_failures: Several | Percent = "10%"
    wait_for_away_s: Seconds = 86_400
    take_within_s: Seconds = 43_200
    settle_within_s: Seconds = 3_600


class RolloutHubs(Answer):
    """How many hubs are how far."""

    total: int = 0
    waiting: int = 0
    offered: int = 0
    settling: int = 0
    away: int = 0
    done: int = 0
    failed: int = 0
    skipped: int = 0


class RolloutRing(Answer):
    """One ring of a rollout. `before`: what it was to run."""

    ring: str
    before: str | None
    hubs: RolloutHubs


class FailedHub(Answer):
    hub_id: str
    clinic_id: str
    name: str
    ring: str
    version: str | None
    why: str | None
    at: str


class RolloutAnswer(Answer):
    """A rollout as it stands. `ring` is the one that it has come to."""

    rollout_id: str
    version: str
    state: RolloutStanding
    why: str | None
    rings: list[str]
    ring: str | None
    serial: int | str
    max_failures: int | str
    wait_for_away_s: int
    take_within_s: int
    settle_within_s: int
    begun_at: str
    changed_at: str
    hubs: RolloutHubs
    progress: list[RolloutRing]
    failed: list[FailedHub]


class RolloutsAnswer(Answer):
    rollouts: list[RolloutAnswer]
    next_cursor: str | None
