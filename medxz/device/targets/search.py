"""Who else is there: everybody whom the device knows, and whom it hears on the LAN, is asked at once.

Those whom the role prefers have a short lead; after that whoever proved himself is taken. What was found and what was
refused is written down, so that the next search begins with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Final

from medxz.clock import Clock
from medxz.device.discovery.looking import Heard, looking
from medxz.device.discovery.probe import Ask
from medxz.device.discovery.probe import over_http as ask_over_http
from medxz.device.discovery.remembering import StoreMemory, known_by
from medxz.device.reach import Connect, no_token
from medxz.device.store import DeviceStore
from medxz.device.store.identity import Kind
from medxz.device.store.targets import HeldTarget, Source, Told, Trust
from medxz.device.targets.ways import Target
from medxz.work import Worker

if TYPE_CHECKING:
    import ssl

    from medxz import wire
    from medxz.device.discovery import Probed

LEAD_S: Final = 0.3
"""How long those who are preferred are waited for, once somebody else has answered."""


class Search:
    """Looks for servers, by what the store knows."""

    def __init__(self, store: DeviceStore, worker: Worker, clock: Clock, connect: Connect | None) -> None:
        self._store = store
        self._worker = worker
        self._clock = clock
        self._ask: Ask = ask_over_http if connect is None else _asking(connect)

    async def found(
        self, kinds: Sequence[Kind], *, browser: Heard | None, without: frozenset[str] = frozenset()
    ) -> AsyncGenerator[Target, None]:
        """Those that were taken, as they answer; of these kinds, the first of which has a lead.

        `without`: addresses that are not worth a question now.
        """
        trust = await self._worker.run(self._store.targets.trust)
        held = await self._worker.run(self._store.targets.everything)
        answers = self._verdicts(trust, [one for one in held if one.url not in without], kinds, browser)
        later: list[Target] = []
        lead_ends_at: float | None = None
        async with aclosing(answers):
            coming = asyncio.ensure_future(anext(answers, None))
            try:
                while True:
                    if lead_ends_at is not None and later:
                        left_s = max(0.0, lead_ends_at - self._clock.monotonic())
                        await asyncio.wait({coming}, timeout=left_s)
                        if not coming.done():
                            yield later.pop(0)
                            continue
                    target = await coming
                    if target is None:
                        break
                    coming = asyncio.ensure_future(anext(answers, None))
                    if target.kind == kinds[0]:
                        yield target
                        continue
                    later.append(target)
                    later.sort(key=lambda one: kinds.index(one.kind or kinds[0]))
                    if lead_ends_at is None:
                        lead_ends_at = self._clock.monotonic() + LEAD_S
            finally:
                coming.cancel()
                await asyncio.gather(coming, return_exceptions=True)
        for target in later:
            yield target

    async def _verdicts(
        self, trust: Trust, held: Sequence[HeldTarget], kinds: Sequence[Kind], browser: Heard | None
    ) -> AsyncGenerator[Target, None]:
        wanted = [one for one in held if one.kind is None or one.kind in kinds]
        typed = [one.url for one in held if one.source == "typed" and one.kind != "cloud" and "hub" in kinds]
        known = known_by(trust, wanted, typed)
        memory = StoreMemory(self._store, self._worker, known)
        hears = browser if "hub" in kinds else None
        async with aclosing(looking(known, browser=hears, memory=memory, ask=self._ask)) as verdicts:
            async for probed in verdicts:
                await self._worker.run(self._note, probed)
                if probed.taken and probed.candidate.kind in kinds:
                    candidate = probed.candidate
                    source: Source = "config" if candidate.source == "last" else candidate.source
                    yield Target(candidate.url, candidate.kind, probed.server_id, source)

    def _note(self, probed: Probed) -> None:
        candidate, targets = probed.candidate, self._store.targets
        source: Source = "config" if candidate.source == "last" else candidate.source
        if probed.taken:
            targets.answered(Told(candidate.url, candidate.kind, probed.server_id, source), probed.rtt_s)
        elif candidate.source != "mdns":  # what anybody may announce speaks against no address that is known
            targets.failed(candidate.url, probed.why, None if probed.code == "no_answer" else probed.code)


def _asking(connect: Connect) -> Ask:
    async def ask(url: str, ssl_context: ssl.SSLContext | None, deadline_s: float) -> wire.InfoAnswer:
        server = connect(url, token=no_token, ssl_context=ssl_context)
        try:
            async with asyncio.timeout(deadline_s):
                return await server.info()
        finally:
            await server.aclose()

    return ask
