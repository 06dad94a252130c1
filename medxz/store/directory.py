"""What one server knows of one clinic's people, devices and hubs, as data: who writes, who may stay, how far the cloud is.

It is never changed in place: whoever keeps it puts a new one where the old one was, so that a reader holds one that
fits together. Where it is kept and how it is brought up to date is not told here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol

from medxz import limits
from medxz.scope import Scope
from medxz.wire import Target

TargetKind = Literal["hub", "cloud"]

ROUTING: Final[Mapping[str, Sequence[TargetKind]]] = dict.fromkeys(
    ("admin", "clinician", "front_desk"), ("hub", "cloud")
)


@dataclass(frozen=True, slots=True)
class User:
    """An author: the roles that the clinic gave."""

    user_id: str
    roles: frozenset[str]
    disabled: bool = False
    name: str = ""
    email: str = ""


@dataclass(frozen=True, slots=True)
class DeviceEntry:
    """A device: what it holds, the keys it has had, and who has had a session on it."""

    device_id: str
    scope: Scope
    revoked: bool = False
    public_keys: tuple[bytes, ...] = ()
    authors: frozenset[str] = frozenset()
    name: str = ""
    site_id: str = ""


@dataclass(frozen=True, slots=True)
class HubEntry:
    """A hub of the clinic: where it stands, the key of its certificate, and where devices find it."""

    hub_id: str
    site_id: str
    name: str
    public_key_pem: bytes
    revoked: bool = False
    url: str | None = None


@dataclass(frozen=True, slots=True)
class ClinicConfig:
    """What the clinic has decided, as this server knows it."""

    keep_own_days: int = limits.KEEP_OWN_DAYS
    offline_session_hours: int = limits.OFFLINE_SESSION_HOURS
    require_signed_ops: bool = False
    routing: Mapping[str, Sequence[TargetKind]] = field(default_factory=lambda: ROUTING)
    targets: Sequence[Target] = ()
    ca_certificates: Sequence[str] = ()
    name: str = ""
    hub_names: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Directory:
    """Everything of one moment. `revision` rises with each change that a hub has to hear of.

    What the cloud said (`cloud_…`) is there on a hub alone; `refusals` are by device: (op_id, code).
    """

    users: Mapping[str, User] = field(default_factory=dict)
    devices: Mapping[str, DeviceEntry] = field(default_factory=dict)
    sites: Mapping[str, str] = field(default_factory=dict)
    hubs: Mapping[str, HubEntry] = field(default_factory=dict)
    revoked_sessions: AbstractSet[str] = frozenset()
    revision: int = 0
    cloud_epoch: str | None = None
    cloud_marks: Mapping[str, int] = field(default_factory=dict)
    cloud_refusals: Mapping[str, Sequence[tuple[str, str]]] = field(default_factory=dict)


class Known(Protocol):
    """What a server knows of one clinic now. Reading never waits."""

    @property
    def clinic_id(self) -> str: ...

    @property
    def directory(self) -> Directory:
        """The newest; a new object after each change."""
        ...

    @property
    def config(self) -> ClinicConfig:
        """The newest."""
        ...
