"""What a hub tells its cloud of itself, when, and what it keeps of the answer."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import hub.config
from hub.update.machine import Refusal
from hub.update.remote import Remote, keep_remote, read_remote, with_remote
from hub.update.reporting import LOOK_EVERY_S, Reporting, Told
from hub.update.updating import Wish
from medxz.errors import PeerUnreachable
from medxz.service import Link
from medxz.wire import Check, HealthAnswer, ReportAnswer, ReportRequest, RingSettings
from tests.making import HandClock
from tests.unit.hub.update.box import KIND, Box


@dataclass
class Cloud:
    """It keeps what it is told, or is away."""

    told: list[tuple[float, ReportRequest]] = field(default_factory=list)
    is_away: bool = False
    answer: ReportAnswer = field(
        default_factory=lambda: ReportAnswer(
            ring="all", version=None, settings=RingSettings(), settings_revision=0, report_every_s=300
        )
    )
    clock: HandClock = field(default_factory=HandClock)

    async def report(self, request: ReportRequest) -> ReportAnswer:
        self.told.append((self.clock.monotonic(), request))
        if self.is_away:
            raise PeerUnreachable("it is away")
        return self.answer


@dataclass
class Hub:
    """A hub on a machine, and how it is."""

    box: Box
    cloud: Cloud
    file: Path
    link: Link = field(default_factory=lambda: Link(is_online=True, backlog=5))
    checks: list[Check] = field(default_factory=list)

    async def health(self) -> HealthAnswer:
        return HealthAnswer(ok=all(check.ok for check in self.checks), checks=self.checks)

    async def lives(self, until: Callable[[], bool]) -> None:
        """Its reports go on until that is so."""
        told = Told(self.box.machine, "9.9.9", self.health, lambda: self.link, 3)
        running = asyncio.create_task(
            Reporting(self.cloud, told, self.file, self.cloud.clock, lambda: 1.0).run()
        )
        try:
            async with asyncio.timeout(10):
                while not until():
                    await asyncio.sleep(0)
        finally:
            running.cancel()
            await asyncio.wait([running])

    @property
    def told(self) -> list[ReportRequest]:
        return [request for _, request in self.cloud.told]


@pytest.fixture
def reporting(tmp_path: Path) -> Hub:
    return Hub(Box(tmp_path / "root"), Cloud(), tmp_path / "fleet.json")


async def test_what_is_told(reporting: Hub) -> None:
    """Versions, the names of checks that fail, and counts: no detail, which may quote what somebody typed."""
    reporting.checks = [
        Check(name="disk", ok=False, detail="of Mrs. Owino"), Check(name="writer", ok=True, detail=""),
    ]  # fmt: skip
    reporting.box.updater.from_file(reporting.box.bundle(), Wish())
    reporting.box.failed_in("failed", why="x" * 1_000)
    await reporting.lives(lambda: bool(reporting.told))
    [report] = reporting.told
    assert (report.version, report.compatible, report.settings_revision) == ("0.1.0", KIND, 3)
    assert (report.health.ok, report.health.failing) == (False, ("disk",))
    assert report.update is not None
    assert (report.update.state, report.update.version, len(report.update.why or "")) == (
        "failed",
        "0.2.0",
        300,
    )
    assert "Owino" not in report.model_dump_json()


async def test_a_release_that_was_refused_has_failed(reporting: Hub) -> None:
    """The cloud hears of it as of one that was given back, and goes no further with it; and no more, once it was let go of."""
    machine = reporting.box.machine
    reporting.box.updater.from_file(reporting.box.bundle(), Wish())
    machine.refuse(
        Refusal(
            version="0.3.0",
            runs="0.1.0",
            at="2026-11-22T08:00:00.000Z",
            why="nobody has signed it" + "x" * 1_000,
        )
    )
    await reporting.lives(lambda: bool(reporting.told))
    machine.accept()
    await reporting.lives(lambda: len(reporting.told) > 1)
    refused, after = (request.update for request in reporting.told)
    assert refused is not None
    assert (refused.state, refused.version, refused.before) == ("failed", "0.3.0", "0.1.0")
    assert (refused.why or "").startswith("nobody has signed it")
    assert len(refused.why or "") == 300
    assert after is not None
    assert (after.state, after.version) == ("installed", "0.2.0")


async def test_as_often_as_it_is_told(reporting: Hub) -> None:
    """Where nothing changes, a report each five minutes."""
    clock = reporting.cloud.clock
    begun = clock.monotonic()
    await reporting.lives(lambda: clock.monotonic() > begun + 700)
    assert [at - begun for at, _ in reporting.cloud.told] == [0, 300, 600]


async def test_at_once_when_something_has_changed(reporting: Hub) -> None:
    """A check that fails, and a backlog that is gone, are told at once; one that only grows is not."""
    clock = reporting.cloud.clock
    begun = clock.monotonic()

    def after_five_minutes() -> bool:
        passed = clock.monotonic() - begun
        reporting.link = Link(is_online=True, backlog=5 if passed < 100 else 7 if passed < 200 else 0)
        reporting.checks = [Check(name="parts", ok=passed < 250, detail="")]
        return passed > 290

    await reporting.lives(after_five_minutes)
    assert [request.backlog for request in reporting.told] == [5, 0, 0]
    times = [at - begun for at, _ in reporting.cloud.told]
    assert times[0] == 0
    assert 200 <= times[1] <= 200 + 2 * LOOK_EVERY_S
    assert 250 <= times[2] <= 250 + 2 * LOOK_EVERY_S


async def test_a_cloud_that_is_away(reporting: Hub) -> None:
    """While there is no connection nothing is sent, and one that refuses is not asked for ten minutes."""
    clock = reporting.cloud.clock
    reporting.link = Link(is_online=False)
    begun = clock.monotonic()
    await reporting.lives(lambda: clock.monotonic() > begun + 60)
    assert reporting.told == []
    reporting.link, reporting.cloud.is_away = Link(is_online=True, backlog=0), True
    await reporting.lives(lambda: clock.monotonic() > begun + 900)
    assert len(reporting.told) == 2
    assert read_remote(reporting.file) == Remote()


async def test_settings_from_far_away(reporting: Hub, tmp_path: Path) -> None:
    """They are kept for the next start, below what the hub's own file says; what is damaged counts as nothing."""
    told = RingSettings(log_level="debug", ops_per_s=5000)
    reporting.cloud.answer = reporting.cloud.answer.model_copy(
        update={"settings": told, "settings_revision": 4}
    )
    await reporting.lives(lambda: bool(reporting.told) and reporting.file.exists())
    remote = read_remote(reporting.file)
    assert remote == Remote(revision=4, settings=told)
    data = tmp_path / "data"
    settings = hub.config.load_settings({"data": data, "ops_per_s": 900}, {})
    changed = with_remote(settings, remote)
    assert (changed.log_level, changed.ops_per_s, changed.requests_per_s) == (
        "debug",
        900,
        settings.requests_per_s,
    )
    before = reporting.file.stat().st_mtime_ns
    keep_remote(reporting.file, remote)
    assert reporting.file.stat().st_mtime_ns == before, "the card is not written for nothing"
    for damaged in (
        '{"revision": 9, "settings": {"port": 1}}',
        '{"settings": {"requests_per_s": 1}}',
        "{",
        "",
    ):
        reporting.file.write_text(damaged)
        assert read_remote(reporting.file) == Remote()


def test_the_hub_may_read_how_its_update_went(reporting: Hub) -> None:
    """What root writes under a closed umask can be read by the hub's own user."""
    before = os.umask(0o077)
    try:
        reporting.box.updater.from_file(reporting.box.bundle(), Wish())
    finally:
        os.umask(before)
    folder = reporting.box.machine.folder
    assert stat.S_IMODE(folder.stat().st_mode) == 0o755
    assert stat.S_IMODE((folder / "trial.json").stat().st_mode) == 0o644
