"""A claimed hub's connection to its cloud, put together: who asks, by which token, and what is done with the answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from hub.accounts import Cloud, HubAccounts, Kept
from hub.lent import Lent
from hub.neighbours.door import NeighbourDoor
from hub.neighbours.neighbour import Own
from hub.neighbours.neighbours import Neighbours
from hub.offline import OfflineSessions
from hub.uplink.breaker import Breaker
from hub.uplink.certificate import CloudCertificate
from hub.uplink.mirror import Mirror
from hub.uplink.passing import Passing
from hub.uplink.patience import CutShort
from hub.uplink.peer import CloudPeer, context_of
from hub.uplink.side import CloudSide
from hub.uplink.tokens import HubTokens, Signing
from hub.uplink.uplink import Uplink, Ways
from medxz.lan.browsing import Browser
from medxz.lan.multicast import Multicast
from medxz.peer import Peer

if TYPE_CHECKING:
    from hub.claimed import Claimed
    from hub.doors import Surroundings
    from hub.identity import HubIdentity
    from hub.storage import Storage
    from hub.trusted import Trusted
    from medxz.replicate import LogId
    from medxz.service.audit import Audit


@dataclass(frozen=True, slots=True)
class Connection:
    """What runs in the background, and what passes on."""

    uplink: Uplink
    accounts: HubAccounts
    certificate: CloudCertificate
    neighbours: Neighbours
    peers: tuple[Peer, ...]
    noting: Callable[[int, int], Awaitable[None]]

    @property
    def cloud(self) -> Peer:
        """The cloud, asked with the hub's own token."""
        return self.peers[-1]

    async def aclose(self) -> None:
        for peer in self.peers:
            await peer.aclose()


def connect(
    storage: Storage, identity: HubIdentity, around: Surroundings, trusted: Trusted, notes: Audit
) -> Connection:
    """Nothing is asked before the uplink runs."""
    claim, clock = identity.claim, CutShort(around.clock)
    assert claim is not None
    context = context_of(claim, storage.clock)
    to_cloud = partial(
        CloudPeer,
        claim.cloud_url,
        storage.clock,
        cloud_id=claim.cloud_id,
        ssl_context=context,
        ids=around.ids,
    )
    anonymous = to_cloud()
    signing = Signing(claim.private_key, claim.hub_id, claim.cloud_id)
    tokens = HubTokens(anonymous, signing, clock, around.ids, url=around.lan_url())
    peer = to_cloud(token=tokens, thrifty=True)
    lent = Lent()
    neighbours = _neighbours(storage, claim, around, lent)
    noting = noting_of(claim, notes, neighbours.look)
    breaker, mirror = Breaker(clock, clock.hurry), Mirror(peer, storage.registry, noting)

    async def met(log: LogId) -> None:
        uplink.met()
        await mirror.met(log)

    side = CloudSide(storage.log, storage.registry, clock, met)
    uplink = Uplink(storage.log, side, Ways(peer, tokens, mirror, breaker, clock, lent), around.say)
    verifier = trusted.verifier(around.clock, storage.clock.witness)
    certificate = CloudCertificate(claim, storage.registry, peer, around.clock)
    offline = OfflineSessions(
        claim, lambda: certificate.credential, storage.registry, storage.sessions, verifier, around.clock
    )
    accounts = HubAccounts(
        claim,
        Cloud(
            peer,
            lambda bearer: to_cloud(token=lambda: bearer),
            Passing(breaker),
            mirror,
        ),
        Kept(storage.registry, storage.sessions, verifier, offline, notes),
        NeighbourDoor(
            claim,
            storage.registry,
            identity.signer(around.clock),
            notes,
            clock=around.clock,
            ids=around.ids,
            came=neighbours.came_by,
        ),
        trusted.jwks,
    )
    return Connection(uplink, accounts, certificate, neighbours, (anonymous, peer), noting)


def _neighbours(storage: Storage, claim: Claimed, around: Surroundings, lent: Lent) -> Neighbours:
    own = Own(
        claim.hub_id,
        claim.private_key,
        lambda: "\n".join(storage.registry.config.ca_certificates).encode(),
        storage.log,
        storage.registry,
        around.clock,
        around.ids,
        around.say,
        lent,
    )
    return Neighbours(own, claim.site_id, _hearing(around.multicast) if around.settings.mdns else None)


def _hearing(multicast: Multicast) -> Callable[[], Browser]:
    return lambda: Browser(multicast=multicast)


def noting_of(
    claim: Claimed, notes: Audit, look: Callable[[], None] = lambda: None
) -> Callable[[int, int], Awaitable[None]]:
    """What the cloud decided and this hub has heard is noted here too; the first of it ends the claim."""

    async def note(before: int, revision: int) -> None:
        look()
        about = {"cloud_id": claim.cloud_id, "revision": revision}
        if not before:
            await notes.note(claim.clinic_id, "hub_claimed", hub_id=claim.hub_id, detail=about)
        await notes.note(claim.clinic_id, "directory_changed", hub_id=claim.hub_id, detail=about)

    return note
