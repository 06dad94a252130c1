"""Asking all candidates at once, each within a deadline; the address that was good last has a short lead.

What is heard on the LAN joins in as it comes. An address is asked once under one id, however many sources name it; of
the addresses of one announced hub the first that answers counts.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, aclosing, suppress
from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING, Final, Protocol

from medxz import limits
from medxz.device.discovery.candidates import Candidate, Known, announced, remembered
from medxz.device.discovery.probe import Ask, over_http, probe, refused_unasked
from medxz.device.discovery.verdicts import TELLING, Probed, refusal

if TYPE_CHECKING:
    from medxz.lan.announcement import Announcement

DEADLINE_S: Final = 4.0
"""Three round trips at 800 ms, and one lost packet."""
HEARING_S: Final = 1.5
"""How long announcements are waited for."""
LEAD_S: Final = 0.3
"""How long the last good address is asked alone."""
STAGGER_S: Final = 0.25
"""From one address of a hub to its next."""


class Heard(Protocol):
    """What is announced on the LAN: `medxz.lan.browsing.Browser`, already entered."""

    @property
    def problem(self) -> str | None:
        """Why nobody can be heard."""
        ...

    def found(self) -> Mapping[str, Announcement]: ...
    async def next_change(self) -> None: ...
    async def settle(self, timeout_s: float) -> None: ...


Hear = Callable[[], AbstractAsyncContextManager["Heard"]]
"""How listening begins: `medxz.lan.browsing.Browser` itself is one."""


class Memory(Protocol):
    """What was refused a short while ago."""

    async def refused(self, candidate: Candidate) -> str | None:
        """Why it is not to be asked again yet."""
        ...

    async def keep(self, probed: Probed) -> None: ...


async def looking(
    known: Known,
    *,
    browser: Heard | None = None,
    memory: Memory | None = None,
    deadline_s: float = DEADLINE_S,
    hearing_s: float = HEARING_S,
    ask: Ask = over_http,
) -> AsyncGenerator[Probed, None]:
    """The verdicts as they come. Who has what it wanted stops (`aclosing`): what is still being asked is let go."""
    search = _Search(known, memory, deadline_s, ask)
    running = asyncio.create_task(search.run(browser, hearing_s), name="discovery")
    running.add_done_callback(lambda _: search.verdicts.put_nowait(None))
    try:
        while (probed := await search.verdicts.get()) is not None:
            yield probed
        running.result()
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def look(
    known: Known,
    *,
    browser: Heard | None = None,
    memory: Memory | None = None,
    deadline_s: float = DEADLINE_S,
    hearing_s: float = HEARING_S,
    ask: Ask = over_http,
) -> list[Probed]:
    """All verdicts, those that were taken first. Never an error: what can't be asked has a verdict that says so."""
    verdicts = looking(
        known, browser=browser, memory=memory, deadline_s=deadline_s, hearing_s=hearing_s, ask=ask
    )
    async with aclosing(verdicts):
        found = [probed async for probed in verdicts]
    return sorted(found, key=lambda probed: not probed.taken)


class _Search:
    """One search: who was asked already, and what came of it."""

    def __init__(self, known: Known, memory: Memory | None, deadline_s: float, ask: Ask) -> None:
        self.verdicts: Final[asyncio.Queue[Probed | None]] = asyncio.Queue()
        self._known = known
        self._memory = memory
        self._deadline_s = deadline_s
        self._ask = ask
        self._asked: Final[dict[tuple[str, str, str | None], asyncio.Task[Probed]]] = {}
        self._told: Final[set[tuple[str, str, str | None, str]]] = set()
        self._lead_is_over: Final = asyncio.Event()

    async def run(self, browser: Heard | None, hearing_s: float) -> None:
        candidates = remembered(self._known)
        if self._ask is over_http:
            import_module("medxz.peer")  # it takes a while, and is no part of a round trip, or of listening
        try:
            async with asyncio.TaskGroup() as judging:
                has_lead = bool(candidates) and candidates[0].source == "last"
                for number, candidate in enumerate(candidates):
                    judging.create_task(self._judge(candidate, leads=has_lead and number == 0))
                if has_lead:
                    judging.create_task(self._end_lead())
                else:
                    self._lead_is_over.set()
                if browser is not None:
                    await self._hear(browser, hearing_s, judging)
        finally:
            for asking in self._asked.values():
                asking.cancel()
            await asyncio.gather(*self._asked.values(), return_exceptions=True)

    async def _end_lead(self) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._lead_is_over.wait(), LEAD_S)
        self._lead_is_over.set()

    async def _hear(self, browser: Heard, hearing_s: float, judging: asyncio.TaskGroup) -> None:
        heard: set[Announcement] = set()
        with suppress(TimeoutError):
            async with asyncio.timeout(hearing_s):
                while len(heard) < limits.ANNOUNCED_MAX:
                    for announcement in browser.found().values():
                        candidate = announced(announcement) if announcement not in heard else None
                        heard.add(announcement)
                        if candidate is not None:
                            judging.create_task(self._judge(candidate))
                    await browser.next_change()

    async def _judge(self, candidate: Candidate, *, leads: bool = False) -> None:
        probed = refused_unasked(candidate, self._known)
        if probed is None and self._memory is not None and (why := await self._memory.refused(candidate)):
            probed = refusal(candidate, "refused_before", why)
        if probed is None:
            if not leads:
                await self._lead_is_over.wait()
            probed = await self._best(candidate)
            if self._memory is not None:
                await self._memory.keep(probed)
        self._tell(probed)
        if leads:
            self._lead_is_over.set()

    def _tell(self, probed: Probed) -> None:
        """Once: a hub whose addresses are heard one after the other announces itself anew with each."""
        at = probed.candidate
        verdict = (at.source, at.url, at.server_id, probed.code)
        if verdict not in self._told:
            self._told.add(verdict)
            self.verdicts.put_nowait(probed)

    async def _best(self, candidate: Candidate) -> Probed:
        """Of its addresses, one after the other as they keep silent: the first that is taken, or what says most."""
        pending: set[asyncio.Task[Probed]] = set()
        told: list[Probed] = []
        waiting = list(candidate.urls)
        while waiting or pending:
            if waiting:
                pending.add(self._asking(candidate, waiting.pop(0)))
            done, pending = await asyncio.wait(
                pending, timeout=STAGGER_S if waiting else None, return_when=asyncio.FIRST_COMPLETED
            )
            told += [_about(candidate, one.result()) for one in done]
            if any(probed.taken for probed in told):
                break
        return min(told, key=lambda probed: TELLING.index(probed.code))

    def _asking(self, candidate: Candidate, url: str) -> asyncio.Task[Probed]:
        question = (candidate.kind, url, candidate.server_id)
        if question not in self._asked:
            asking = probe(
                replace(candidate, url=url, others=()),
                self._known,
                deadline_s=self._deadline_s,
                ask=self._ask,
            )
            self._asked[question] = asyncio.create_task(asking, name="probe")
        return self._asked[question]


def _about(candidate: Candidate, probed: Probed) -> Probed:
    """The answer, as that to this candidate: another source may have asked."""
    url = probed.candidate.url
    others = tuple(other for other in candidate.urls if other != url)
    return replace(probed, candidate=replace(candidate, url=url, others=others))
