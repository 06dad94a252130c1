"""What a device's store knows of servers, as a search needs it: where to look, by which CAs, whom to leave alone.

Only what was heard is left alone after a refusal. What a person typed, the clinic named or the device has met is always
asked: nobody on a Wi-Fi can keep a device from its hub by pretending to be it.
"""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from medxz.device.discovery.candidates import Candidate, Known
from medxz.device.discovery.verdicts import LASTING, Probed
from medxz.device.store.refusals import Refused

if TYPE_CHECKING:
    from medxz.device.store import DeviceStore
    from medxz.device.store.targets import HeldTarget, Trust
    from medxz.work import Worker

_ANY_PORT: Final = 9


def known_by(trust: Trust, targets: Sequence[HeldTarget], typed: Sequence[str] = ()) -> Known:
    """A search by what is held. Addresses that were met come first, then those that are only known."""
    candidates = [_candidate(held, trust) for held in targets]
    return Known(
        hub_cas=trust.hub_cas or (trust.ca_pem if trust.tls != "address" else None),
        cloud_cas=trust.cloud_cas,
        site_id=trust.site_id,
        last=[one for one in candidates if one.source == "last"],
        typed=typed,
        names=trust.hub_names,
        targets=[one for one in candidates if one.source != "last"],
    )


class StoreMemory:
    """`medxz.device.discovery.looking.Memory` in a device's store."""

    def __init__(self, store: DeviceStore, worker: Worker, known: Known) -> None:
        self._store = store
        self._worker = worker
        self._known = known

    async def refused(self, candidate: Candidate) -> str | None:
        who = self._who(candidate)
        return None if who is None else await self._worker.run(self._store.refusals.why, who)

    async def keep(self, probed: Probed) -> None:
        if self._store.is_read_only:
            return
        if probed.taken and probed.server_id is not None:
            await self._worker.run(self._store.refusals.forget, probed.server_id)
        elif probed.code in LASTING and (who := self._who(probed.candidate)) is not None:
            await self._worker.run(self._store.refusals.keep, who, probed.why)

    def _who(self, candidate: Candidate) -> Refused | None:
        if candidate.source != "mdns" or candidate.server_id is None:
            return None
        terms = "\n".join(
            (candidate.fingerprint or "", self._known.hub_cas or "", _own_address(candidate.url))
        )
        return Refused(
            candidate.server_id, " ".join(sorted(candidate.urls)), hashlib.sha256(terms.encode()).hexdigest()
        )


def _candidate(held: HeldTarget, trust: Trust) -> Candidate:
    return Candidate(
        held.kind or ("cloud" if trust.tls == "address" else "hub"),
        held.url,
        held.server_id,
        "last" if held.last_ok_ms is not None else held.source,
    )


def _own_address(url: str) -> str:
    """From which address this device would ask: in another network it is another one. Nothing is sent."""
    parts = urlsplit(url)
    try:
        [(family, _, _, _, place)] = socket.getaddrinfo(
            parts.hostname, parts.port or _ANY_PORT, type=socket.SOCK_DGRAM, flags=socket.AI_NUMERICHOST
        )
        with socket.socket(family, socket.SOCK_DGRAM) as asking:
            asking.connect(place)
            return str(asking.getsockname()[0])
    except (OSError, ValueError):
        return ""
