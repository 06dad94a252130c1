"""The end of a soak: everybody comes into step, and all of them hold the same ops, every acknowledged one among them."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from medxz import wire
from medxz.errors import PeerRefused, PeerUnreachable
from medxz.peer import Peer
from medxz.program.errors import CommandFailed
from medxz.trust.certificates import client_context
from tests.soak.clinic import Clinic
from tests.soak.pace import HEAL_S_MAX
from tests.system.world import PASSWORD

LOOK_AGAIN_S: Final = 2.0
PAGE_OPS: Final = 1_000


@dataclass(slots=True)
class Settled:
    """How it ended. Nothing in `wrong`: everybody holds the same, and nothing acknowledged is missing."""

    heal_s: float = 0.0
    ops: int = 0
    acknowledged: int = 0
    recorded: int = 0
    tablets: int = 0
    entities: int = 0
    wrong: list[str] = field(default_factory=list)


async def settled(clinic: Clinic, say: Callable[[str], None]) -> Settled:
    """Wait until all are in step, and hold what they have against each other and against what was promised."""
    told, begun = Settled(), time.monotonic()
    deadline = begun + HEAL_S_MAX
    while lacking := await _lacking(clinic, told):
        if time.monotonic() > deadline:
            told.wrong.append(f"after {HEAL_S_MAX:.0f} s not in step: {lacking}")
            break
        say(f"coming into step: {lacking}")
        await asyncio.sleep(LOOK_AGAIN_S)
    told.heal_s = time.monotonic() - begun
    try:
        async with _auditor(clinic) as peers:
            logs = {name: await _log(peer) for name, peer in peers.items()}
    except (PeerRefused, PeerUnreachable) as error:
        told.wrong.append(f"a log could not be read: {error}")
        return told
    _compare(told, logs, clinic)
    return told


async def _lacking(clinic: Clinic, told: Settled) -> str:
    """What is not in step yet; nothing: all is."""
    try:
        hubs = {hub.data.name: await asyncio.to_thread(hub.status) for hub in clinic.hubs}
    except CommandFailed as error:
        return str(error)
    if len({status["ops"] for status in hubs.values()}) > 1 or any(one["backlog"] for one in hubs.values()):
        return ", ".join(
            f"{name} has {one['ops']} ops, backlog {one['backlog']}" for name, one in hubs.items()
        )
    standings: dict[str, Any] = {}
    for house in clinic.houses:
        standings |= (await house.do("stand"))["tablets"]
    told.tablets = len(standings)
    told.entities = max((one["entities"] for one in standings.values()), default=0)
    if unsafe := [name for name, one in standings.items() if one["here"] or one["hub"]]:
        return f"{len(unsafe)} tablets have ops that are not in the cloud: {', '.join(unsafe[:5])}"
    if len(shown := {one["digest"] for one in standings.values()}) > 1:
        counts = sorted({one["entities"] for one in standings.values()})
        return f"the tablets show {len(shown)} different states, of {counts} entities"
    told.wrong = [
        f"{name}: the op {op} was rejected for good"
        for name, one in standings.items()
        for op in one["parked"]
    ]
    return ""


@asynccontextmanager
async def _auditor(clinic: Clinic) -> AsyncGenerator[dict[str, Peer], None]:
    """A device of its own that reads each server's log over the wire, straight and not by a link."""
    cloud = clinic.cloud
    public = base64.urlsafe_b64encode(Ed25519PrivateKey.generate().public_key().public_bytes_raw())
    code = (await clinic.newcomer())["code"]
    anonymous = Peer(cloud.url)
    try:
        enrolled = await anonymous.enrol(
            wire.EnrolRequest(code=code, name="auditor", public_key=public.rstrip(b"=").decode())
        )
        session = await anonymous.login(
            wire.LoginRequest(email=clinic.emails[0], password=PASSWORD, device_id=enrolled.device_id)
        )
    finally:
        await anonymous.aclose()
    roots = "\n".join(enrolled.ca_certificates).encode()
    peers = {"cloud": Peer(cloud.url, token=lambda: session.access_token)}
    for hub in clinic.hubs:
        hub_id = str((await asyncio.to_thread(hub.status))["server_id"])
        peers[hub.data.name] = Peer(
            hub.url, token=lambda: session.access_token, ssl_context=client_context(roots, hub_id)
        )
    try:
        yield peers
    finally:
        for peer in peers.values():
            await peer.aclose()


async def _log(peer: Peer) -> list[str]:
    ids: list[str] = []
    cursor: str | None = None
    while True:
        page = await peer.pull(cursor, limit=PAGE_OPS)
        ids += [op.op_id for op in page.ops]
        cursor = page.next_cursor
        if not page.has_more:
            return ids


def _compare(told: Settled, logs: dict[str, list[str]], clinic: Clinic) -> None:
    recorded, acknowledged = noted(
        Path(house.setting.folder, f"{house.name}.notes") for house in clinic.houses
    )
    told.recorded, told.acknowledged = len(recorded), len(acknowledged)
    everything = set[str]().union(*logs.values())
    told.ops = len(everything)
    for name, ids in logs.items():
        if len(ids) != len(set(ids)):
            told.wrong.append(f"{name} has {len(ids) - len(set(ids))} ops twice")
        for what, wanted in (("acknowledged", acknowledged), ("recorded", recorded), ("other", everything)):
            if missing := wanted - set(ids):
                told.wrong.append(f"{name} lacks {len(missing)} {what} ops, such as {min(missing)}")


def noted(files: Iterable[Path]) -> tuple[set[str], set[str]]:
    """The ops that were recorded, and those that a server acknowledged, by what the tablets wrote down."""
    recorded: set[str] = set()
    acknowledged: set[str] = set()
    for file in files:
        for line in file.read_text().splitlines():
            what, op_id, *_ = line.split()
            (recorded if what == "recorded" else acknowledged).add(op_id)
    return recorded, acknowledged
