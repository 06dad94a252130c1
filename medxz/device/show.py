"""How the command line shows things: JSON for programs, lines for people, a bar where a person watches a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

import click
import msgspec

from medxz.device.device import HeldOp, Parked, Progress, Status, SyncReport
from medxz.device.store.safety import Levels

if TYPE_CHECKING:
    from medxz.device.targets.ways import Target
    from medxz.replicate import Standing

_LINE_EVERY_S: Final = 2.0
_DOING: Final = {"push": "pushing", "pull": "pulling", "snapshot": "taking in entities"}
_ENVELOPE: Final = (
    "op_id", "clinic_id", "device_id", "user_id", "entity_type", "entity_id", "op_type", "parents", "device_time",
    "device_seq", "schema_version",
)  # fmt: skip


def json_line(answer: object) -> None:
    """One line on stdout, at once; payloads inside it stay as they were written."""
    click.echo(msgspec.json.encode(answer))
    sys.stdout.flush()


def op_members(held: HeldOp, levels: Levels | None, *, payload: bool) -> dict[str, object]:
    members: dict[str, object] = {"position": held.position}
    if levels is not None:
        members["safe"] = levels.of(held.op.op_id, own_seq=held.own_seq)
    members |= {name: getattr(held.op, name) for name in _ENVELOPE}
    if held.op.signature is not None:
        members["signature"] = held.op.signature
    return members | ({"payload": held.op.payload} if payload else {})


def op_line(held: HeldOp, levels: Levels | None, *, payload: bool) -> str:
    op = held.op
    safe = f"{levels.of(op.op_id, own_seq=held.own_seq):6}  " if levels is not None else ""
    text = f"  {bytes(op.payload).decode()}" if payload else ""
    return f"{held.position:>6}  {safe}{op.device_time}  {op.op_type:7}  {op.entity_type}/{op.entity_id}  {op.op_id}{text}"


def standing(at: Target | None, standing: Standing, why: str, as_json: bool) -> None:
    """The connection begins or ends; of several servers, which one it is."""
    where = {"kind": at.kind, "url": at.url} if at is not None and standing == "live" else {}
    if as_json:
        json_line({"event": standing} | where | ({"why": why} if why else {}))
    else:
        about = why or " ".join(str(part) for part in where.values())
        click.echo(f"{standing}: {about}" if about else standing, err=True)


def status_members(status: Status, parked: list[Parked]) -> dict[str, object]:
    return asdict(status) | {"parked_ops": [asdict(op) for op in parked]}


def status_lines(status: Status, parked: list[Parked]) -> Iterator[str]:
    yield f"{status.here:>7}  here alone"
    yield f"{status.hub:>7}  on a hub"
    yield f"{status.cloud:>7}  in the cloud"
    yield f"{status.parked:>7}  parked: rejected for good, kept here alone"
    yield f"{status.open_conflicts:>7}  open conflicts"
    yield f"server {status.target or 'none: offline'}, device {status.device_id}"
    for one in status.targets:
        about = f": {one.why}" if one.why else f", {one.rtt_ms:.0f} ms" if one.rtt_ms is not None else ""
        yield f"  {one.kind or 'server':6} {one.url}  {one.state}{about}"
    locked = "; the device is locked: `medxz unlock`" if status.locked else ""
    yield f"{status.email or status.user_id or 'nobody'} is logged in{locked}"
    for op in parked:
        yield f"parked {op.op_id}  {op.entity_type}/{op.entity_id}  {op.code}: {op.message}"
    for refused in status.refused_upstream:
        yield f"refused by the cloud {refused.op_id}  {refused.code}"


def sync_members(report: SyncReport) -> dict[str, object]:
    done, status = report.done, report.status
    return {"pushed": done.pushed, **asdict(done)} | {
        name: getattr(status, name) for name in ("here", "hub", "cloud", "parked", "open_conflicts", "target")
    }


def sync_lines(report: SyncReport) -> Iterator[str]:
    done, status = report.done, report.status
    began = f", {done.entities} entities from a snapshot" if done.entities else ""
    yield f"pushed {done.pushed}, pulled {done.pulled}{began}"
    if status.open_conflicts:
        yield f"open conflicts: {status.open_conflicts}; see `medxz conflicts`"
    if done.recorded_again:
        yield f"this device has a new id: {done.recorded_again} of its ops were recorded again under it"
    if done.retry:
        yield f"{done.retry} not taken yet, to be offered again"
    if done.rejected:
        yield f"{done.rejected} rejected: see `medxz status`"
    yield f"here alone {status.here}, on a hub {status.hub}, in the cloud {status.cloud}, parked {status.parked}"


@contextmanager
def progress_shown(*, quiet: bool) -> Iterator[Callable[[Progress], None]]:
    """A bar on a terminal, a line now and then elsewhere, nothing where it must be quiet."""
    if quiet:
        yield lambda _: None
    elif sys.stderr.isatty():
        with _bar() as update:
            yield update
    else:
        yield _lines()


@contextmanager
def _bar() -> Iterator[Callable[[Progress], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        tasks: dict[str, TaskID] = {}

        def update(step: Progress) -> None:
            if step.phase not in tasks:
                tasks[step.phase] = bar.add_task(_DOING[step.phase], total=None)
            bar.update(tasks[step.phase], completed=step.done, total=step.total)

        yield update


def _lines() -> Callable[[Progress], None]:
    last = time.monotonic()

    def update(step: Progress) -> None:
        nonlocal last
        if time.monotonic() - last >= _LINE_EVERY_S:
            last = time.monotonic()
            total = f" of {step.total}" if step.total is not None else ""
            click.echo(f"{_DOING[step.phase]}: {step.done}{total}", err=True)

    return update
