"""What a server says of itself: who it is, the clinic's configuration, its compression dictionaries."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Final

from medxz.clock import Clock, format_time
from medxz.errors import NotFound
from medxz.service.gate import Caller, require
from medxz.service.upstream import ServerKind
from medxz.store.base import LogStore
from medxz.store.directory import ClinicConfig
from medxz.wire import PROTOCOL_VERSIONS, ConfigAnswer, DictionaryInfo, InfoAnswer, InfoLimits


class Describe:
    """Answers that cost nothing to give."""

    def __init__(
        self, kind: ServerKind, version: str, log: LogStore, config: ClinicConfig, dictionaries: Sequence[bytes],
        clock: Clock,
    ) -> None:  # fmt: skip
        self._kind: Final = kind
        self._version: Final = version
        self._log: Final = log
        self._clinic: Final = config
        self._dictionaries: Final[Mapping[str, bytes]] = {
            hashlib.sha256(data).hexdigest(): data for data in dictionaries
        }
        self._clock: Final = clock

    def info(self) -> InfoAnswer:
        return InfoAnswer(
            server_id=self._log.server_id,
            kind=self._kind,
            epoch=self._log.epoch,
            protocol=list(PROTOCOL_VERSIONS),
            version=self._version,
            time=format_time(self._clock.now_ms()),
            limits=InfoLimits(),
            dictionaries=[
                DictionaryInfo(id=name, url=f"/v1/dictionaries/{name}", bytes=len(data))
                for name, data in self._dictionaries.items()
            ],
        )

    def config(self, caller: Caller) -> ConfigAnswer:
        require(caller, "device_or_hub")
        clinic = self._clinic
        return ConfigAnswer(
            clinic_id=self._log.clinic_id,
            name=clinic.name,
            keep_own_days=clinic.keep_own_days,
            offline_session_hours=clinic.offline_session_hours,
            require_signed_ops=clinic.require_signed_ops,
            routing={role: list(kinds) for role, kinds in clinic.routing.items()},
            targets=list(clinic.targets),
            ca_certificates=list(clinic.ca_certificates),
        )

    def dictionary(self, name: str) -> bytes:
        """The bytes of a dictionary; NotFound where this server has none of that name."""
        try:
            return self._dictionaries[name]
        except KeyError:
            raise NotFound("there is no dictionary of that name; /v1/info names those there are") from None
