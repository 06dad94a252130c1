"""Where a server might be: what a device remembers, was told and hears, in the order in which it is believed.

Nothing here is trusted: a candidate is an address to ask, and the id that is expected of whoever answers there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Kind = Literal["hub", "cloud"]
Source = Literal["last", "typed", "name", "config", "mdns"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """An address, and who is expected there; `server_id` is None where any hub of the clinic will do.

    What an announcement adds: `site_id`, the `fingerprint` of its CA, its `host` name, and `others`, the addresses
    beside `url` at which the same hub may answer.
    """

    kind: Kind
    url: str
    server_id: str | None
    source: Source
    site_id: str | None = None
    fingerprint: str | None = None
    host: str | None = None
    others: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Known:
    """What a device brings along: the CAs that it holds servers against, and where it looks beside the LAN itself.

    `hub_cas`: the clinic's CAs in PEM; without them no hub can be proven, and none is taken. `cloud_cas`: those of its
    cloud; without them what the system trusts. `last`: where servers were met before, the best one first. `typed`:
    addresses that a person gave. `names`: what the clinic decided as `hub_names`. `targets`: as its servers told them.
    """

    hub_cas: str | None
    cloud_cas: str | None = None
    site_id: str | None = None
    last: Sequence[Candidate] = ()
    typed: Sequence[str] = ()
    names: Sequence[str] = ()
    targets: Sequence[Candidate] = ()
