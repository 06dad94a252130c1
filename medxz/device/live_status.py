"""`medxz status --watch`: how the device stands, as it changes; a screen on a terminal, a line for each change elsewhere.

Where nobody else has the store it stays in step meanwhile. Beside a process that has it, it shows what that one writes down.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import click

from medxz.device import show
from medxz.device.device import Device, Parked, Status
from medxz.errors import LoginNeeded

if TYPE_CHECKING:
    from rich.console import RenderableType

LOOK_S: Final = 0.5
_COLOURS: Final = {"current": "bold green", "ready": "green", "down": "red", "refused": "red"}

Show = Callable[[Status, list[Parked]], None]


async def show_live(device: Device, *, as_json: bool) -> None:
    """Until it is interrupted, or can't stay in step any more."""
    keeping = asyncio.create_task(_keep_in_step(device), name="in step")
    try:
        with _shown(as_json=as_json) as tell:
            last: tuple[Status, list[Parked]] | None = None
            while True:
                now = _lasting(await device.status()), await device.parked()
                if now != last:
                    tell(await device.status(), now[1])
                    last = now
                await asyncio.wait([keeping], timeout=LOOK_S)
                if keeping.done():
                    keeping.result()
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)


async def _keep_in_step(device: Device) -> None:
    try:
        if not device.is_read_only:
            async for _ in device.watch():
                pass
    except LoginNeeded:
        pass
    await asyncio.Event().wait()


def _lasting(status: Status) -> Status:
    """Without what changes all the time, and changes nothing."""
    return replace(
        status, targets=tuple(replace(one, rtt_ms=None, last_ok_at=None) for one in status.targets)
    )


@contextmanager
def _shown(*, as_json: bool) -> Iterator[Show]:
    if as_json:
        yield lambda status, parked: show.json_line({"event": "status"} | show.status_members(status, parked))
    elif sys.stdout.isatty():
        from rich.live import Live

        with Live(auto_refresh=False, screen=False) as live:
            yield lambda status, parked: live.update(_screen(status, parked), refresh=True)
    else:
        yield lambda status, parked: click.echo("\n".join([*show.status_lines(status, parked), ""]))


def _screen(status: Status, parked: list[Parked]) -> RenderableType:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    levels = Table(box=None)
    for name in ("here alone", "on a hub", "in the cloud", "parked", "conflicts"):
        levels.add_column(name, justify="right")
    counts = (status.here, status.hub, status.cloud, status.parked, status.open_conflicts)
    levels.add_row(*map(str, counts))
    servers = Table(box=None)
    for name in ("server", "address", "state", "round trip", "last met (UTC)"):
        servers.add_column(name, overflow="fold")
    for one in status.targets:
        servers.add_row(
            one.kind or "?", one.url, Text(one.state, style=_COLOURS.get(one.state, "dim")),
            "" if one.rtt_ms is None else f"{one.rtt_ms:.0f} ms", _to_seconds(one.last_ok_at),
        )  # fmt: skip
    text = Text("\n".join(list(show.status_lines(status, parked))[5:]))
    where = Text(status.target or "offline: what is recorded is kept here", style="bold")
    return Group(where, levels, servers, text)


def _to_seconds(time: str | None) -> str:
    """A terminal of 80 columns has room for no more beside an address; why a server is down stands below."""
    return "never" if time is None else time[:19].replace("T", " ")
