"""A bundle on its way: broken off it goes on, and what is not what was said does not stay."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path

import pytest

from hub.update import fetching
from hub.update.fetching import Fetched, Fetching
from medxz.errors import CloudRequired, PeerRefused, PeerUnreachable
from medxz.program.errors import CommandFailed
from medxz.wire import UpdateAnswer
from medxz.work import InlineWorker
from tests.making import HandClock

CONTENT = bytes(range(256)) * 40


def release(content: bytes = CONTENT) -> UpdateAnswer:
    sha256 = hashlib.sha256(content).hexdigest()
    return UpdateAnswer(version="0.2.0", compatible="k", size=len(content), sha256=sha256, added_at="t")


class FakeCloud:
    """Sends pieces of 1,000 bytes, and breaks off after so many of them each time."""

    def __init__(self) -> None:
        self.content, self.breaks_after = CONTENT, 10_000
        self.asked_from: list[int] = []
        self.refuses: Exception | None = None
        self.hold = asyncio.Event()
        self.hold.set()

    async def wanted_release(self, compatible: str, version: str | None) -> UpdateAnswer | None:
        if self.refuses is not None:
            raise self.refuses
        return release()

    async def release_from(self, sha256: str, start: int) -> AsyncGenerator[bytes, None]:
        self.asked_from.append(start)
        if self.refuses is not None:
            raise self.refuses
        for count, at in enumerate(range(start, len(self.content), 1_000)):
            if count == self.breaks_after:
                raise PeerUnreachable("the link broke")
            await self.hold.wait()
            yield self.content[at : at + 1_000]


@pytest.fixture
def cloud() -> FakeCloud:
    return FakeCloud()


@pytest.fixture
async def one(tmp_path: Path, cloud: FakeCloud) -> AsyncIterator[Fetching]:
    made = Fetching(tmp_path / "update", cloud, HandClock(), InlineWorker(), lambda: 0)
    yield made
    await made.close()


async def ended(one: Fetching, wanted: UpdateAnswer) -> Fetched:
    async with asyncio.timeout(10):
        while (told := await one.fetch(wanted)).state == "fetching":
            await asyncio.sleep(0)
    return told


async def test_it_goes_on_where_it_broke_off(one: Fetching, cloud: FakeCloud) -> None:
    """However often the link breaks, no byte is asked for twice, and the whole is what was said."""
    cloud.breaks_after = 3
    told = await ended(one, release())
    assert (told.state, told.done) == ("done", len(CONTENT))
    assert told.file.read_bytes() == CONTENT
    assert cloud.asked_from == [0, 3_000, 6_000, 9_000]


async def test_what_was_taken_is_fetched_once_more(one: Fetching, cloud: FakeCloud) -> None:
    """A bundle that was fetched, taken and could not be installed comes again when it is asked for again."""
    told = await ended(one, release())
    told.file.unlink()
    told = await ended(one, release())
    assert (told.state, told.file.read_bytes()) == ("done", CONTENT)
    assert cloud.asked_from == [0, 0]


async def test_it_goes_on_after_a_restart(tmp_path: Path, cloud: FakeCloud) -> None:
    """What a hub had fetched before it was stopped is not fetched again; a whole bundle is not asked for at all."""
    first = Fetching(tmp_path / "update", cloud, HandClock(), InlineWorker(), lambda: 0)
    cloud.hold.clear()
    await first.fetch(release())
    part = tmp_path / "update" / f"{release().sha256}.part"
    async with asyncio.timeout(10):
        while not cloud.asked_from:
            await asyncio.sleep(0)
    await first.close()
    part.write_bytes(CONTENT[:4_000])
    cloud.hold.set()
    second = Fetching(tmp_path / "update", cloud, HandClock(), InlineWorker(), lambda: 0)
    assert (await ended(second, release())).state == "done"
    assert cloud.asked_from == [0, 4_000]
    third = Fetching(tmp_path / "update", cloud, HandClock(), InlineWorker(), lambda: 0)
    assert (await third.fetch(release())).state == "done"
    assert len(cloud.asked_from) == 2


async def test_what_is_not_what_was_said(one: Fetching, cloud: FakeCloud, tmp_path: Path) -> None:
    """Another content, or more of it, is thrown away; the next time it is fetched anew."""
    cloud.content = b"x" * len(CONTENT)
    told = await ended(one, release())
    assert (told.state, told.needs_cloud, told.done) == ("failed", False, 0)
    cloud.content = CONTENT + b"more"
    assert "more than it said" in str((await ended(one, release())).why)
    cloud.content = CONTENT
    assert (await ended(one, release())).state == "done"


async def test_a_cloud_that_is_gone(one: Fetching, cloud: FakeCloud) -> None:
    """After some tries in vain it is let be; that the cloud is needed is said, and that it refuses too."""
    cloud.breaks_after = 0
    told = await ended(one, release())
    assert (told.state, told.needs_cloud) == ("failed", True)
    assert len(cloud.asked_from) == fetching.BEGUN_AGAIN_MAX
    cloud.refuses = PeerRefused(404, "not_found", "gone")
    assert (await ended(one, release())).needs_cloud is False
    cloud.refuses = PeerUnreachable("no route")
    with pytest.raises(CloudRequired):
        await one.wanted("k", None)
    cloud.refuses = PeerRefused(403, "forbidden", "no")
    with pytest.raises(CommandFailed):
        await one.wanted("k", None)


async def test_the_disk_is_bounded(
    one: Fetching, cloud: FakeCloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another release takes the place of the one before, and what there is no room for is not begun."""
    await ended(one, release())
    cloud.content = b"newer" * 100
    await ended(one, release(cloud.content))
    assert [file.name for file in (tmp_path / "update").iterdir()] == [
        f"{release(cloud.content).sha256}.raucb"
    ]
    usage = shutil.disk_usage(tmp_path)._replace(free=fetching.SPARE_BYTES)
    monkeypatch.setattr(shutil, "disk_usage", lambda _folder: usage)
    with pytest.raises(CommandFailed, match="MiB"):
        await one.fetch(release())
    huge = release().model_copy(update={"size": 1 << 50})
    with pytest.raises(CommandFailed, match="no bundle"):
        await one.fetch(huge)


async def test_ops_go_first(tmp_path: Path, cloud: FakeCloud) -> None:
    """While ops wait to go up, the download waits."""
    clock, backlog = HandClock(), [3, 2, 1]
    one = Fetching(tmp_path / "update", cloud, clock, InlineWorker(), lambda: backlog.pop() if backlog else 0)
    begun = clock.monotonic()
    assert (await ended(one, release())).state == "done"
    assert clock.monotonic() - begun == 3 * fetching.BEHIND_S
