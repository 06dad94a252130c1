"""The hub's own access tokens at its cloud, or at another hub: exchanged for an assertion, and anew before they end.

The assertion is signed with the key of the hub's certificate and says the time of the server that it is for, which that
one tells without a token: a box without a battery for its clock may be years off, and is let in all the same. Tokens
live in memory alone.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final, Protocol

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

from medxz.clock import Clock, parse_time
from medxz.errors import MedxzError, PeerUnreachable
from medxz.ids import Ids
from medxz.trust.proofs import sign_proof
from medxz.wire import AssertionRequest, HubTokenAnswer, InfoAnswer

# a clock that is no further off than this is right
CLOCK_OFF_MS: Final = 2_000
# what is left of a token's life when it is exchanged
LEFT_OF_LIFE: Final = 1 / 3


class Gatekeeper(Protocol):
    """The server, as it is asked without a token."""

    async def info(self) -> InfoAnswer: ...
    async def hub_token(self, request: AssertionRequest) -> HubTokenAnswer: ...


@dataclass(frozen=True, slots=True)
class Signing:
    """Who asks whom, and the key of its certificate."""

    key: EllipticCurvePrivateKey
    hub_id: str
    server_id: str


@dataclass(frozen=True, slots=True)
class _Token:
    text: str
    renew_at: float
    ends_at: float


@dataclass(frozen=True, slots=True)
class _Shifted:
    """A clock that is set right."""

    clock: Clock
    by_ms: int

    def now_ms(self) -> int:
        return self.clock.now_ms() + self.by_ms

    def monotonic(self) -> float:
        return self.clock.monotonic()

    async def sleep(self, seconds: float) -> None:
        await self.clock.sleep(seconds)


class HubTokens:
    """`medxz.peer.Credentials` of one hub at one server."""

    def __init__(
        self,
        server: Gatekeeper,
        signing: Signing,
        clock: Clock,
        ids: Ids,
        *,
        url: str | None = None,
    ) -> None:
        """`url`, told to the cloud, is where devices of the site find this hub."""
        self._server: Final = server
        self._signing: Final = signing
        self._url: Final = url
        self._clock: Final = clock
        self._ids: Final = ids
        self._held: _Token | None = None
        self._exchanging: Final = asyncio.Lock()

    async def token(self) -> str:
        """One that is good now. While it is, a server that gives no other is no reason to fail."""
        async with self._exchanging:
            held, now = self._held, self._clock.monotonic()
            if held is not None and now < held.renew_at:
                return held.text
            try:
                held = self._held = await self._exchanged()
            except MedxzError:
                if held is None or now >= held.ends_at:
                    raise
            return held.text

    async def ended(self, token: str) -> bool:
        """It has, whatever was promised: there is another."""
        self.forget(token)
        return True

    def forget(self, token: str | None = None) -> None:
        """Ask for another next time; with a token, where it is that one."""
        if self._held is not None and token in {None, self._held.text}:
            self._held = None

    async def _exchanged(self) -> _Token:
        told = await self._server.info()
        try:
            off_ms = parse_time(told.time) - self._clock.now_ms()
        except ValueError:
            raise PeerUnreachable("the server does not say what time it is") from None
        clock = _Shifted(self._clock, off_ms if abs(off_ms) > CLOCK_OFF_MS else 0)
        by = self._signing
        assertion = sign_proof(by.key, by.hub_id, by.server_id, clock, self._ids)
        begun = self._clock.monotonic()
        answer = await self._server.hub_token(AssertionRequest(assertion=assertion, url=self._url))
        life_s = answer.expires_in
        return _Token(answer.access_token, begun + life_s * (1 - LEFT_OF_LIFE), begun + life_s)
