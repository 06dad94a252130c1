"""`medxz-hub first-boot`: as the hub's user, from the start of a box that was never claimed until it is claimed.

It claims by the card's order or one that was typed, serves the page meanwhile, makes `medxz.local` known, and leaves how far
it is in a file. It ends when the box is a hub; then the hub's own service starts. Refused: a box that is a hub already
has nothing to wait for, and a port that somebody else has is told and done without.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from structlog.typing import FilteringBoundLogger

from hub.boot.claiming import Claiming
from hub.boot.places import BootPlaces
from hub.boot.records import ClaimOrder, Found, State
from hub.config import HubPlaces
from medxz.clock import Clock, SystemClock
from medxz.ids import RandomIds
from medxz.program.addresses import machine_addresses
from medxz.program.notify import Notifier
from medxz.program.running import run_loop, stop_signals
from medxz.waiting import first_of
from medxz.web import make_log
from medxz.web.log import told

LOOK_S: Final = 5.0
LAST_LOOK_S: Final = 10.0
STOP_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Room:
    """What it was told. `port` None: no page. `host`: where the page is served, None for every interface."""

    hub: HubPlaces
    boot: BootPlaces
    port: int | None = 80
    host: str | None = None
    mdns: bool = True

    @property
    def refusals(self) -> Path:
        """How many codes were refused, which a start anew does not forget; beside the directory, which there is not yet."""
        return self.hub.beside(".refused")


def wait_for_claim(room: Room) -> dict[str, str] | None:
    """Until it is claimed; None where it was told to stop before."""
    answers: list[dict[str, str]] = []

    async def run() -> None:
        clock = SystemClock()
        log = make_log(sys.stderr.buffer, clock)
        notifier = Notifier(os.environ, log)
        with stop_signals() as stop:
            claimed = asyncio.create_task(claimed_in(room, clock, log, notifier), name="claim")
            await first_of(stop.wait(), asyncio.wait([claimed]))
            if not claimed.done():
                claimed.cancel()
                await asyncio.wait([claimed])
            else:
                answers.append(claimed.result())
        notifier.close()

    run_loop(run())
    return answers[0] if answers else None


async def claimed_in(
    room: Room, clock: Clock, log: FilteringBoundLogger, notifier: Notifier
) -> dict[str, str]:
    """Wait for the claim, with everything that belongs to it."""
    found = Found.read(room.boot.found) or Found()

    leaving = Leaving(room, log)

    def tell(state: State) -> None:
        leaving.leave(state)
        notifier.status(state.phase if not state.detail else f"{state.phase}: {state.detail}")

    claiming = Claiming(room.hub, os.environ, clock, RandomIds(), tell)
    card = ClaimOrder.read(room.boot.order)
    claiming.begin(card)
    await claiming.say(cloud_url=card.cloud_url if card is not None else None)
    async with AsyncExitStack() as stack:
        page = None
        if room.port is not None and found.has_page:
            page = await stack.enter_async_context(_served(room, claiming, found, card, clock, log))
        await stack.enter_async_context(_looking(claiming, clock))
        if room.mdns and page is not None:
            await stack.enter_async_context(_named(claiming, page.port, log))
        notifier.ready("waits to be claimed")
        ids = await claiming.run()
        log.info("claimed", **ids)
        with suppress(OSError):
            room.refusals.unlink(missing_ok=True)
        if page is not None:
            await page.let_see()
    return ids


class Leaving:
    """Leaves the state for the screen and the card, which root writes. Not that it tries once more: a card wears."""

    def __init__(self, room: Room, log: FilteringBoundLogger) -> None:
        self._file: Final = room.boot.state
        self._log: Final = log
        self._left: State | None = None

    def leave(self, state: State) -> None:
        if state.phase == "trying" and state.attempts > 1:
            return
        state = state.model_copy(update={"attempts": 0})
        if state == self._left:
            return
        try:
            state.write(self._file, 0o644)
        except OSError as error:
            self._log.warning("state not left", detail=error.strerror)
            return
        self._left = state


class _Page:
    """The page, while it is served."""

    def __init__(self, port: int, clock: Clock) -> None:
        self.port: Final = port
        self._clock: Final = clock
        self.seen: Final = asyncio.Event()
        self.was_used = False

    async def let_see(self) -> None:
        """Somebody who claimed it here is to see that it worked."""
        if self.was_used:
            await first_of(self.seen.wait(), self._clock.sleep(LAST_LOOK_S))


@asynccontextmanager
async def _served(
    room: Room,
    claiming: Claiming,
    found: Found,
    card: ClaimOrder | None,
    clock: Clock,
    log: FilteringBoundLogger,
) -> AsyncIterator[_Page | None]:
    """The page, or none where its port can't be had: the claim by the card goes on without."""
    from hub.console.first_run import FirstRun
    from medxz.web.plain import Asked, Shown, serve_pages

    assert room.port is not None
    try:
        bound = listening(room.host, room.port)
    except OSError as error:
        log.warning("no page", port=room.port, detail=error.strerror)
        yield None
        return
    with bound:
        page = _Page(bound.getsockname()[1], clock)
        first_run = FirstRun(claiming, found, card, clock, page.seen.set, refusals=room.refusals)

        async def show(asked: Asked) -> Shown:
            page.was_used |= asked.method == "POST"
            return await first_run.show(asked)

        serving = await serve_pages(show, log, [bound])
        try:
            await claiming.say(port=page.port)
            yield page
        finally:
            await serving.stop(STOP_S)


def listening(host: str | None, port: int) -> socket.socket:
    """A socket for IPv4 and, where the machine has it, IPv6."""
    if host is not None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return _bound(family, host, port)
    try:
        return _bound(socket.AF_INET6, "::", port)
    except OSError:
        return _bound(socket.AF_INET, "0.0.0.0", port)  # noqa: S104  every interface is meant


def _bound(family: socket.AddressFamily, host: str, port: int) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        made.bind((host, port))
    except OSError:
        made.close()
        raise
    return made


@asynccontextmanager
async def _looking(claiming: Claiming, clock: Clock) -> AsyncIterator[None]:
    """The addresses of the machine, looked up while the network comes and goes."""

    async def look() -> None:
        while True:
            addresses = tuple(machine_addresses())
            if addresses != claiming.state.addresses:
                await claiming.say(addresses=addresses)
            await clock.sleep(LOOK_S)

    async with _beside(look(), "addresses"):
        yield


@asynccontextmanager
async def _named(claiming: Claiming, port: int, log: FilteringBoundLogger) -> AsyncIterator[None]:
    """`medxz.local` leads to the page. What goes wrong here is no reason not to be claimed."""

    async def announce() -> None:
        from hub.advertise.first_start import announce_page

        async def called(host: str | None) -> None:
            await claiming.say(host=host)

        try:
            await announce_page(port, called)
        except Exception as error:  # noqa: BLE001  the root of a task: the page is met by its address
            log.warning("mdns broke", **told(error))

    async with _beside(announce(), "mdns"):
        yield


@asynccontextmanager
async def _beside(work: Coroutine[object, object, None], name: str) -> AsyncIterator[None]:
    task = asyncio.create_task(work, name=name)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
