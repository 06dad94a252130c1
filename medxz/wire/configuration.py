"""The clinic's configuration, as devices and hubs are told it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from medxz.wire.forms import Answer


class Target(Answer):
    """A server that a device may push to."""

    kind: Literal["hub", "cloud"]
    url: str
    server_id: str


class ConfigAnswer(Answer):
    """The clinic's configuration, as a device needs it.

    `hub_names`: DNS names that lead to hubs, some with a port. `cloud_ca_certificates`: the roots that the cloud is
    trusted by, where a hub was told others than the system's; the cloud itself tells none.
    """

    clinic_id: str
    name: str = ""
    keep_own_days: int
    offline_session_hours: int
    require_signed_ops: bool
    routing: dict[str, list[Literal["hub", "cloud"]]]
    targets: list[Target]
    ca_certificates: list[str]
    hub_names: list[str] = Field(default_factory=list)
    cloud_ca_certificates: list[str] = Field(default_factory=list)
