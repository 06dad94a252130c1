"""What can be wrong with a hub, looked into one by one: each finding says what to do.

A running hub is asked over its socket and goes on serving; a stopped one's store is opened here, under its lock.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from hub import ask
from hub.care.advice import advice_for
from hub.care.checks import check_memory, check_temperature, check_wear
from hub.care.machine import Machine
from hub.clock import Standing
from hub.config import HubPlaces, load_settings
from hub.storage import open_storage
from medxz.clock import SystemClock
from medxz.errors import ConfigurationError, MedxzError
from medxz.program.errors import CommandFailed
from medxz.program.finding import Finding, find_directory, find_key, find_space
from medxz.program.keys import read_key
from medxz.store.rescue.pages import PageCheck

_POLL_S: Final = 0.2  # the hub checks on by itself, and tells how far it is when asked
_MENDS: Final = "`medxz-hub run` sets the file aside and fills again by itself: docs/recovery.md"
_PAGES_AT_ONCE: Final = 1_000

Progress = Callable[[int, int], None]


def examine(data: Path, key_file: Path | None, environ: Mapping[str, str], *, quiet: bool) -> list[Finding]:
    """Every finding, in the order in which a hub needs the things to be well."""
    places = HubPlaces(data, key_file)
    findings = []
    try:
        places = load_settings({"data": data} | ({"key_file": key_file} if key_file else {}), environ).places
        findings.append(Finding("settings", ok=True, detail="every one is known and fits"))
    except ConfigurationError as error:
        findings.append(
            Finding(
                "settings",
                ok=False,
                detail="; ".join(error.problems),
                hint="mend them: docs/configuration.md",
            )
        )
    how_to_make = f"medxz-hub init --data {places.data} --clinic ID"
    findings += [
        find_directory(places, how_to_make),
        _key(places, environ),
        find_space(places, "hub"),
        _socket_path(places),
    ]
    with _progress_bar(quiet=quiet) as progress:
        findings += _store(places, environ, progress)
    return findings


def _key(places: HubPlaces, environ: Mapping[str, str]) -> Finding:
    """A running hub knows which file is its, and may read where its operator may not."""
    try:
        told = ask.ask(places.socket, "key")
    except CommandFailed:
        return find_key(places, environ)
    problem, hint = told["problem"], told["hint"]
    detail = f"{told['key_file']}, closed to others" if problem is None else problem
    return Finding("key file", ok=problem is None, detail=detail, hint=hint)


def _socket_path(places: HubPlaces) -> Finding:
    try:
        ask.check_path(places.socket)
    except CommandFailed as error:
        return Finding("control socket", ok=False, detail=str(error), hint=error.hint)
    return Finding("control socket", ok=True, detail=str(places.socket))


def _store(places: HubPlaces, environ: Mapping[str, str], progress: Progress) -> Iterator[Finding]:
    try:
        hub = ask.ask(places.socket, "status")
    except ask.HubNotRunning:
        yield Finding("hub", ok=True, detail="does not run: its store is looked into directly")
        yield from asyncio.run(_examine_stopped(places, environ, progress))
        yield from _machine()
        return
    except CommandFailed as error:
        yield Finding("hub", ok=False, detail=str(error), hint=error.hint)
        return
    yield Finding("hub", ok=True, detail=f"runs at {hub['url']}, version {hub['version']}")
    for check in hub["checks"]:
        hint = "" if check["ok"] else advice_for(check["name"])
        yield Finding(f"hub: {check['name']}", ok=check["ok"], detail=check["detail"], hint=hint)
    yield _check_running(places, progress)


def _machine() -> Iterator[Finding]:
    """What a running hub tells of its machine itself."""
    machine = Machine()
    for check in (
        check_wear(machine.wear()),
        check_temperature(machine.temperature_c()),
        check_memory(machine.memory()),
    ):
        hint = "" if check.ok else advice_for(check.name)
        yield Finding(check.name, ok=check.ok, detail=check.detail, hint=hint)


def _check_running(places: HubPlaces, progress: Progress) -> Finding:
    ask.ask(places.socket, "verify", {"begin": True})
    while True:
        found = ask.ask(places.socket, "verify")
        progress(found["checked"], found["total"])
        if found["done"]:
            return _rows(found["checked"], found["damaged"], found["damaged_count"])
        time.sleep(_POLL_S)


async def _examine_stopped(
    places: HubPlaces, environ: Mapping[str, str], progress: Progress
) -> list[Finding]:
    try:
        async with open_storage(places, lambda: read_key(places.key_file, environ), SystemClock()) as storage:
            opened = Finding("store", ok=True, detail=f"opens with its key, epoch {storage.log.epoch}")
            clock = _clock(storage.clock.standing())
            found = await storage.log.verify(lambda so_far: progress(so_far.checked, so_far.total))
            pages = [_pages(check) for check in storage.page_checks()]
    except MedxzError as error:
        return [Finding("store", ok=False, detail=str(error), hint=error.hint or _MENDS)]
    return [opened, clock, _rows(found.checked, found.damaged, len(found.damaged)), *pages]


def _pages(check: PageCheck) -> Finding:
    """Those that hold no op too, and free ones."""
    damaged: list[int] = []
    for first in range(1, check.count + 1, _PAGES_AT_ONCE):
        damaged += check.damaged(range(first, min(first + _PAGES_AT_ONCE, check.count + 1)))
    name, count = f"pages of {check.path.name}", check.count
    if damaged:
        shown = ", ".join(map(str, damaged[:5])) + (", …" if len(damaged) > 5 else "")
        return Finding(name, ok=False, detail=f"{len(damaged)} of {count} are damaged: {shown}", hint=_MENDS)
    return Finding(name, ok=True, detail=f"{count} read, every one is what was written")


def _clock(standing: Standing) -> Finding:
    """As this hub would go by it if it started now, without its cloud."""
    hint = "" if standing.is_trusted else "set this machine's clock, or let it ask a time server"
    return Finding("clock", ok=standing.is_trusted, detail=standing.detail, hint=hint)


def _rows(checked: int, damaged: list[int], count: int) -> Finding:
    if count:
        shown = ", ".join(map(str, damaged[:5])) + (", …" if count > 5 else "")
        detail = f"{count} of {checked} ops are damaged: server_seq {shown}"
        return Finding("ops", ok=False, detail=detail, hint=_MENDS)
    return Finding("ops", ok=True, detail=f"{checked} read, every checksum fits")


@contextmanager
def _progress_bar(*, quiet: bool) -> Iterator[Progress]:
    if quiet:
        yield lambda _done, _total: None
        return
    from rich.console import Console
    from rich.progress import Progress as Bars

    with Bars(
        console=Console(stderr=True), transient=True, disable=not Console(stderr=True).is_terminal
    ) as bars:
        task = bars.add_task("reading every op", total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)
