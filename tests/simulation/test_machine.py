"""Machines of a simulated world: what a crash takes, what it leaves, and what a real program makes of it."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

import hub.config
from hub.app import Hub, open_hub
from hub.making import make_hub
from medxz.errors import PeerUnreachable
from medxz.peer import Peer
from medxz.web import make_log
from tests.simulation.clocks import BEGIN_MS, SimClock
from tests.simulation.loop import SimLoop, run_world
from tests.simulation.machine import Machine, MachineDied

CLINIC = "01900000-0000-7000-8000-00000000c111"
PORT = 8_443
ROOT = Path(__file__).resolve().parents[2]


def run(scenario: Callable[[SimLoop], Coroutine[Any, Any, Any]], seed: int = 1) -> Any:
    async def world(loop: SimLoop) -> Any:
        answer = await scenario(loop)
        assert loop.broken == []
        return answer

    return run_world(world, seed)


class HubMachine:
    """A hub's real program on a machine."""

    def __init__(self, loop: SimLoop, root: Path) -> None:
        self.machine = Machine(loop, "hub", "127.77.0.1", root)

    @property
    def settings(self) -> hub.config.Settings:
        given = {"data": self.machine.directory / "hub", "host": self.machine.ip, "port": PORT}
        return hub.config.load_settings({**given, "plain_http": True, "mdns": False}, {})

    async def make(self) -> None:
        machine = self.machine
        await machine.call(make_hub(self.settings.places, CLINIC, machine.clock, machine.ids, None))

    async def start(self) -> Hub:
        serving: asyncio.Future[Hub] = asyncio.get_running_loop().create_future()
        self.machine.spawn(self._serve(serving), "hub")
        return await serving

    async def _serve(self, serving: asyncio.Future[Hub]) -> None:
        async with self._opened() as running:
            serving.set_result(running)
            await asyncio.get_running_loop().create_future()

    @asynccontextmanager
    async def _opened(self) -> AsyncIterator[Hub]:
        clock, ids = self.machine.clock, self.machine.ids
        log = make_log(BytesIO(), clock, "info")
        async with open_hub(self.settings, {}, log=log, clock=clock, ids=ids) as running:
            yield running


async def info(machine: Machine, url: str, times: int = 1) -> str:
    """What a real client on that machine is told by a server, asked so often over one connection."""

    async def ask() -> str:
        peer = Peer(url, ids=machine.ids)
        try:
            told = [await peer.info() for _ in range(times)]
        finally:
            await peer.aclose()
        return told[-1].server_id

    return await machine.call(ask())


def test_a_crash_stops_everything_where_it_stands(tmp_path: Path) -> None:
    """Nothing that was under way goes on after a crash: no line, no timer, no `finally`; others go on."""
    did: list[str] = []

    async def work(name: str) -> None:
        try:
            while True:
                await asyncio.sleep(1)
                did.append(name)
        finally:
            did.append(f"{name} tidies up")

    async def scenario(loop: SimLoop) -> list[str]:
        a, b = (Machine(loop, name, f"127.77.0.{n}", tmp_path) for n, name in enumerate("ab", 1))
        a.spawn(work("a"), "work")
        b.spawn(work("b"), "work")
        await asyncio.sleep(2.5)
        a.crash()
        assert not a.alive
        await asyncio.sleep(2)
        with pytest.raises(MachineDied):
            a.spawn(work("a"), "work")
        a.boot()
        assert a.incarnation == 2
        await asyncio.sleep(1)
        return list(did)

    assert run(scenario) == [*"abab", *"bbb"]


def test_who_waits_for_a_machine_hears_of_its_crash(tmp_path: Path) -> None:
    """A call from outside ends with MachineDied when the machine crashes, by its own hand too."""

    async def scenario(loop: SimLoop) -> None:
        machine = Machine(loop, "a", "127.77.0.1", tmp_path)
        loop.call_later(5, machine.crash)
        with pytest.raises(MachineDied):
            await machine.call(asyncio.sleep(10))
        assert loop.time() == pytest.approx(5, abs=0.01)
        machine.boot()
        assert await machine.call(asyncio.sleep(1, "well")) == "well"

        async def falls() -> None:
            await asyncio.to_thread(machine.crash)
            raise AssertionError("it went on")

        with pytest.raises(MachineDied):
            await machine.call(falls())

    run(scenario)


def test_files_survive_in_a_new_place(tmp_path: Path) -> None:
    """After a crash the files are in another directory; an image put back takes their place, on this machine or another."""

    async def scenario(loop: SimLoop) -> None:
        machine = Machine(loop, "a", "127.77.0.1", tmp_path)
        before = machine.directory
        (before / "ops").write_text("one")
        image = machine.image(tmp_path / "image")
        (before / "ops").write_text("two")
        machine.crash()
        (before / "ops").write_text("a ghost's")
        assert (machine.directory / "ops").read_text() == "two"
        machine.restore(image)
        machine.boot()
        assert (machine.directory / "ops").read_text() == "one"
        other = Machine(loop, "b", "127.77.0.2", tmp_path)
        other.restore(image)
        other.boot()
        assert (other.directory / "ops").read_text() == "one"

    run(scenario)


@pytest.mark.parametrize("silent", [True, False])
def test_connections_die_with_a_machine(tmp_path: Path, silent: bool) -> None:
    """A crash is met as a reset at once; without power as silence, until the machine is back and knows nothing of it."""

    async def hold(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            writer.close()

    async def scenario(loop: SimLoop) -> None:
        a, b = (Machine(loop, name, f"127.77.0.{n}", tmp_path) for n, name in enumerate("ab", 1))
        await b.call(asyncio.start_server(hold, b.ip, PORT))
        reader, writer = await a.call(asyncio.open_connection(b.ip, PORT))
        b.crash(silent=silent)
        if silent:
            writer.write(b"are you there?")
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(reader.read(), 60)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(a.call(asyncio.open_connection(b.ip, PORT)), 10)
            b.boot()
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(reader.read(), 5)
        with pytest.raises(ConnectionRefusedError):
            await a.call(asyncio.open_connection(b.ip, PORT))

    run(scenario)


def test_a_clock_may_be_wrong(tmp_path: Path) -> None:
    """The time of day jumps and runs backwards; what is monotonic drifts, begins anew with a boot, and never runs back."""

    async def scenario(loop: SimLoop) -> None:
        clock = SimClock(loop.time)
        assert clock.now_ms() == BEGIN_MS
        await clock.sleep(100)
        assert clock.now_ms() == pytest.approx(BEGIN_MS + 100_000, abs=1)
        clock.drift(100_000)
        begun, monotonic = loop.time(), clock.monotonic()
        await clock.sleep(110)
        assert loop.time() - begun == pytest.approx(100, abs=0.001)
        assert clock.monotonic() - monotonic == pytest.approx(110, abs=0.001)
        assert clock.error_ms == pytest.approx(10_000, abs=1)
        clock.jump(-3_600_000)
        assert clock.monotonic() - monotonic == pytest.approx(110, abs=0.001)
        assert clock.error_ms == pytest.approx(-3_590_000, abs=1)
        clock.right()
        assert clock.error_ms == 0
        clock.set(0)
        await clock.sleep(1)
        assert clock.now_ms() == pytest.approx(1_000, abs=1)
        clock.boot()
        assert clock.monotonic() == 0
        assert clock.now_ms() == pytest.approx(1_000, abs=1)

    run(scenario)


def test_a_real_hub_lives_through_a_crash(tmp_path: Path) -> None:
    """The hub's real program serves real clients, is gone with its machine, and serves again as the same hub."""

    async def scenario(loop: SimLoop) -> None:
        there = HubMachine(loop, tmp_path)
        tablet = Machine(loop, "tablet", "127.77.0.2", tmp_path)
        await there.make()
        url = (await there.start()).url
        server_id = await info(tablet, url, 3)
        there.machine.crash()
        with pytest.raises(PeerUnreachable):
            await info(tablet, url)
        there.machine.boot()
        with pytest.raises(PeerUnreachable):
            await info(tablet, url)
        await there.start()
        assert await info(tablet, url) == server_id

    run(scenario)


def test_a_client_keeps_its_connection(tmp_path: Path) -> None:
    """A real client asks again over the connection that it has, and opens another once that was closed while idle."""
    opened: list[int] = []

    async def scenario(loop: SimLoop) -> None:
        there = HubMachine(loop, tmp_path)
        tablet = Machine(loop, "tablet", "127.77.0.2", tmp_path)
        await there.make()
        running = await there.start()
        connect = loop.network.connect

        async def counted(factory: Any, address: Any, *, plain: bool = False) -> Any:
            opened.append(1)
            return await connect(factory, address, plain=plain)

        loop.network.connect = counted  # type: ignore[method-assign]

        async def ask() -> None:
            peer = Peer(running.url, ids=tablet.ids)
            for _ in range(5):
                await peer.info()
            assert len(opened) == 1
            await asyncio.sleep(3_600)
            await peer.info()
            assert len(opened) == 2
            await peer.aclose()

        await tablet.call(ask())

    run(scenario)


def told_world(root: Path, seed: int) -> str:
    """The fingerprint of a world with a real hub, real clients, crashes and a bad network."""

    async def world(loop: SimLoop) -> str:
        network, random = loop.network, loop.network.random
        there = HubMachine(loop, root)
        await there.make()
        url = (await there.start()).url
        tablets = [Machine(loop, f"tablet-{n}", f"127.77.1.{n}", root, seed=seed) for n in range(3)]
        heard: list[str] = []
        network.note = lambda who, what: heard.append(f"{loop.time():.6f} {who} {what}")

        async def ask(tablet: Machine) -> None:
            for _ in range(20):
                try:
                    heard.append(await info(tablet, url, 2))
                except (PeerUnreachable, MachineDied) as error:
                    heard.append(f"{loop.time():.6f} {type(error).__name__}")
                await asyncio.sleep(random.random() * 5)

        asking = [asyncio.create_task(ask(tablet)) for tablet in tablets]
        network.lossy("tablet-0", "hub", 0.2)
        network.slow("tablet-1", "hub", 0.05, 0.5)
        network.duplicate("tablet-2", "hub", 0.5)
        for _ in range(3):
            await asyncio.sleep(random.random() * 10)
            there.machine.crash()
            network.cut("tablet-1", "hub")
            await asyncio.sleep(random.random() * 10)
            there.machine.boot()
            network.heal()
            await there.start()
        await asyncio.gather(*asking)
        return f"{network.fingerprint()} {len(heard)} {hash(tuple(heard))}"

    return run_world(world, seed)


@pytest.mark.slow
def test_the_same_seed_is_the_same_world(tmp_path: Path) -> None:
    """Two processes tell the same of a seed, to the byte and the microsecond; another seed is another world."""

    def told(seed: int, name: str) -> str:
        (tmp_path / name).mkdir()
        program = f"from tests.simulation.test_machine import *; print(told_world(Path({str(tmp_path / name)!r}), {seed}))"
        done = subprocess.run(
            [sys.executable, "-c", program],
            cwd=ROOT, env={**os.environ, "PYTHONHASHSEED": "0"}, stdout=subprocess.PIPE, check=True, timeout=120,
        )  # fmt: skip
        return done.stdout.decode()

    first = told(1, "a")
    assert told(1, "a-longer-name") == first
    assert told(2, "c") != first
