"""What a device asked the hub and the cloud has to answer: passed on, within a time in which a person still waits."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable
from typing import Final, TypeVar

from hub.uplink.breaker import Breaker
from medxz.errors import REFUSALS, CloudRequired, PeerRefused, PeerUnreachable, Refusal

T = TypeVar("T")

ANSWER_S_MAX: Final = 20.0
RETRY_S: Final = 5

# said of the hub's own token, where the request itself has none
_OF_THE_HUB: Final = frozenset(
    {"token_missing", "token_invalid", "token_expired", "session_revoked", "forbidden"}
)
_BY_CODE: Final = {refusal.code: refusal for refusal in REFUSALS}


class Passing:
    """To one cloud. CloudRequired where it can't be asked; what it refuses is refused."""

    def __init__(self, breaker: Breaker) -> None:
        self._breaker: Final = breaker

    async def pass_on(self, asking: Awaitable[T], *, with_token: bool = False) -> T:
        """The cloud's answer. `with_token`: what it says of tokens concerns the request's own, not the hub's."""
        if self._breaker.is_open:
            if asyncio.iscoroutine(asking):
                asking.close()
            raise unreachable()
        try:
            async with asyncio.timeout(ANSWER_S_MAX):
                answer = await asking
        except (PeerUnreachable, TimeoutError):
            self._breaker.failed()
            raise unreachable() from None
        except PeerRefused as refused:
            self._breaker.succeeded()
            raise _refusal(refused, with_token=with_token) from None
        self._breaker.succeeded()
        return answer


def unreachable() -> CloudRequired:
    return CloudRequired("the cloud can't be reached from this hub; try again later", retry_after_s=RETRY_S)


def _refusal(refused: PeerRefused, *, with_token: bool) -> Refusal:
    """The same refusal, said by this hub."""
    kind = _BY_CODE.get(refused.code)
    if refused.code in _OF_THE_HUB and not with_token:
        return CloudRequired("the cloud does not let this hub in; ask the clinic's administrator")
    if kind is None or kind.status >= 500:
        return CloudRequired("the cloud can't do that now; try again later", retry_after_s=RETRY_S)
    after = math.ceil(refused.retry_after_s) if refused.retry_after_s is not None else None
    return kind(refused.message, retry_after_s=after)
