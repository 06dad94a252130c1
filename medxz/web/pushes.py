"""The pushes that are under way, from the first byte of a body to the answer; and a moment in which there is none.

Who is about to restart the machine asks for such a moment: where nobody is pushing, and nobody has for a while, new
pushes are put off until it is over. A device that is told so tries again by itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from medxz import limits
from medxz.errors import Overloaded


class Pushes:
    """Those of one server."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic: Final = monotonic
        self._held_until = -math.inf
        self._last_ended = -math.inf
        self.under_way = 0

    @contextmanager
    def one(self) -> Iterator[None]:
        """While inside, there is one more; Overloaded where none may begin now."""
        left_s = self._held_until - self._monotonic()
        if left_s > 0:
            raise Overloaded("this server is about to restart", retry_after_s=math.ceil(left_s))
        self.under_way += 1
        try:
            yield
        finally:
            self.under_way -= 1
            self._last_ended = self._monotonic()

    def hold(self, seconds: float, quiet_s: float) -> bool:
        """Put new ones off for so long, where there is none and has been none; whether that is so."""
        now = self._monotonic()
        if self.under_way or now - self._last_ended < quiet_s:
            return False
        self._held_until = now + min(seconds, limits.PUSHES_HELD_S_MAX)
        return True

    def let_go(self) -> None:
        """The moment is over."""
        self._held_until = -math.inf
