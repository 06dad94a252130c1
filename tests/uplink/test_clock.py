"""Hubs on machines whose clocks are wrong, and their cloud over real TLS."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509

import hub.config
from hub.app import open_hub
from hub.claim import Order, claim_hub
from hub.clock import RELEASED_MS, Standing
from hub.making import make_hub
from medxz.clock import SystemClock, format_time, parse_time
from medxz.errors import CloudRequired
from medxz.web import make_log
from tests.making import CLINIC
from tests.uplink.conftest import IDS, Box, Relay, Tablet, until

DAY_MS = 86_400_000
EMAIL = "nora@clinic.example"


@dataclass
class OffClock(SystemClock):
    """A machine's clock that is off by so much."""

    off_ms: int = 0

    def now_ms(self) -> int:
        return super().now_ms() + self.off_ms

    @classmethod
    def in_1970(cls) -> OffClock:
        return cls(60_000 - SystemClock().now_ms())


@dataclass
class OddBox(Box):
    """A hub on a machine with such a clock."""

    machine: OffClock = field(default_factory=OffClock)
    tls: bool = False

    @property
    def settings(self) -> hub.config.Settings:
        return super().settings.model_copy(update={"plain_http": not self.tls, "host": "127.0.0.1"})

    async def claim(self, relay: Relay, site: str, code: str | None = None) -> dict[str, str]:
        root = relay.running.store.root.certificate_pem.decode() if relay.tls else None
        order = Order(relay.url, code or await relay.code("hub", site), site, root)
        return await claim_hub(self.settings.places, order, {}, self.machine, IDS)

    async def start(self) -> OddBox:
        stack = AsyncExitStack()
        log = make_log(self.said, SystemClock(), "info")
        self.running = await stack.enter_async_context(
            open_hub(self.settings, {}, log=log, clock=self.machine)
        )
        self.http = await stack.enter_async_context(httpx.AsyncClient(base_url=self.url, timeout=60))
        self._stack = stack
        return self

    @property
    def standing(self) -> Standing:
        return self.running.storage.clock.standing()

    @property
    def is_right(self) -> bool:
        return abs(self.running.storage.clock.now_ms() - SystemClock().now_ms()) < 5_000


@pytest.fixture
async def secure(tmp_path: Path) -> AsyncIterator[Relay]:
    relay = Relay(tmp_path / "secure", tls=True)
    await relay.make()
    yield await relay.start()
    await relay.stop()


@pytest.fixture
async def box(tmp_path: Path) -> AsyncIterator[OddBox]:
    box = OddBox(tmp_path / "box", machine=OffClock.in_1970())
    yield box
    await box.stop()


async def test_a_box_of_1970_is_claimed_serves_and_outlives_its_cloud(secure: Relay, box: OddBox) -> None:
    """The cloud's first word sets its clock; the next start, in 1970 and alone, refuses nobody and stores no past."""
    await box.claim(secure, "North")
    await box.start()
    await until(lambda: box.is_online, "its cloud")
    assert (box.standing.source, box.is_right) == ("cloud", True)
    await secure.add_user(EMAIL)
    nora = await Tablet.enrolled(box, secure, "North", EMAIL)
    assert (await nora.refresh()).json()["refresh_token"]
    await nora.record(2)
    await until(lambda: box.backlog == 0, "all of it in the cloud")
    last = await received_at(nora)
    assert abs_days(last) == 0

    await box.stop()
    await secure.stop()
    await box.start()
    assert (box.standing.source, box.standing.is_trusted) == ("floor", False)
    nora.box = box
    renewed = await nora.refresh()
    assert (renewed.status_code, renewed.json()["refresh_token"]) == (200, None), renewed.text
    await nora.record(2)
    assert await received_at(nora) >= last
    health = (await box.http.get("/health")).json()
    assert [check["ok"] for check in health["checks"] if check["name"] == "clock"] == [False]

    await secure.start()
    await until(lambda: box.standing.source == "cloud", "the cloud's word")
    await until(lambda: box.is_online and box.backlog == 0, "what was recorded meanwhile in the cloud")


async def received_at(tablet: Tablet) -> str:
    page = (await tablet.ask("GET", "/v1/sync/pull", token=tablet.token)).json()
    return max(op["server_received_at"] for op in page["ops"])


def abs_days(text: str) -> int:
    return abs(parse_time(text) - SystemClock().now_ms()) // DAY_MS


async def test_a_cloud_whose_certificate_has_ended_is_sent_nothing(secure: Relay, box: OddBox) -> None:
    """By a machine's clock that is plausible it has; the hub says by which time, and is back when that is mended."""
    box.machine.off_ms = 700 * DAY_MS
    with pytest.raises(CloudRequired, match="has ended") as refused:
        await box.claim(secure, "North")
    assert f"here it is {format_time(box.machine.now_ms())[:10]}" in str(refused.value)
    box.machine.off_ms = 0
    await box.claim(secure, "North")
    box.machine.off_ms = 700 * DAY_MS
    await box.start()
    await until(lambda: "has ended" in str(box.running.doors.link().last_error), "that it says why")
    assert not box.is_online
    box.machine.off_ms = 0
    await until(lambda: box.is_online, "its cloud")
    assert (box.standing.source, box.is_right) == ("cloud", True)


async def test_a_clock_that_stands_ahead_does_not_keep_the_hub_from_its_cloud(
    secure: Relay, box: OddBox
) -> None:
    """Where a wrong clock was written down, time that is right looks doubtful: the cloud is met all the same."""
    box.machine.off_ms = 0
    await box.claim(secure, "North")
    await secure.stop()
    for days in range(30, 700, 30):  # no leap is long
        box.machine.off_ms = days * DAY_MS
        await box.start()
        await box.stop()
    box.machine.off_ms = 0
    await box.start()
    assert (box.standing.source, box.is_right) == ("floor", False)
    await secure.start()
    await until(lambda: box.is_online, "its cloud")
    assert (box.standing.source, box.is_right) == ("cloud", True)


async def test_a_cloud_without_tls_sets_no_clock(relay: Relay, box: OddBox) -> None:
    """Anybody may answer there. What its key has signed shows how far time is at least."""
    await box.claim(relay, "North")
    await box.start()
    await until(lambda: box.is_online, "its cloud")
    assert box.standing.source == "floor"
    await relay.add_user(EMAIL)
    await Tablet.enrolled(box, relay, "North", EMAIL)
    assert (box.standing.source, box.is_right) == ("floor", True)


async def test_a_server_that_is_not_trusted_sets_no_clock(secure: Relay, box: OddBox, tmp_path: Path) -> None:
    """Whoever stands in the cloud's place with another CA's certificate is believed nothing, 1970 or not."""
    await box.claim(secure, "North")
    await secure.stop()
    stranger = Relay(tmp_path / "stranger", port=secure.port, tls=True)
    await stranger.make()
    await stranger.start()
    try:
        await box.start()
        before = box.standing
        await until(lambda: "certificate" in str(box.running.doors.link().last_error), "that it says why")
        assert (before.source, box.standing.source, box.running.storage.clock.is_told) == (
            "floor",
            "floor",
            False,
        )
    finally:
        await stranger.stop()


async def test_devices_are_told_by_which_roots_the_cloud_is_trusted(secure: Relay, box: OddBox) -> None:
    """Those that the operator gave the hub; the cloud itself tells none."""
    await box.claim(secure, "North")
    await box.start()
    await until(lambda: box.is_online, "its cloud")
    await secure.add_user(EMAIL)
    nora = await Tablet.enrolled(box, secure, "North", EMAIL)
    told = (await nora.ask("GET", "/v1/config", token=nora.token)).json()
    root = secure.running.store.root.certificate_pem.decode()
    assert told["cloud_ca_certificates"] == [root]
    async with httpx.AsyncClient(verify=ssl.create_default_context(cadata=root)) as http:
        headers = {"Authorization": f"Bearer {nora.token}"}
        by_cloud: dict[str, Any] = (await http.get(f"{secure.url}/v1/config", headers=headers)).json()
    assert by_cloud["cloud_ca_certificates"] == []


async def test_a_hub_by_itself_begins_in_1970(box: OddBox) -> None:
    """Its certificate holds until somebody knows what time it is, and is made anew for the usual time then."""
    box.tls = True
    await make_hub(box.settings.places, CLINIC, box.machine, IDS, None)
    await box.start()
    root = box.running.identity.root.certificate
    assert root.not_valid_before_utc.timestamp() * 1_000 == RELEASED_MS - DAY_MS
    doubtful = await shown(box.port)
    assert doubtful.not_valid_after_utc == root.not_valid_after_utc
    box.machine.off_ms = 0
    async with asyncio.timeout(60):
        while (certain := await shown(box.port)) == doubtful:
            await asyncio.sleep(0.1)
    assert 397 <= (certain.not_valid_after_utc - certain.not_valid_before_utc).days <= 398


async def shown(port: int) -> x509.Certificate:
    """The certificate that whoever connects is shown."""
    pem = await asyncio.to_thread(ssl.get_server_certificate, ("127.0.0.1", port))
    return x509.load_pem_x509_certificate(pem.encode())
