"""The keys that sign a cloud's tokens, one after another: a next one that is published, the current one that signs, old
ones that verify until their last token has ended.

All processes of a cloud have the same keys by the store. Each reads them anew now and then, and a next key was published
for a while before it signs, so that no process and no hub meets a token of a key that it never heard of.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from medxz import limits
from medxz.accounts.base import DAY_MS, HOUR_MS, Authority
from medxz.errors import Invalid, MedxzError, StoreError
from medxz.store.authority import clinics, secrets
from medxz.store.authority.attempts import NO_CLINIC
from medxz.store.authority.audit import Entry
from medxz.store.authority.base import Tx
from medxz.store.authority.hubs import HubRow
from medxz.store.authority.secrets import KeyState, ServerKey
from medxz.trust.jwks import jwks_of
from medxz.trust.tokens import TokenSigner, key_id
from medxz.wire import JwksAnswer

READ_EVERY_S: Final = 30
# long enough for every process and every hub that has its cloud
PUBLISHED_MS: Final = HOUR_MS
# a hub asks who had a session long after the last token has ended
_KEPT_MS: Final = 31 * DAY_MS
_HUB_ROLES: Final = frozenset({"hub"})


class KeyRing:
    """The keys as this process last read them: what a verifier is given, and what signs."""

    def __init__(self, authority: Authority, server_id: str) -> None:
        self._authority: Final = authority
        self._server_id: Final = server_id
        self._public: Mapping[str, Ed25519PublicKey] = {}
        self._signer: TokenSigner | None = None

    async def refresh(self) -> None:
        """Read the keys."""
        held = await self._authority.transactions.read(lambda tx: secrets.keys(tx, self._authority.seal))
        order: dict[KeyState, int] = {"current": 0, "next": 1, "old": 2}
        held.sort(key=lambda key: order[key.state])
        self._public = {key.kid: Ed25519PublicKey.from_public_bytes(key.public_key) for key in held}
        if held and held[0].state == "current":
            key = Ed25519PrivateKey.from_private_bytes(held[0].private_key)
            self._signer = TokenSigner(key, held[0].kid, self._server_id, self._authority.clock)

    def hub_token(self, clinic_id: str, hub: HubRow) -> str:
        """What a hub comes with: signed for one session of its own."""
        return self.signer.issue(
            sub=hub.hub_id,
            cid=clinic_id,
            did=None,
            sid=self._authority.ids.uuid7(),
            site=hub.site_id,
            roles=_HUB_ROLES,
            ttl_s=limits.ACCESS_TOKEN_S,
        )

    async def follow(self) -> None:
        """Read them again and again, for as long as the program runs. Those that are here stay good while they can't be."""
        while True:
            await self._authority.clock.sleep(READ_EVERY_S)
            with suppress(MedxzError):
                await self.refresh()

    def public(self) -> Mapping[str, Ed25519PublicKey]:
        """The newest keys by kid; for a TokenVerifier."""
        return self._public

    def jwks(self) -> JwksAnswer:
        """The key that signs first, then the next one, then the old."""
        return jwks_of(self._public.values())

    @property
    def signer(self) -> TokenSigner:
        if self._signer is None:
            raise StoreError("the server has no key to sign tokens with: run `medxz-cloud init`")
        return self._signer


class Keys:
    """The operator's use case."""

    def __init__(self, authority: Authority) -> None:
        self._authority: Final = authority

    async def rotate(self, *, at_once: bool = False) -> str:
        """The next key signs from now on; its kid. Invalid where it was not published for long enough, but `at_once`.

        `at_once` also forgets the key before it: somebody else may have that one.
        """

        async def rotate(tx: Tx) -> str:
            now_ms, held = self._authority.clock.now_ms(), await secrets.keys(tx, self._authority.seal)
            coming = next((key for key in held if key.state == "next"), None)
            if coming is None:
                raise StoreError("the server was not made to its end: run `medxz-cloud init`")
            if not at_once and now_ms < coming.made_at_ms + PUBLISHED_MS:
                raise Invalid("the next key was published less than an hour ago; wait, or rotate at once")
            for key in held:
                await self._step(tx, key, now_ms, at_once=at_once)
            await secrets.add_key(tx, self._authority.seal, new_key("next", now_ms))
            for clinic in await clinics.everyone(tx):  # every hub hears of its keys by its directory
                await clinics.raise_revision(tx, clinic.clinic_id)
            entry = Entry("key_rotated", detail={"kid": coming.kid, "at_once": at_once})
            await self._authority.trail.append(tx, NO_CLINIC, entry)
            return coming.kid

        return await self._authority.decide(rotate)

    async def _step(self, tx: Tx, key: ServerKey, now_ms: int, *, at_once: bool) -> None:
        if key.state == "next":
            await secrets.set_key_state(tx, key.kid, "current", now_ms)
        elif key.state == "current" and not at_once:
            await secrets.set_key_state(tx, key.kid, "old", now_ms)
        elif at_once or key.changed_at_ms + _KEPT_MS < now_ms:
            await secrets.delete_key(tx, key.kid)


def new_key(state: KeyState, now_ms: int) -> ServerKey:
    private = Ed25519PrivateKey.generate()
    public = private.public_key()
    return ServerKey(
        key_id(public), state, public.public_bytes_raw(), private.private_bytes_raw(), now_ms, now_ms
    )


assert limits.ACCESS_TOKEN_S * 1_000 < PUBLISHED_MS < _KEPT_MS
