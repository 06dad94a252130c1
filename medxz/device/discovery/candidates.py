"""Where a server might be: what a device remembers, was told and hears, in the order in which it is believed.

Nothing here is trusted: a candidate is an address to ask, and the id that is expected of whoever answers there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from medxz.lan.announcement import Announcement

Kind = Literal["hub", "cloud"]
Source = Literal["last", "typed", "name", "config", "mdns"]

HUB_PORT: Final = 8443
REMEMBERED_MAX: Final = 8
"""Of addresses of each source: who remembers more asks no more."""
ADDRESSES_MAX: Final = 6
"""Of one announcement: it is no means to have devices knock at a whole network."""


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

    @property
    def urls(self) -> tuple[str, ...]:
        return (self.url, *self.others)


@dataclass(frozen=True)
class Known:
    """What a device brings along: the CAs that it holds servers against, and where it looks beside the LAN itself.

    `hub_cas`: the clinic's CAs in PEM; without them no hub can be proven, and none is taken. `cloud_cas`: those of its
    cloud; without them what the system trusts. `last`: where servers were met before, the best one first. `typed`:
    addresses that a person gave. `names`: what the clinic decided as `hub_names`. `targets`: as its servers told them.
    """

    hub_cas: str | None = field(default=None, repr=False)
    cloud_cas: str | None = field(default=None, repr=False)
    site_id: str | None = None
    last: Sequence[Candidate] = ()
    typed: Sequence[str] = ()
    names: Sequence[str] = ()
    targets: Sequence[Candidate] = ()

    @cached_property
    def fingerprints(self) -> frozenset[str]:
        """Of the clinic's CAs."""
        from cryptography import x509

        from medxz.trust.certificates import ca_fingerprint  # what only records never loads it

        pem = (self.hub_cas or "").encode()
        return (
            frozenset(ca_fingerprint(one) for one in x509.load_pem_x509_certificates(pem))
            if pem
            else frozenset()
        )


def remembered(known: Known) -> list[Candidate]:
    """What can be asked without hearing anybody, each question once; the best first."""
    found: dict[tuple[str, str | None], Candidate] = {}
    for candidate in _all(known):
        found.setdefault((candidate.url, candidate.server_id), candidate)
    return list(found.values())


def announced(announcement: Announcement) -> Candidate | None:
    """A hub that was heard; None where it names no address that may be asked."""
    from medxz.lan.announcement import urls

    addresses = urls(announcement)
    if not addresses:
        return None
    return Candidate(
        "hub", addresses[0], announcement.server_id, "mdns", announcement.site_id, announcement.fingerprint,
        announcement.host, tuple(addresses[1:ADDRESSES_MAX]),
    )  # fmt: skip


def of_name(name: str) -> str:
    """The address that a name of `hub_names` stands for."""
    has_port = name.rpartition("]")[2].count(":") == 1
    return f"https://{name}" if has_port else f"https://{name}:{HUB_PORT}"


def _all(known: Known) -> Iterator[Candidate]:
    yield from known.last[:REMEMBERED_MAX]
    for url in known.typed[:REMEMBERED_MAX]:
        yield Candidate("hub", url, None, "typed")
    yield from known.targets[:REMEMBERED_MAX]
    for name in known.names[:REMEMBERED_MAX]:
        yield Candidate("hub", of_name(name), None, "name", host=name)
