"""How a neighbour comes in: by an assertion for this hub, signed with the key that the directory has of it.

What it gets is a token of role `hub` that this hub signed and no other server takes. Refused: a hub that the clinic's
directory does not have at this site, one that was revoked, an assertion for another server or one that was shown before.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from hub.claimed import Claimed
from medxz import limits
from medxz.clock import Clock
from medxz.errors import Forbidden, Refusal, SessionRevoked
from medxz.ids import Ids
from medxz.service.accounts import Origin
from medxz.service.audit import Audit
from medxz.store.directory import HubEntry
from medxz.store.registry import SqliteRegistry
from medxz.trust.proofs import TakenOnce, proof_issuer, verify_proof
from medxz.trust.tokens import TokenSigner
from medxz.wire import AssertionRequest, HubTokenAnswer

_ROLES: Final = frozenset({"hub"})
# whoever has no key of ours shall not fill the audit
NOTE_EVERY_S: Final = 60.0


class NeighbourDoor:
    """One hub's."""

    def __init__(
        self,
        claim: Claimed,
        registry: SqliteRegistry,
        signer: TokenSigner,
        audit: Audit,
        *,
        clock: Clock,
        ids: Ids,
        came: Callable[[str], None],
    ) -> None:
        """`came` is told the id of each hub that was let in."""
        self._server_id: Final = claim.hub_id
        self._site_id: Final = claim.site_id
        self._registry: Final = registry
        self._signer: Final = signer
        self._audit: Final = audit
        self._ids: Final = ids
        self._clock: Final = clock
        self._came: Final = came
        self._once: Final = TakenOnce(clock)
        self._noted_at: float | None = None

    async def let_in(self, request: AssertionRequest, origin: Origin) -> HubTokenAnswer:
        """A token for the hub that signed this; TokenInvalid, SessionRevoked or Forbidden where there is none."""
        hub_id = proof_issuer(request.assertion)
        try:
            self._prove(hub_id, request.assertion)
        except Refusal as refusal:
            await self._note_refusal(hub_id, origin, refusal)
            raise
        await self._audit.note(self._registry.clinic_id, "hub_token", hub_id=hub_id, address=origin.address)
        self._came(hub_id)
        token = self._signer.issue(
            sub=hub_id,
            cid=self._registry.clinic_id,
            did=None,
            sid=self._ids.uuid7(),
            site=self._site_id,
            roles=_ROLES,
            ttl_s=limits.ACCESS_TOKEN_S,
        )
        return HubTokenAnswer(access_token=token, expires_in=limits.ACCESS_TOKEN_S)

    def _prove(self, hub_id: str, assertion: str) -> None:
        hub = self._registry.directory.hubs.get(hub_id)
        keys = _keys_of(hub) if hub is not None and hub_id != self._server_id else []
        # one answer for a hub that is not known and for a wrong key
        self._once.take(verify_proof(assertion, keys, self._server_id, self._clock))
        assert hub is not None
        if hub.revoked:
            raise SessionRevoked("this hub was revoked; ask the clinic's administrator")
        if hub.site_id != self._site_id:
            raise Forbidden("hubs of one site take each other's assertions, and this one is of another site")

    async def _note_refusal(self, hub_id: str, origin: Origin, refusal: Refusal) -> None:
        now = self._clock.monotonic()
        if self._noted_at is not None and now < self._noted_at + NOTE_EVERY_S:
            return
        self._noted_at = now
        known = hub_id if hub_id in self._registry.directory.hubs else None
        await self._audit.note(
            self._registry.clinic_id,
            "hub_token_refused",
            hub_id=known,
            address=origin.address,
            detail={"code": refusal.code},
        )


def _keys_of(hub: HubEntry) -> list[EllipticCurvePublicKey]:
    try:
        key = load_pem_public_key(hub.public_key_pem)
    except (ValueError, UnsupportedAlgorithm):
        return []
    return [key] if isinstance(key, EllipticCurvePublicKey) else []
