"""What systemd hears, on a real datagram socket."""

import asyncio
import io
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from medxz.clock import SystemClock
from medxz.program.notify import Notifier
from medxz.web import make_log

LOG = make_log(io.BytesIO(), SystemClock())


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.setblocking(False)
        yield listening


async def heard(systemd: socket.socket) -> str:
    async with asyncio.timeout(10):
        return (await asyncio.get_running_loop().sock_recv(systemd, 4096)).decode()


async def test_ready_status_and_stopping(systemd: socket.socket) -> None:
    """Being ready, what is going on, and stopping are told in systemd's words."""
    notifier = Notifier({"NOTIFY_SOCKET": systemd.getsockname()}, LOG)
    notifier.ready("serving on 8443")
    assert await heard(systemd) == "READY=1\nSTATUS=serving on 8443"
    notifier.status("checking")
    assert await heard(systemd) == "STATUS=checking"
    notifier.stopping()
    assert await heard(systemd) == "STOPPING=1"
    notifier.close()


async def test_a_socket_without_a_file(tmp_path: Path) -> None:
    """An abstract address is understood."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(f"\0medxz-test-{os.getpid()}")
        listening.setblocking(False)
        notifier = Notifier({"NOTIFY_SOCKET": f"@medxz-test-{os.getpid()}"}, LOG)
        notifier.stopping()
        assert await heard(listening) == "STOPPING=1"
        notifier.close()


async def test_signs_of_life_while_the_probe_answers(systemd: socket.socket) -> None:
    """Signs of life come twice within the time that systemd gives, and stop as soon as the probe says no."""
    notifier = Notifier({"NOTIFY_SOCKET": systemd.getsockname(), "WATCHDOG_USEC": "100000"}, LOG)
    assert notifier.watchdog_s == 0.1
    asked = asyncio.Event()
    alive = True

    async def probe() -> bool:
        if not alive:
            asked.set()
        return alive

    task = asyncio.create_task(notifier.keep_alive(probe, SystemClock()))
    assert [await heard(systemd) for _ in range(3)] == ["WATCHDOG=1"] * 3
    alive = False
    async with asyncio.timeout(10):
        await asked.wait()
        asked.clear()
        await asked.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(BlockingIOError):
        # one sign may have been on its way when the probe turned; none after it
        [systemd.recv(64) for _ in range(2)]
    notifier.close()


async def test_a_probe_that_hangs_gives_no_sign(systemd: socket.socket) -> None:
    """A writer that does not answer in time is no sign of life."""
    notifier = Notifier({"NOTIFY_SOCKET": systemd.getsockname(), "WATCHDOG_USEC": "40000"}, LOG)
    given_up = asyncio.Semaphore(0)

    async def probe() -> bool:
        try:
            await asyncio.Event().wait()
        finally:
            given_up.release()
        return True

    task = asyncio.create_task(notifier.keep_alive(probe, SystemClock()))
    async with asyncio.timeout(10):
        await given_up.acquire()
        await given_up.acquire()
    task.cancel()
    with pytest.raises(BlockingIOError):
        systemd.recv(64)
    notifier.close()


async def test_without_systemd_nothing_happens() -> None:
    """Without its socket nothing is told and nothing fails; a socket that went away does not stop the hub."""
    notifier = Notifier({"WATCHDOG_USEC": "10"}, LOG)
    notifier.ready("x")

    async def probe() -> bool:
        raise AssertionError("nobody wants to know")

    await notifier.keep_alive(probe, SystemClock())
    gone = Notifier({"NOTIFY_SOCKET": "/nonexistent/socket"}, LOG)
    gone.ready("x")
    gone.close()


@pytest.mark.parametrize(
    "environ",
    [{}, {"WATCHDOG_USEC": "x"}, {"WATCHDOG_USEC": "0"}, {"WATCHDOG_USEC": "9", "WATCHDOG_PID": "1"}],
)
def test_no_watchdog_is_asked_for(environ: dict[str, str]) -> None:
    """No time, a time that is none, or another process's: no signs of life are due."""
    assert Notifier(environ, LOG).watchdog_s is None
