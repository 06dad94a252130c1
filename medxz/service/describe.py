"""What a server says of itself, to anyone: who it is, and its compression dictionaries."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from medxz.clock import Clock, format_time
from medxz.errors import NotFound
from medxz.service.upstream import ServerKind
from medxz.wire import PROTOCOL_VERSIONS, DictionaryInfo, InfoAnswer, InfoLimits


class Describe:
    """Answers that cost nothing to give."""

    def __init__(
        self, kind: ServerKind, version: str, server_id: str, epoch: Callable[[], str],
        dictionaries: Sequence[bytes], clock: Clock,
    ) -> None:  # fmt: skip
        self._kind: Final = kind
        self._version: Final = version
        self._server_id: Final = server_id
        self._epoch: Final = epoch
        self._dictionaries: Final[Mapping[str, bytes]] = {
            hashlib.sha256(data).hexdigest(): data for data in dictionaries
        }
        self._clock: Final = clock

    def info(self) -> InfoAnswer:
        return InfoAnswer(
            server_id=self._server_id,
            kind=self._kind,
            epoch=self._epoch(),
            protocol=list(PROTOCOL_VERSIONS),
            version=self._version,
            time=format_time(self._clock.now_ms()),
            limits=InfoLimits(),
            dictionaries=[
                DictionaryInfo(id=name, url=f"/v1/dictionaries/{name}", bytes=len(data))
                for name, data in self._dictionaries.items()
            ],
        )

    def dictionary(self, name: str) -> bytes:
        """The bytes of a dictionary; NotFound where this server has none of that name."""
        try:
            return self._dictionaries[name]
        except KeyError:
            raise NotFound("there is no dictionary of that name; /v1/info names those there are") from None
