"""The control socket: how commands on the same machine reach a running hub without the key of its store.

One JSON object a line: `{"command", "arguments"}`, answered by `{"ok": true, "answer"}` or
`{"ok": false, "code", "message", "hint"}`. Refused: peers that are neither root nor the hub's own user, lines above
the limit, commands that are not known. hub/ask.py is the other end.
"""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import struct
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Final

import orjson
import structlog

from hub.ask import ANSWER_S_MAX, Json, check_path
from medxz import limits
from medxz.errors import MedxzError, Refusal
from medxz.program.errors import CommandFailed

REQUEST_BYTES_MAX: Final = 64 * limits.KIB
CONNECTIONS_MAX: Final = 16
IDLE_S_MAX: Final = 30.0
_PEER: Final = struct.Struct("3i")

Handler = Callable[[Json], Awaitable[Json]]


class ControlServer:
    """Answers commands on the socket until it is closed."""

    def __init__(
        self, path: Path, handlers: Mapping[str, Handler], log: structlog.typing.FilteringBoundLogger
    ) -> None:
        check_path(path)
        self._path = path
        self._handlers = dict(handlers)
        self._log = log
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen, in place of a socket that nobody answers on any more."""
        _clear_stale(self._path)
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        mask = os.umask(0o177)
        try:
            listening.bind(os.fspath(self._path))
        except OSError as error:
            listening.close()
            raise CommandFailed(
                f"the control socket {self._path} can't be made: {error.strerror}",
                "let the hub's user write to the directory that the data directory lies in",
            ) from None
        finally:
            os.umask(mask)
        self._server = await asyncio.start_unix_server(self._serve, sock=listening, limit=REQUEST_BYTES_MAX)

    async def close(self) -> None:
        """Hang up on everybody and take the socket away."""
        if self._server is None:
            return
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._path.unlink(missing_ok=True)
        self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            # the mode of the socket keeps others out; this holds where a mode was changed by hand
            if _peer_uid(writer) in (0, os.geteuid()) and len(self._tasks) <= CONNECTIONS_MAX:
                await self._converse(reader, writer)
        except (OSError, TimeoutError, ValueError, asyncio.IncompleteReadError) as error:
            self._log.debug("control hung up", detail=type(error).__name__)
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            async with asyncio.timeout(IDLE_S_MAX):
                line = await reader.readline()
            if not line:
                return
            writer.write(orjson.dumps(await self._answer(line)) + b"\n")
            async with asyncio.timeout(ANSWER_S_MAX):
                await writer.drain()

    async def _answer(self, line: bytes) -> Json:
        try:
            request = orjson.loads(line)
            command, arguments = request["command"], request.get("arguments", {})
            handler = self._handlers.get(command)
        except (ValueError, TypeError, KeyError, AttributeError):
            return _refused("bad_json", 'a request is {"command": …, "arguments": {…}} on one line', "")
        if handler is None or not isinstance(arguments, dict):
            return _refused("unknown_command", f"this hub knows: {', '.join(sorted(self._handlers))}", "")
        try:
            answer = await handler(arguments)
        except MedxzError as error:
            return _refused(_code(error), str(error), error.hint)
        except Exception as error:  # noqa: BLE001  the root of a command: the hub goes on, the log has the rest
            from medxz.web.log import told

            self._log.error("control command broke", command=command, **told(error))  # never its text
            return _refused("internal", "the hub failed to do it", "its log says why")
        return {"ok": True, "answer": answer}


def _clear_stale(path: Path) -> None:
    try:
        is_socket = stat.S_ISSOCK(path.lstat().st_mode)
    except FileNotFoundError:
        return
    if not is_socket:
        raise CommandFailed(f"{path} is there and is no socket", "move it away")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as probe:
        probe.settimeout(1)
        try:
            probe.connect(os.fspath(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
        except OSError as error:
            raise CommandFailed(f"{path} can't be used: {error.strerror}", "remove it by hand") from None
    raise CommandFailed(f"another process answers on {path}", "stop that one first")


def _peer_uid(writer: asyncio.StreamWriter) -> int:
    connection = writer.get_extra_info("socket")
    _, uid, _ = _PEER.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
    return int(uid)


def _code(error: MedxzError) -> str:
    return error.code if isinstance(error, Refusal | CommandFailed) else "failed"


def _refused(code: str, message: str, hint: str) -> Json:
    return {"ok": False, "code": code, "message": message, "hint": hint}
