"""What a clinic has decided, as its devices and hubs are told it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from medxz.service.gate import Caller, require
from medxz.store.directory import Known
from medxz.wire import ConfigAnswer


class Configuration:
    """The use case. One instance a clinic."""

    def __init__(self, known: Known, cloud_ca_certificates: Sequence[str] = ()) -> None:
        """`cloud_ca_certificates`: by which this server trusts its cloud, where an operator said so."""
        self._known: Final = known
        self._cloud_roots: Final = list(cloud_ca_certificates)

    def told(self, caller: Caller) -> ConfigAnswer:
        require(caller, "device_or_hub")
        told = config_answer(self._known)
        return told.model_copy(update={"cloud_ca_certificates": self._cloud_roots})


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
