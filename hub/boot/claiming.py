"""Getting claimed: by what the card says, or what somebody typed on the page, again and again until the cloud is there.

One claim at a time. An order is kept on the data partition until it is done, so that a power cut in the middle goes on by
itself, and a cloud that can't be reached when a code is typed is reached tomorrow. Given up: a code that the cloud refused;
then the next one is waited for. Nothing that is told has a code in it.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from hub.boot.records import ClaimOrder, State
from hub.claim import Order, claim_hub
from hub.config import HubPlaces
from medxz.clock import Clock
from medxz.errors import CloudRequired, Invalid, MedxzError
from medxz.ids import Ids
from medxz.program.errors import CommandFailed
from medxz.waiting import first_of

RETRY_S: Final = 2.0
RETRY_S_MAX: Final = 60.0
# what no second attempt with the same code can mend
FINAL: Final = frozenset({"code_invalid", "claimed", "too_much", Invalid.code})

Claim = Callable[[HubPlaces, Order, Mapping[str, str], Clock, Ids], Awaitable[dict[str, str]]]


class Claiming:
    """One box's. `tell` hears of every change."""

    def __init__(
        self,
        places: HubPlaces,
        environ: Mapping[str, str],
        clock: Clock,
        ids: Ids,
        tell: Callable[[State], None],
        claim: Claim = claim_hub,
    ) -> None:
        self._places: Final = places
        self._environ: Final = environ
        self._clock: Final = clock
        self._ids: Final = ids
        self._tell: Final = tell
        self._claim: Final = claim
        self._order: ClaimOrder | None = None
        self._otherwise: ClaimOrder | None = None
        self._taken = asyncio.Event()
        self._changed: Final = asyncio.Condition()
        self.state: State = State()
        # heard at each code that the cloud refused, whoever gave it
        self.when_refused: Callable[[], None] = lambda: None

    @property
    def kept(self) -> ClaimOrder | None:
        """What was gone by before the last power cut."""
        order = ClaimOrder.read(self._places.beside(".claim"))
        return order if order is not None and order.is_whole else None

    def begin(self, card: ClaimOrder | None) -> None:
        """With what the card says, where that is whole; with what was kept, where it is not or is refused."""
        before = self.kept
        if card is not None and card.is_whole:
            self._order, self._otherwise = card, before if before != card else None
        else:
            self._order = before or card
        self._taken.set()

    def take(self, order: ClaimOrder) -> None:
        """Go by what somebody typed from now on, and at once; by what was gone by before again, where that is refused.

        Who typed it may be anybody on the network, and the card's code be good for a cloud that is away just now.
        """
        self._keep(order)
        if self._order is not None and self._order.is_whole and self._order != order:
            self._otherwise = self._order
        self._order = order
        self._taken.set()

    def _keep(self, order: ClaimOrder) -> None:
        self._places.data.parent.mkdir(parents=True, exist_ok=True)
        order.write(self._places.beside(".claim"))

    async def run(self) -> dict[str, str]:
        """Until it is claimed. Tells its ids."""
        attempts = 0
        while True:
            order = self._order
            if order is None or not order.is_whole:
                await self._taken.wait()
                self._taken.clear()
                attempts = 0
                continue
            self._taken.clear()
            attempts += 1
            if attempts == 1 and self._otherwise is None:
                self._keep(order)  # the power may go between the claim and what follows it
            await self.say(phase="trying", cloud_url=order.cloud_url, attempts=attempts)
            told = await self._try(order)
            if told is not None:
                self._places.beside(".claim").unlink(missing_ok=True)
                await self.say(phase="claimed", detail="this box is a hub of its clinic", hint="", **told)
                return told
            if self._order is not None:
                wait_s = min(RETRY_S_MAX, RETRY_S * 2.0 ** min(attempts - 1, 8))
                await first_of(self._taken.wait(), self._clock.sleep(wait_s * random.uniform(0.5, 1)))  # noqa: S311  to spread the asking
            if self._taken.is_set():
                attempts = 0

    async def _try(self, order: ClaimOrder) -> dict[str, str] | None:
        assert order.cloud_url is not None
        assert order.code is not None
        assert order.name is not None
        wanted = Order(order.cloud_url, order.code, order.name, order.cloud_ca)
        try:
            return await self._claim(self._places, wanted, self._environ, self._clock, self._ids)
        except CloudRequired as error:
            hint = error.hint if "CA" in error.hint else "is the internet there? it goes on by itself"
            await self.say(phase="waiting", detail=f"the cloud can't be reached: {error}", hint=hint)
        except (CommandFailed, Invalid) as error:
            await self._refused(order, error)
        except (MedxzError, OSError) as error:
            await self.say(phase="waiting", detail=str(error), hint="it tries again by itself")
        return None

    async def _refused(self, order: ClaimOrder, error: CommandFailed | Invalid) -> None:
        if error.code not in FINAL:
            await self.say(phase="waiting", detail=str(error), hint=error.hint)
            return
        self.when_refused()
        if self._order is order:  # not where another came meanwhile
            self._order, self._otherwise = self._otherwise, None
            if self._order is None:
                self._places.beside(".claim").unlink(missing_ok=True)
            else:
                self._taken.set()  # it begins anew, and is kept anew
        await self.say(phase="refused", detail=str(error), hint=error.hint)

    async def say(self, **changed: object) -> None:
        """Change what is known, and tell it."""
        self.state = State.model_validate({**self.state.model_dump(), **changed})
        self._tell(self.state)
        async with self._changed:
            self._changed.notify_all()

    async def settled(self, within_s: float) -> State:
        """The state once the attempt that goes on has come to something, or as it is after so many seconds."""

        async def over() -> None:
            async with self._changed:
                await self._changed.wait_for(
                    lambda: not self._taken.is_set() and self.state.phase != "trying"
                )

        await first_of(over(), self._clock.sleep(within_s))
        return self.state
