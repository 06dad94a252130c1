"""The running hub as an update sees it: asked over its socket, and as a device would ask it, over HTTP."""

from __future__ import annotations

import http.client
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from hub import ask
from medxz.program.errors import CommandFailed

SERVING_S_MAX: Final = 10
# of the checks that it tells of itself, those without which it is no hub
VITAL: Final = frozenset({"writer", "integrity"})
SYNC: Final = "it does not sync with its cloud"


@dataclass(frozen=True, slots=True)
class RunningHub:
    """The hub of one directory, if it runs."""

    socket: Path

    def ask(self, command: str, arguments: dict[str, Any] | None = None) -> dict[str, Any]:
        return ask.ask(self.socket, command, arguments)

    def is_running(self) -> bool:
        try:
            self.ask("status")
        except CommandFailed:
            return False
        return True

    def is_in_step(self) -> bool:
        """Whether it is connected to its cloud."""
        try:
            return bool(self.ask("status")["upstream"] == "online")
        except CommandFailed:
            return False

    def hold(self, seconds: float, quiet_s: float) -> bool:
        """Put pushes off, if nobody is pushing. Where no hub runs, nobody is."""
        try:
            return bool(self.ask("update_hold", {"seconds": seconds, "quiet_s": quiet_s})["held"])
        except ask.HubNotRunning:
            return True

    def let_go(self) -> None:
        try:
            self.ask("update_hold", {"seconds": 0, "quiet_s": 0})
        except CommandFailed:
            return  # what does not run holds nobody

    def problem(self, *, must_sync: bool) -> str | None:
        """What it does not do that a hub must; None where it does everything."""
        try:
            status = self.ask("status")
        except CommandFailed as error:
            return f"it does not answer: {error}"
        unwell = [
            f"{check['name']}: {check['detail']}"
            for check in status["checks"]
            if check["name"] in VITAL and not check["ok"]
        ]
        if unwell:
            return f"its database is not well: {unwell[0]}"
        if (refused := _refused(str(status["url"]))) is not None:
            return f"it does not serve: {refused}"
        if must_sync and status["upstream"] != "online":
            return f"{SYNC}: {status['upstream_last_error'] or 'not connected yet'}"
        return None

    def started_at(self) -> str | None:
        """By which a hub that was started anew is told from one that ran all the time."""
        try:
            return str(self.ask("status")["started_at"])
        except CommandFailed:
            return None


def _refused(url: str) -> str | None:
    """What keeps it from serving devices, asked as one of them would; None where nothing does."""
    parts = urlsplit(url)
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        # on this machine, and its socket said where: asked is whether it answers, not who it is
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        connection = http.client.HTTPSConnection(
            parts.hostname or "", parts.port, timeout=SERVING_S_MAX, context=context
        )
    else:
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=SERVING_S_MAX)
    try:
        connection.request("GET", "/health/ready")
        answer = connection.getresponse()
        answer.read()
    except (OSError, http.client.HTTPException) as error:
        return str(error) or type(error).__name__
    finally:
        connection.close()
    return None if answer.status == http.client.OK else f"/health/ready answers {answer.status}"
