"""Asking a running hub over its control socket (hub/control.py), from a command on the same machine.

Light on purpose: a command that asks needs nothing of what a hub is made of. Refused: a path that a socket can't have.
"""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any, Final

from medxz import limits
from medxz.program.errors import CommandFailed

ANSWER_BYTES_MAX: Final = limits.MIB
ANSWER_S_MAX: Final = 30.0
# sockaddr_un has 108 bytes, the last of which ends it
PATH_BYTES_MAX: Final = 107

Json = dict[str, Any]


class HubNotRunning(CommandFailed):
    """Nobody answers on the socket."""

    def __init__(self, path: Path) -> None:
        data = path.with_suffix("")
        super().__init__(f"no hub answers on {path}", f"start it: medxz-hub run --data {data}", "not_running")


def check_path(path: Path) -> None:
    """Refuse a path that is longer than a socket's may be."""
    length = len(os.fsencode(path))
    if length > PATH_BYTES_MAX:
        raise CommandFailed(
            f"the control socket {path} would have a path of {length} bytes, and a socket's may have {PATH_BYTES_MAX}",
            "give --data a shorter path",
        )


def ask(path: Path, command: str, arguments: Json | None = None) -> Json:
    """One command to the hub that runs; HubNotRunning where none answers, CommandFailed with what it refuses."""
    check_path(path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as connection:
        connection.settimeout(ANSWER_S_MAX)
        try:
            connection.connect(os.fspath(path))
        except (FileNotFoundError, ConnectionRefusedError):
            raise HubNotRunning(path) from None
        except OSError as error:
            raise CommandFailed(
                f"the control socket {path} can't be used: {error.strerror}",
                "run this as root or as the hub's user",
            ) from None
        try:
            connection.sendall(
                json.dumps({"command": command, "arguments": arguments or {}}).encode() + b"\n"
            )
            with connection.makefile("rb") as lines:
                answer = json.loads(lines.readline(ANSWER_BYTES_MAX))
        except (OSError, ValueError):
            raise CommandFailed(
                "the hub did not answer on its control socket", "try again; see its log"
            ) from None
    if not answer.get("ok"):
        raise CommandFailed(answer["message"], answer["hint"], answer["code"])
    told: Json = answer["answer"]
    return told
