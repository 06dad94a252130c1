"""What `Device` has of discovery: everything that could be its hub, and why each was taken or refused."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from medxz.device.discovery.looking import DEADLINE_S, HEARING_S, look
from medxz.device.discovery.remembering import StoreMemory, known_by
from medxz.device.store.targets import Told
from medxz.device.token import server_address
from medxz.work import Worker

if TYPE_CHECKING:
    from medxz.device.discovery.looking import Hear
    from medxz.device.discovery.verdicts import Probed
    from medxz.device.store import DeviceStore

NOT_HEARD: Final = "mDNS is switched off here"


@dataclass(frozen=True, slots=True)
class Discovered:
    """All verdicts, those that were taken first; and why nobody could be heard on the LAN, where that was so."""

    found: Sequence[Probed]
    deaf: str | None


class DiscoveryCalls:
    """Looking around."""

    _store: DeviceStore
    _worker: Worker
    _hear: Hear | None

    async def discover(
        self, servers: Sequence[str] = (), *, wait_s: float = HEARING_S, deadline_s: float = DEADLINE_S
    ) -> Discovered:
        """Every server that is remembered, named by the clinic or heard on the LAN, and the `servers` given here.

        Those that were taken come first, and are kept as places to go to. `wait_s`: how long the LAN is listened to.
        """
        typed = [server_address(url) for url in servers]
        held = await self._worker.run(self._store.targets.everything)
        trust = await self._worker.run(self._store.targets.trust)
        known = known_by(trust, held, typed)
        async with AsyncExitStack() as stack:
            browser = None if self._hear is None else await stack.enter_async_context(self._hear())
            found = await look(
                known, browser=browser, memory=StoreMemory(self._store, self._worker, known),
                deadline_s=deadline_s, hearing_s=wait_s,
            )  # fmt: skip
            deaf = NOT_HEARD if browser is None else browser.problem
        # a device that was given a token has the one server that the token is of
        if not self._store.is_read_only and trust.tls != "token":
            await self._keep(found)
        return Discovered(found, deaf)

    async def _keep(self, found: Sequence[Probed]) -> None:
        targets = self._store.targets
        sources = {held.url: held.source for held in await self._worker.run(targets.everything)}
        for probed in found:
            at = probed.candidate
            if probed.taken:
                source = sources.get(at.url, "typed") if at.source == "last" else at.source
                await self._worker.run(
                    targets.answered, Told(at.url, at.kind, probed.server_id, source), probed.rtt_s
                )
            elif at.source != "mdns":
                code = None if probed.code == "no_answer" else probed.code
                await self._worker.run(targets.failed, at.url, probed.why, code)
