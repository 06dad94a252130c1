"""What a clinic has decided, as its devices and hubs are told it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from medxz.service.gate import Caller, require
from medxz.store.directory import Known
from medxz.wire import ConfigAnswer, Target


class Configuration:
    """The use case. One instance a clinic."""

    def __init__(self, known: Known, cloud_ca_certificates: Sequence[str] = ()) -> None:
        """`cloud_ca_certificates`: by which this server trusts its cloud, where an operator said so."""
        self._known: Final = known
        self._cloud_roots: Final = list(cloud_ca_certificates)

    def told(self, caller: Caller) -> ConfigAnswer:
        require(caller, "device_or_hub")
        told = config_answer(self._known)
        changes: dict[str, object] = {"cloud_ca_certificates": self._cloud_roots}
        if caller.hub_id is None:
            changes["targets"] = targets_at(self._known, caller.site_id)
        return told.model_copy(update=changes)


def config_answer(known: Known) -> ConfigAnswer:
    """The configuration of now, on the wire."""
    clinic = known.config
    return ConfigAnswer(
        clinic_id=known.clinic_id,
        name=clinic.name,
        keep_own_days=clinic.keep_own_days,
        offline_session_hours=clinic.offline_session_hours,
        require_signed_ops=clinic.require_signed_ops,
        routing={role: list(kinds) for role, kinds in clinic.routing.items()},
        targets=list(clinic.targets),
        ca_certificates=list(clinic.ca_certificates),
        hub_names=list(clinic.hub_names),
    )


def targets_at(known: Known, site_id: str) -> list[Target]:
    """Where a device of this site may push: the hubs of its own site, then the cloud."""
    elsewhere = {hub.hub_id for hub in known.directory.hubs.values() if hub.site_id != site_id}
    return [target for target in known.config.targets if target.server_id not in elsewhere]
