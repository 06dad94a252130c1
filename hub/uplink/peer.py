"""The cloud as this hub asks it: over TLS whatever the machine's clock says, and each time that it tells is heard.

Its certificate is judged by the hub's own clock. What time it is the cloud tells without a token, to whoever holds that
certificate against the roots that it was claimed with: that sets the hub's clock. Over plain HTTP, which only a cloud
on this machine speaks, nothing does.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import Any, Final

from hub.claimed import Claimed
from hub.clock import AHEAD_MS_MAX, HubClock
from medxz.clock import parse_time
from medxz.errors import PeerUnreachable
from medxz.peer import Peer
from medxz.trust.dates import judge_dates_by
from medxz.wire import InfoAnswer

# an answer that took longer than this does not tell the time any more
_TOLD_S_MAX: Final = 10.0


class CloudPeer(Peer):
    """A `Peer` whose every word on the time is heard."""

    def __init__(self, url: str, clock: HubClock, *, cloud_id: str | None, **options: Any) -> None:
        """`cloud_id`: whose word it must be; None while nobody knows it yet."""
        super().__init__(url, **options)
        self._clock: Final = clock
        self._cloud_id: Final = cloud_id

    async def info(self) -> InfoAnswer:
        begun_s = self._clock.monotonic()
        told = await super().info()
        ended_s = self._clock.monotonic()
        is_the_cloud = told.kind == "cloud" and self._cloud_id in {None, told.server_id}
        if self.url.startswith("https:") and is_the_cloud and ended_s - begun_s <= _TOLD_S_MAX:
            try:
                told_ms = parse_time(told.time)
            except ValueError:
                raise PeerUnreachable("the cloud does not say what time it is") from None
            self._clock.tell(told_ms, (begun_s + ended_s) / 2)
        return told


def cloud_context(ca: str | None, clock: HubClock) -> ssl.SSLContext:
    """Trusts these roots alone, or the system's where none are given; dates are judged by this clock."""
    context = ssl.create_default_context(cadata=ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    judge_dates_by(context, TowardsCloud(clock))
    return context


def context_of(claim: Claimed, clock: HubClock) -> ssl.SSLContext:
    """For the cloud of this claim: one for all peers, since each that made its own would read the system's CAs."""
    if claim.cloud_url.startswith("https:"):
        return cloud_context(claim.cloud_ca, clock)
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


@dataclass(frozen=True, slots=True)
class TowardsCloud:
    """The hub's clock as it judges the cloud's certificate, without which nobody could set it right.

    Where it has doubts, a certificate has ended only where that is proved: where the clock stood may have been wrong.
    Until the cloud has told the time none is refused for its begin, since a machine's clock may be plausible and late.
    """

    clock: HubClock

    def now_ms(self) -> int:
        standing = self.clock.standing()
        return standing.now_ms if standing.is_trusted else self.clock.proven_ms

    def latest_ms(self) -> int:
        return self.clock.now_ms() + (0 if self.clock.is_told else AHEAD_MS_MAX)

    def monotonic(self) -> float:
        return self.clock.monotonic()

    async def sleep(self, seconds: float) -> None:
        await self.clock.sleep(seconds)
