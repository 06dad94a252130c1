"""All neighbours of this hub: who is one, by the directory of now; where they are, by what is heard; a link to each.

A hub that has no neighbours listens to nobody. One that is taken off the directory is let go of at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from typing import Final, NoReturn, Protocol

from cryptography import x509

from hub.neighbours.finding import neighbours_of
from hub.neighbours.neighbour import LinkState, Neighbour, Own
from medxz.errors import MedxzError
from medxz.lan.announcement import Announcement
from medxz.trust.certificates import ca_fingerprint
from medxz.waiting import first_of
from medxz.web.log import told
from medxz.wire import Check

# what broke is begun again after this
AGAIN_S: Final = 5.0


class Hearing(Protocol):
    """What is announced on the LAN (`medxz.lan.browsing.Browser`)."""

    def found(self) -> Mapping[str, Announcement]: ...

    async def next_change(self) -> None: ...


class Neighbours:
    """One hub's. `running` while it serves; `states` tells how each is."""

    def __init__(
        self,
        own: Own,
        site_id: str,
        hear: Callable[[], AbstractAsyncContextManager[Hearing]] | None = None,
    ) -> None:
        """`hear` begins to listen; None: nobody is heard, and where they are the directory says."""
        self._own: Final = own
        self._site_id: Final = site_id
        self._hear: Final = hear
        self._links: Final[dict[str, tuple[Neighbour, asyncio.Task[NoReturn]]]] = {}
        self._looking: Final = asyncio.Event()
        self._roots: tuple[Sequence[str], frozenset[str]] = (), frozenset()

    def states(self) -> list[LinkState]:
        """Each neighbour by its id, and where it is looked for when it was never met."""
        return [link.state for _, (link, _) in sorted(self._links.items())]

    @property
    def online(self) -> int:
        return sum(link.state.is_online for link, _ in self._links.values())

    async def check(self) -> Check:
        """For /health: informational, for a hub serves by itself."""
        states = self.states()
        away = [f"{state.hub_id}: {state.last_error}" for state in states if not state.is_online]
        detail = "; ".join([f"{self.online} of {len(states)} online", *away])
        return Check(name="neighbours", ok=True, detail=detail if states else "the only hub of its site")

    def look(self) -> None:
        """Who is a neighbour may have changed."""
        self._looking.set()

    def came_by(self, hub_id: str) -> None:
        """That hub has just asked this one: so it is there."""
        if hub_id in self._links:
            self._links[hub_id][0].hurry()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Links to all of them in the background; on leaving, all are ended."""
        task = asyncio.create_task(self._run(), name="neighbours")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def _run(self) -> NoReturn:
        while True:
            try:
                async with AsyncExitStack() as stack:
                    stack.push_async_callback(self._match, {})
                    await self._follow(stack)
            except Exception as error:  # noqa: BLE001  the root of a task: the hub goes on, the log has the rest
                self._own.say.error("neighbours broke", **told(error))
            await self._own.clock.sleep(AGAIN_S)

    async def _follow(self, stack: AsyncExitStack) -> NoReturn:
        hearing: Hearing | None = None
        while True:
            self._looking.clear()
            wanted = self._wanted(hearing.found() if hearing is not None else {})
            await self._match(wanted)
            with suppress(MedxzError):  # what is kept of others is in nobody's way
                await self._own.registry.forget_neighbours(wanted)
            if wanted and hearing is None and self._hear is not None:
                hearing = await stack.enter_async_context(self._hear())
                continue
            await self._change(hearing)

    def _wanted(self, heard: Mapping[str, Announcement]) -> dict[str, tuple[str, ...]]:
        registry = self._own.registry
        roots = registry.config.ca_certificates
        if roots is not self._roots[0]:
            fingerprints = (ca_fingerprint(x509.load_pem_x509_certificate(pem.encode())) for pem in roots)
            self._roots = roots, frozenset(fingerprints)
        return neighbours_of(
            self._own.hub_id, self._site_id, registry.directory, heard.values(), self._roots[1]
        )

    async def _match(self, wanted: Mapping[str, tuple[str, ...]]) -> None:
        """Links to these and to no others."""
        gone = [self._links.pop(hub_id)[1] for hub_id in self._links.keys() - wanted.keys()]
        for task in gone:
            task.cancel()
        await asyncio.gather(*gone, return_exceptions=True)
        for hub_id, urls in wanted.items():
            if hub_id in self._links:
                self._links[hub_id][0].may_be_at(urls)
            else:
                link = Neighbour(hub_id, self._own, urls)
                task = asyncio.create_task(link.run(), name="neighbour")
                self._links[hub_id] = link, task

    async def _change(self, hearing: Hearing | None) -> None:
        """Until something is worth another look."""
        await first_of(self._looking.wait(), *([hearing.next_change()] if hearing is not None else []))
