"""What a clinic has decided, as its devices and hubs are told it."""

from __future__ import annotations

from typing import Final

from medxz.service.gate import Caller, require
from medxz.store.directory import Known
from medxz.wire import ConfigAnswer


class Configuration:
    """The use case. One instance a clinic."""

    def __init__(self, known: Known) -> None:
        self._known: Final = known

    def told(self, caller: Caller) -> ConfigAnswer:
        require(caller, "device_or_hub")
        return config_answer(self._known)


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
