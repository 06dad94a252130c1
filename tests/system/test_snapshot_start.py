"""A new device against a real hub: from a snapshot it comes to say what the whole log says, while others go on pushing."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from medxz import Device
from medxz.device.device import Machine
from medxz.errors import PeerRefused
from medxz.ids import RandomIds
from medxz.merge.view import View
from medxz.peer import Ear, Peer, TokenSource
from medxz.replicate import SnapshotPart, cycle
from tests.system.hub_process import HubProcess

pytestmark = pytest.mark.slow
IDS = RandomIds()
TYPES = ("Patient", "Observation", "AllergyIntolerance")
PATIENTS = 60


class WithoutSnapshots(Peer):
    """A hub as one sees it that has none: the whole log is read."""

    async def snapshot(self) -> AsyncGenerator[SnapshotPart, None]:
        yield self._refused()

    def _refused(self) -> SnapshotPart:
        raise PeerRefused(404, "not_found", "not here")


def whole_log(
    url: str, *, token: TokenSource, ssl_context: ssl.SSLContext | None, ear: Ear | None = None
) -> WithoutSnapshots:
    return WithoutSnapshots(url, token=token, ssl_context=ssl_context, ear=ear)


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[HubProcess]:
    process = HubProcess(tmp_path).start("--plain-http", "--no-mdns")
    yield process
    process.kill()


async def test_while_others_push(hub: HubProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Devices that begin in the midst of pushes agree with one that read every op: states, heads, conflicts, findings."""
    monkeypatch.setattr(cycle, "SNAPSHOT_OPS_MIN", 1)

    async def device(name: str, machine: Machine | None = None) -> Device:
        token = await asyncio.to_thread(hub.token, IDS.uuid7(), IDS.uuid7())
        made = Device.create(tmp_path / name, key=bytes(32), server=hub.url, token=token, machine=machine)
        return await stack.enter_async_context(made)

    async with AsyncExitStack() as stack:
        ada, ben = await device("ada"), await device("ben")
        entities = await torn(ada, ben)
        begun = asyncio.Event()
        pushing = asyncio.create_task(push_on(ada, ben, entities, begun))
        await begun.wait()
        new = [await device(f"new-{number}") for number in range(3)]
        reports = [await one.sync() for one in new]
        whole = await device("whole", Machine(connect=whole_log))
        await whole.sync()
        pushing.cancel()
        await asyncio.gather(pushing, return_exceptions=True)
        for one in (ada, ben, ada, *new, whole):  # both had something left to push
            await one.sync()
        assert all(report.done.entities >= PATIENTS for report in reports)
        expected = await said_by(whole)
        assert (await whole.status()).open_conflicts > PATIENTS // 2
        for one in (*new, ada, ben):
            assert await said_by(one) == expected


async def torn(ada: Device, ben: Device) -> list[str]:
    """Patients that were changed in two places at once."""
    made = [
        (
            await ada.record("Patient", {"resourceType": "Patient", "name": [{"family": f"Ott{number}"}]})
        ).entity_id
        for number in range(PATIENTS)
    ]
    await ada.sync()
    await ben.sync()
    for entity_id in made:
        await ada.record("Patient", {"gender": "female"}, op="update", entity_id=entity_id)
        await ben.record("Patient", {"gender": "other", "active": True}, op="update", entity_id=entity_id)
    await ada.sync()
    await ben.sync()
    return made


async def push_on(ada: Device, ben: Device, entities: list[str], begun: asyncio.Event) -> None:
    """Change, create, settle and sync, without end."""
    turn = 0
    while True:
        for one in (ada, ben):
            for entity_id in entities[turn % 7 :: 7]:
                payload = {"birthDate": f"19{10 + turn % 80}-01-01"}
                await one.record("Patient", payload, op="update", entity_id=entity_id)
            await one.record(
                "Observation",
                {
                    "resourceType": "Observation", "status": "final", "code": {"text": "Pulse"},
                    "subject": {"reference": f"Patient/{entities[turn % PATIENTS]}"},
                    "effectiveDateTime": "2026-11-21",
                },
            )  # fmt: skip
        found = (await ben.conflicts(limit=1)).rows
        if found and found[0].kind == "edit" and turn % 3 == 0:
            await ben.resolve(found[0].conflict_id, take=found[0].sides[0].op_id or "", reason="asked")
        await asyncio.gather(ada.sync(), ben.sync())
        turn += 1
        begun.set()


async def said_by(device: Device) -> list[object]:
    """All that it says, page by page."""
    said: list[object] = []
    for entity_type in TYPES:
        after: str | None = None
        while True:
            page = await device.list(entity_type, after=after, limit=50)
            said += [whole_view(view) for view in page.rows]
            if (after := page.after) is None:
                break
    conflicts = [(await device.conflicts(state, limit=500)).rows for state in ("open", "resolved")]
    found = [view.entity for view in (await device.search("ott1", limit=500)).rows]
    return [*said, *conflicts, found, (await device.status()).open_conflicts]


def whole_view(view: View) -> tuple[object, ...]:
    return view.entity, view.state, view.heads, view.conflicts, view.missing_parents, view.version
