"""Devices and hubs that are killed in the middle of things: real processes, and nothing is lost or doubled."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.system.hub_process import DEADLINE_S, HubProcess, environment
from tests.system.tablet import Tablet


def test_killed_between_commit_and_answer(first: Tablet, tmp_path: Path) -> None:
    """A device that dies after the hub has committed, before it has read the answer, pushes again: `duplicate`."""
    made = [first.record(f'{{"n":{number}}}')["op_id"] for number in range(3)]
    # the process stops dead where the answer's first byte would be read
    stopped = subprocess.Popen(
        [sys.executable, "-c", _DIES_BEFORE_THE_ANSWER, "sync", "--store", str(first.store)],
        env=environment(), stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    _, errors = stopped.communicate(timeout=DEADLINE_S)
    assert stopped.returncode == -signal.SIGKILL, errors
    assert first.ask("status")["here"] == 3
    done = first.ask("sync")
    assert (done["duplicate"], done["accepted"]) == (3, 0)
    assert first.ask("status")["hub"] == 3
    other = Tablet(tmp_path / "other", first.hub).begin()
    other.ask("sync")
    held = [op["op_id"] for op in other.ask("log", "--limit", "10000")["ops"]]
    assert [op_id for op_id in held if op_id in made] == made


_DIES_BEFORE_THE_ANSWER = """
import os, signal
from medxz import peer
from medxz.device.cli import main

whole = peer.Peer._whole

async def die(self, response):
    if response.request.url.path.endswith("/push"):
        assert response.status_code == 200
        os.kill(os.getpid(), signal.SIGKILL)
    return await whole(self, response)

peer.Peer._whole = die
main()
"""


@pytest.mark.slow
def test_killed_at_any_moment(first: Tablet, tmp_path: Path) -> None:
    """Whatever the moment at which a recording and syncing device is killed: what it had recorded arrives, each op once."""
    seed = int.from_bytes(os.urandom(4))
    print(f"seed {seed}")
    chance = random.Random(seed)
    recorded: list[str] = []
    for _ in range(8):
        with subprocess.Popen(
            [sys.executable, "-u", "-c", _RECORDS_AND_SYNCS, str(first.store)],
            env=environment(), stdout=subprocess.PIPE, text=True,
        ) as process:  # fmt: skip
            assert process.stdout is not None
            recorded += [process.stdout.readline().strip() for _ in range(chance.randint(1, 12))]
            time.sleep(chance.random() * 0.05)  # no luck is needed: any moment is a good one
            process.kill()
            # a line that was cut is of an op whose record had not yet returned
            recorded += [line.strip() for line in process.stdout if line.endswith("\n")]
    first.ask("sync")
    told = first.ask("status")
    assert (told["here"], told["parked"]) == (0, 0)
    other = Tablet(tmp_path / "other", first.hub).begin()
    other.ask("sync")
    held = [op for op in other.ask("log", "--limit", "10000")["ops"] if op["device_id"] == first.device_id]
    assert [op["device_seq"] for op in held] == list(range(1, len(held) + 1))
    assert set(recorded) <= {op["op_id"] for op in held}
    assert len(held) <= len(recorded) + 8


_RECORDS_AND_SYNCS = """
import asyncio, sys
from medxz import Device

async def main(store):
    key = open(store + ".key").read().strip()
    async with Device.open(store, key=key) as device:
        for number in range(10_000):
            print((await device.record("Patient", {"n": number})).op_id)
            if number % 3 == 2:
                await device.sync()

asyncio.run(main(sys.argv[1]))
"""


def test_watching_through_a_hubs_death(tmp_path: Path) -> None:
    """A watch goes on through a hub that is killed and comes back, and shows what was pushed after."""
    hub = HubProcess(tmp_path).start("--plain-http", "--no-mdns")
    tablets = [Tablet(tmp_path / name, hub).begin() for name in ("first", "second")]
    first, second = tablets
    try:
        _, events = second.watch()
        hub.kill()
        assert next(event for event in events if event["event"] != "live")["event"] == "offline"
        hub.start("--plain-http", "--no-mdns", "--port", hub.url.rpartition(":")[2])
        made = first.record('{"n":1}')
        first.ask("sync")
        assert any(event.get("op_id") == made["op_id"] for event in events)
    finally:
        for tablet in tablets:
            tablet.end()
        hub.kill()
