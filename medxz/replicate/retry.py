"""When to try again, and how long to wait before: full jitter under a ceiling that doubles."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception

from medxz.clock import Clock
from medxz.errors import PeerRefused, PeerUnreachable

BACKOFF_S: Final = 0.5
BACKOFF_S_MAX: Final = 60.0

_LATER: Final = {429, 500, 502, 503, 504, 507}


class Retry:
    """Makes the retrying of a cycle: by this clock, with this source of numbers from 0 up to 1."""

    def __init__(self, clock: Clock, random_unit: Callable[[], float], tell: Callable[[str], None]) -> None:
        self._clock = clock
        self._random_unit = random_unit
        self._tell = tell

    def times(self, attempts: int, patience_s: float) -> AsyncRetrying:
        """So many times at most, and not where the server asks to be left alone for longer than `patience_s`."""

        def enough(state: RetryCallState) -> bool:
            return state.attempt_number >= attempts or _asked_to_wait_s(state) > patience_s

        return self._retrying(can_help, enough)

    def for_ever(self) -> AsyncRetrying:
        return self._retrying(can_help, lambda _: False)

    def while_refused(self, can_wait: Callable[[PeerRefused], bool]) -> AsyncRetrying:
        """For ever too, but a server that can't be reached is the caller's to deal with, or that can't be waited for."""
        return self._retrying(
            lambda e: isinstance(e, PeerRefused) and can_help(e) and can_wait(e), lambda _: False
        )

    def _retrying(
        self, helps: Callable[[BaseException], bool], enough: Callable[[RetryCallState], bool]
    ) -> AsyncRetrying:
        return AsyncRetrying(
            retry=retry_if_exception(helps),
            stop=enough,
            wait=self._wait_s,
            sleep=self._clock.sleep,
            before_sleep=lambda state: self._tell(str(_error(state))),
            reraise=True,
        )

    def _wait_s(self, state: RetryCallState) -> float:
        """Anything up to the ceiling; not before the time that the server named."""
        ceiling_s = min(BACKOFF_S_MAX, BACKOFF_S * 2.0 ** min(state.attempt_number - 1, 16))
        return max(ceiling_s * self._random_unit(), _asked_to_wait_s(state))


def can_help(error: BaseException) -> bool:
    """Whether to ask again later may give another answer."""
    if isinstance(error, PeerRefused):
        return error.status in _LATER and error.code != "cloud_required"
    return isinstance(error, PeerUnreachable)


def _error(state: RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome is not None else None


def _asked_to_wait_s(state: RetryCallState) -> float:
    error = _error(state)
    return error.retry_after_s or 0.0 if isinstance(error, PeerRefused) else 0.0
