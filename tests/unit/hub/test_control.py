"""The control socket, as a command and a stranger meet it."""

import asyncio
import io
import os
import socket
import stat
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest
import uvloop

from hub import control
from hub.ask import HubNotRunning, Json, ask
from hub.control import ControlServer
from medxz.clock import SystemClock
from medxz.errors import Invalid
from medxz.program.errors import CommandFailed
from medxz.web import make_log

LOGGED = io.BytesIO()
LOG = make_log(LOGGED, SystemClock())


async def echo(arguments: Json) -> Json:
    return {"said": arguments}


async def refuse(arguments: Json) -> Json:
    raise Invalid("not like this")


async def fail(arguments: Json) -> Json:
    raise KeyError("secret detail")


HANDLERS = {"echo": echo, "refuse": refuse, "fail": fail}


@pytest.fixture
async def path(tmp_path: Path) -> AsyncIterator[Path]:
    server = ControlServer(tmp_path / "hub.sock", HANDLERS, LOG)
    await server.start()
    yield tmp_path / "hub.sock"
    await server.close()


async def asked(path: Path, command: str, arguments: Json | None = None) -> Json:
    return await asyncio.to_thread(ask, path, command, arguments)


def mode_of(path: Path) -> int:
    return path.stat().st_mode


def let_everybody_in(path: Path) -> None:
    path.parent.chmod(0o711)
    path.chmod(0o777)


async def exchange(path: Path, raw: bytes) -> bytes:
    """What comes back for these bytes, until the server hangs up or has said a line."""
    reader, writer = await asyncio.open_unix_connection(str(path), limit=2**21)
    async with asyncio.timeout(10):
        try:
            writer.write(raw)
            await writer.drain()
            return await reader.readline()
        except ConnectionError:
            return b""
        finally:
            writer.close()


async def test_a_command_is_answered(path: Path) -> None:
    """A command reaches its handler with its arguments, and the answer comes back."""
    assert await asked(path, "echo", {"a": [1, "ü"]}) == {"said": {"a": [1, "ü"]}}


async def test_it_is_the_owner_s_alone(path: Path) -> None:
    """The socket has mode 0600."""
    assert oct(mode_of(path)) == oct(stat.S_IFSOCK | 0o600)


async def test_refusals_keep_their_code(path: Path) -> None:
    """A refusal arrives with its code; a failure of ours is told to the log, by its type alone; the hub answers on."""
    with pytest.raises(CommandFailed, match="not like this") as caught:
        await asked(path, "refuse")
    assert caught.value.code == "invalid"
    with pytest.raises(CommandFailed, match="failed to do it") as caught:
        await asked(path, "fail")
    assert caught.value.code == "internal"
    assert b"KeyError" in LOGGED.getvalue()
    assert b"secret detail" not in LOGGED.getvalue()
    with pytest.raises(CommandFailed, match="echo") as caught:
        await asked(path, "reboot")
    assert caught.value.code == "unknown_command"
    assert await asked(path, "echo") == {"said": {}}


@pytest.mark.parametrize(
    "raw", [b"\n", b"x\n", b"[]\n", b"{}\n", b'"echo"\n', b'{"command":7}\n', b'{"command":["echo"]}\n',
            b'{"command":"echo","arguments":[]}\n', b"\xff\xfe\n", b'{"command":"echo"}' + b" " * 1000 + b"x\n"],
)  # fmt: skip
async def test_what_is_no_request_is_refused(path: Path, raw: bytes) -> None:
    """A line that is no request gets a refusal, and the next one its answer."""
    assert orjson.loads(await exchange(path, raw))["ok"] is False
    assert await asked(path, "echo") == {"said": {}}


async def test_a_line_without_end_is_hung_up_on(path: Path) -> None:
    """A request above the limit is not read to its end."""
    assert await exchange(path, b"x" * (control.REQUEST_BYTES_MAX * 4)) == b""
    assert await asked(path, "echo") == {"said": {}}


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
async def test_another_user_is_hung_up_on() -> None:
    """A process of another user gets no answer, even where the modes let it in."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "hub.sock")
        server = ControlServer(path, HANDLERS, LOG)
        await server.start()
        let_everybody_in(path)
        try:
            assert await said_to_nobody(path) == b"nothing"
        finally:
            await server.close()


async def said_to_nobody(path: Path) -> bytes:
    """What a process of the user nobody gets to hear."""
    program = """
import os, socket, sys
os.setgid(65534)
os.setuid(65534)
connection = socket.socket(socket.AF_UNIX)
connection.connect(sys.argv[1])
try:
    connection.sendall(b'{"command":"echo"}\\n')
    print(connection.recv(100) or "nothing")
except ConnectionError:
    print("nothing")
"""
    process = await asyncio.create_subprocess_exec(
        "python3", "-c", program, str(path), stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    return out.strip()


async def test_a_stale_socket_is_replaced(tmp_path: Path) -> None:
    """A socket that a killed hub left behind is taken over; one on which somebody answers is not."""
    path = tmp_path / "hub.sock"
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(path))
    server = ControlServer(path, HANDLERS, LOG)
    await server.start()
    with pytest.raises(CommandFailed, match="another process"):
        await ControlServer(path, HANDLERS, LOG).start()
    assert await asked(path, "echo") == {"said": {}}
    await server.close()
    assert not path.exists()


async def test_a_file_of_somebody_s_is_not_removed(tmp_path: Path) -> None:
    """Something at the socket's place that is no socket stays there."""
    with pytest.raises(CommandFailed, match="no socket"):
        await ControlServer(tmp_path, HANDLERS, LOG).start()
    assert stat.S_ISDIR(mode_of(tmp_path))


async def test_nobody_answers(tmp_path: Path) -> None:
    """Without a hub the command says how to start one."""
    with pytest.raises(HubNotRunning) as caught:
        await asked(tmp_path / "hub.sock", "echo")
    assert caught.value.hint == f"start it: medxz-hub run --data {tmp_path / 'hub'}"


async def test_closing_does_not_wait_for_those_who_idle(tmp_path: Path) -> None:
    """A connection that says nothing does not hold up the stop."""
    server = ControlServer(tmp_path / "hub.sock", HANDLERS, LOG)
    await server.start()
    reader, writer = await asyncio.open_unix_connection(str(tmp_path / "hub.sock"))
    writer.write(b'{"command":"echo"}\n')
    await reader.readline()
    async with asyncio.timeout(5):
        await server.close()
        assert await reader.read() == b""
    writer.close()


def test_a_path_too_long_is_told(tmp_path: Path) -> None:
    """A path that no socket can have is refused with its length, by both ends."""
    path = tmp_path / ("x" * 120) / "hub.sock"
    for use in (lambda: ControlServer(path, HANDLERS, LOG), lambda: ask(path, "echo")):
        with pytest.raises(CommandFailed, match="107"):
            use()


def test_it_works_on_the_loop_that_the_hub_runs_on(tmp_path: Path) -> None:
    """uvloop's transports tell the peer's user too."""

    async def scene() -> Json:
        server = ControlServer(tmp_path / "hub.sock", HANDLERS, LOG)
        await server.start()
        try:
            return await asked(tmp_path / "hub.sock", "echo", {"n": 1})
        finally:
            await server.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(scene()) == {"said": {"n": 1}}
