"""The endpoints about the fleet: an operator's, and the one by which hubs report."""

from __future__ import annotations

from typing import Final, get_args

from medxz import errors, wire
from medxz.endpoints.kinds import CURSOR, ID, LIST_LIMIT, Endpoint, Parameter
from medxz.ids import UUID_PATTERN
from medxz.versions import VERSION_CHARS_MAX, VERSION_PATTERN

_UUID: Final[dict[str, object]] = {"type": "string", "pattern": f"^{UUID_PATTERN}$"}
_RING_NAME: Final[dict[str, object]] = {"type": "string", "pattern": f"^{wire.RING_PATTERN}$"}
_VERSION: Final[dict[str, object]] = {
    "type": "string", "pattern": f"^{VERSION_PATTERN}$", "maxLength": VERSION_CHARS_MAX,
}  # fmt: skip
_FILTERS: Final = (
    Parameter("clinic", _UUID, "those of this clinic"),
    Parameter("site", _UUID, "those of this site"),
    Parameter("ring", _RING_NAME, "those of this ring"),
    Parameter("version", _VERSION, "those that run this"),
    Parameter("health", {"type": "string", "enum": list(get_args(wire.HubHealth))}, "those that are so"),
)
_RING: Final = Parameter("ring", _RING_NAME, "a ring's name")
_ROLLOUT: Final = "/v1/fleet/rollouts/{id}"
_OVER: Final = (errors.NotFound, errors.RolloutState)

FLEET: Final = (
    Endpoint(
        "hub_report", "POST", "/v1/hubs/report", "How a hub is, answered with what is wanted of it.",
        "hub", wire.ReportRequest, wire.ReportAnswer,
    ),
    Endpoint(
        "fleet_hubs", "GET", "/v1/fleet/hubs", "The hubs of every clinic: where each is, how it is, what it runs.",
        "operator", None, wire.FleetHubsAnswer, parameters=(*_FILTERS, CURSOR, LIST_LIMIT), refusals=(errors.BadCursor,),
    ),
    Endpoint(
        "fleet_hub", "POST", "/v1/fleet/hubs/{id}", "Put a hub into a ring.",
        "operator", wire.HubRingRequest, wire.FleetHub, places=(ID,), refusals=(errors.NotFound,),
    ),
    Endpoint(
        "fleet_rings", "GET", "/v1/fleet/rings", "The rings, and what each is to run.",
        "operator", None, wire.RingsAnswer,
    ),
    Endpoint(
        "fleet_ring", "POST", "/v1/fleet/rings/{ring}", "What a ring is to run, and with which settings.",
        "operator", wire.RingRequest, wire.RingAnswer, places=(_RING,),
    ),
    Endpoint(
        "fleet_rollouts", "GET", "/v1/fleet/rollouts", "The rollouts, the newest first.",
        "operator", None, wire.RolloutsAnswer, parameters=(CURSOR, LIST_LIMIT), refusals=(errors.BadCursor,),
    ),
    Endpoint(
        "fleet_rollout_begin", "POST", "/v1/fleet/rollouts", "Begin to bring a release to the hubs, ring by ring.",
        "operator", wire.RolloutRequest, wire.RolloutAnswer, refusals=(errors.RolloutState,),
    ),
    Endpoint(
        "fleet_rollout", "GET", _ROLLOUT, "One rollout as it stands.",
        "operator", None, wire.RolloutAnswer, places=(ID,), refusals=(errors.NotFound,),
    ),
    Endpoint(
        "fleet_rollout_pause", "POST", f"{_ROLLOUT}/pause", "No other hub begins.",
        "operator", None, wire.RolloutAnswer, places=(ID,), refusals=_OVER,
    ),
    Endpoint(
        "fleet_rollout_resume", "POST", f"{_ROLLOUT}/resume", "It goes on; what failed so far is forgiven.",
        "operator", None, wire.RolloutAnswer, places=(ID,), refusals=_OVER,
    ),
    Endpoint(
        "fleet_rollout_abort", "POST", f"{_ROLLOUT}/abort", "It ends, and who took it is told to go back.",
        "operator", None, wire.RolloutAnswer, places=(ID,), refusals=_OVER,
    ),
)  # fmt: skip
