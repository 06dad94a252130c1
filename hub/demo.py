"""`make run`: a hub and two tablets on loopback, telling in plain words what happens to them.

The hub is a process of its own and is killed without warning; each tablet has a network cable that is pulled. What
must hold is checked as it is told: with `--once` the story ends with status 0 when all of it held and 1 when not.
It is no part of the hub's program, and the only place that knows both sides.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import signal
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

import click

from hub.ask import ask
from hub.config import HubPlaces
from medxz import Device, MedxzError, PeerUnreachable
from medxz.ids import RandomIds

START_S_MAX: Final = 30.0
CATCH_UP_S_MAX: Final = 20.0
TOKEN_TTL_S: Final = 86_400
_CHUNK_BYTES: Final = 65_536


class DidNotHold(MedxzError):
    """Something that the story promises was not so."""


def say(text: str) -> None:
    click.echo(text)


def must(holds: bool, what: str) -> None:
    if not holds:
        raise DidNotHold(what)
    say(f"    ok: {what}")


class HubProcess:
    """A real hub, started by its own commands."""

    def __init__(self, folder: Path) -> None:
        self.data = folder / "hub"
        self.log = folder / "hub.log"
        self.url = ""
        self._process: asyncio.subprocess.Process | None = None

    async def init(self, clinic_id: str) -> None:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "hub", "init", "--data", str(self.data), "--clinic", clinic_id,
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        _, err = await process.communicate()
        if process.returncode != 0:
            raise DidNotHold(err.decode().strip())

    async def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "hub", "run", "--data", str(self.data), "--plain-http", "--port", "0",
                "--no-mdns", "--json", stdout=asyncio.subprocess.PIPE, stderr=log,
            )  # fmt: skip
        assert self._process.stdout is not None
        async with asyncio.timeout(START_S_MAX):
            line = await self._process.stdout.readline()
        if not line:
            raise DidNotHold(f"the hub did not start; {self.log} says why: {self.log.read_text()[-500:]}")
        self.url = json.loads(line)["url"]

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    async def kill(self) -> None:
        """As a power cut would: without warning."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    async def stop(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()
            await self._process.wait()

    async def ended(self) -> None:
        assert self._process is not None
        await self._process.wait()

    async def token(self, device_id: str, user_id: str, role: str = "clinician") -> str:
        wanted = {"device": device_id, "user": user_id, "role": role, "ttl": TOKEN_TTL_S}
        answer = await asyncio.to_thread(ask, HubPlaces(self.data).socket, "token", wanted)
        return str(answer["access_token"])

    async def ops_stored(self) -> int:
        return int((await asyncio.to_thread(ask, HubPlaces(self.data).socket, "status"))["ops"])


class Cable:
    """A tablet's way to the hub: an address that stays, and that leads nowhere while it is unplugged."""

    def __init__(self, hub: HubProcess) -> None:
        self._hub = hub
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._plugged = True

    async def lay(self) -> str:
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def pull(self) -> None:
        self._plugged = False
        for writer in self._writers:
            writer.transport.abort()

    def plug(self) -> None:
        self._plugged = True

    async def close(self) -> None:
        self.pull()
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            if self._plugged:
                there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self._hub.port)
                self._writers |= {writer, there_writer}
                await asyncio.gather(_pump(reader, there_writer), _pump(there_reader, writer))
                self._writers -= {writer, there_writer}
        writer.transport.abort()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while chunk := await reader.read(_CHUNK_BYTES):
            writer.write(chunk)
            await writer.drain()
    with suppress(OSError):
        writer.close()


class Tablet:
    """A simulated device with somebody at it."""

    def __init__(self, name: str, device: Device, cable: Cable) -> None:
        self.name = name
        self.device = device
        self.cable = cable

    async def write(self, count: int, what: str) -> None:
        for number in range(count):
            payload = {
                "resourceType": "Observation",
                "status": "final",
                "code": {"text": "Pulse"},
                "note": [{"text": f"{what} {number + 1}"}],
            }
            await self.device.record("Observation", payload)
        say(f"  {self.name} writes {count} observations: they are safe on the tablet at once.")

    async def sync(self) -> None:
        done = await self.device.sync(patience_s=CATCH_UP_S_MAX)
        status = done.status
        say(
            f"  {self.name} syncs. Of its own ops {status.here} are only here, {status.hub} on the hub, "
            f"{status.cloud} in the cloud."
        )

    async def op_ids(self) -> list[str]:
        return [held.op.op_id async for held in self.device.ops()]


class Story:
    """What is told, in its order."""

    def __init__(self, hub: HubProcess, anna: Tablet, ben: Tablet) -> None:
        self.hub = hub
        self.anna = anna
        self.ben = ben

    async def tell(self) -> None:
        await self.first_sync()
        await self.live()
        await self.cut()
        await self.power_cut()
        await self.catch_up()

    async def first_sync(self) -> None:
        say("\n1. The first sync")
        await self.anna.write(3, "Anna's note")
        await self.anna.sync()
        await self.ben.sync()
        must(await self.ben.op_ids() == await self.anna.op_ids(), "Ben's tablet holds what Anna wrote")

    async def live(self) -> None:
        say("\n2. Side by side")
        arriving = self.ben.device.watch()
        following = asyncio.create_task(_drain(self.anna.device.watch()))
        try:
            await self._from_anna_to(arriving)  # with the first one the tablets connect
            begun = time.monotonic()
            await self._from_anna_to(arriving)
            took_ms = (time.monotonic() - begun) * 1_000
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
            await arriving.aclose()
        must(took_ms < CATCH_UP_S_MAX * 1_000, f"what Anna writes is on Ben's screen after {took_ms:.0f} ms")

    async def _from_anna_to(self, arriving: AsyncGenerator[Any, None]) -> None:
        recorded = await self.anna.device.record(
            "Observation", {"resourceType": "Observation", "status": "final", "code": {"text": "Pulse"}}
        )
        async with asyncio.timeout(CATCH_UP_S_MAX):
            arrived = await anext(arriving)
        if arrived.op.op_id != recorded.op_id:
            raise DidNotHold("Ben's tablet got another op than the one that Anna wrote")

    async def cut(self) -> None:
        say("\n3. Ben's cable is pulled")
        self.ben.cable.pull()
        await self.ben.write(2, "Ben's note")
        must(
            await _unreachable(self.ben.device),
            "Ben's tablet says that it can't reach the hub, and keeps his notes",
        )
        must((await self.ben.device.status()).here == 2, "they are told as here, not as synced")
        await self.anna.write(2, "Anna's note")
        await self.anna.sync()

    async def power_cut(self) -> None:
        say("\n4. The hub loses its power (kill -9)")
        stored = await self.hub.ops_stored()
        await self.hub.kill()
        await self.anna.write(1, "Anna's note in the dark")
        must(await _unreachable(self.anna.device), "Anna's tablet can't reach the hub either, and works on")
        await self.hub.start()
        must(
            await self.hub.ops_stored() == stored,
            f"the hub is back with all {stored} ops that it had answered for",
        )

    async def catch_up(self) -> None:
        say("\n5. The catch-up")
        self.ben.cable.plug()
        for tablet in (self.ben, self.anna, self.ben):
            await tablet.sync()
        anna, ben = await self.anna.op_ids(), await self.ben.op_ids()
        must(set(anna) == set(ben) and len(anna) == 10, f"both tablets hold the same {len(ben)} ops")
        must(len(anna) == len(set(anna)) and len(ben) == len(set(ben)), "each of them once")
        must(await self.hub.ops_stored() == len(anna), "and so does the hub")
        waiting = [(await tablet.device.status()).here for tablet in (self.anna, self.ben)]
        must(waiting == [0, 0], "nothing waits on a tablet any more")


async def _unreachable(device: Device) -> bool:
    try:
        await device.sync(attempts=1, patience_s=2.0)
    except PeerUnreachable:
        return True
    return False


async def _drain(ops: AsyncIterator[object]) -> None:
    async for _ in ops:
        pass


@asynccontextmanager
async def _scene(folder: Path) -> AsyncIterator[Story]:
    """A hub that runs and two tablets with a cable each, cleared away at the end."""
    ids, hub = RandomIds(), HubProcess(folder)
    async with AsyncExitStack() as stack:
        await hub.init(ids.uuid7())
        stack.push_async_callback(hub.stop)
        await hub.start()
        say(f"A hub serves at {hub.url}; its log is {hub.log}.")
        tablets = []
        for name in ("Anna", "Ben"):
            cable = Cable(hub)
            stack.push_async_callback(cable.close)
            token = await hub.token(ids.uuid7(), ids.uuid7())
            device = Device.create(
                folder / name.lower(),
                key=secrets.token_bytes(32),
                server=await cable.lay(),
                token=token,
                name=name,
            )
            stack.callback(device.close)
            tablets.append(Tablet(name, device, cable))
        say("Two tablets, Anna's and Ben's, know it.")
        yield Story(hub, *tablets)


async def _stay(hub: HubProcess) -> None:
    """Print what can be tried, and wait for Ctrl-C or for the hub's end."""
    ids = RandomIds()
    token = await hub.token(ids.uuid7(), ids.uuid7(), "admin")
    say(f"""
The hub stays up at {hub.url} until Ctrl-C. To try, in another terminal:

  curl {hub.url}/v1/info
  curl {hub.url}/health
  TOKEN={token}
  curl -H "Authorization: Bearer $TOKEN" "{hub.url}/v1/sync/pull?limit=2"
  curl -N -H "Authorization: Bearer $TOKEN" {hub.url}/v1/sync/stream
  {Path(sys.executable).with_name("medxz-hub")} status --data {hub.data}

In a browser: {hub.url}/docs""")
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    ended = asyncio.ensure_future(hub.ended())
    ended.add_done_callback(lambda _: stop.set())
    await stop.wait()
    ended.cancel()


async def _play(*, once: bool) -> None:
    with tempfile.TemporaryDirectory(prefix="medxz-demo-") as folder:
        async with _scene(Path(folder)) as story:
            await story.tell()
            say("\nAll of it held.")
            if not once:
                await _stay(story.hub)


@click.command()
@click.option("--once", is_flag=True, help="End when the story is told: 0 when all of it held, 1 when not.")
def main(*, once: bool) -> None:
    """A hub and two tablets on loopback: the first sync, a pulled cable, a power cut, the catch-up."""
    try:
        asyncio.run(_play(once=once))
    except (MedxzError, TimeoutError, OSError) as error:
        click.echo(f"\nThis did not hold: {str(error) or 'something took too long'}", err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
