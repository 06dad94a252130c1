"""A clinic's LAN, on hosts made of network namespaces: how soon a hub that was plugged in serves its tablets, how soon one
that is cut off is left and taken again, and what a move costs in bytes.

Hub, cloud and tablets are real processes over TLS; the hub is found by mDNS. The tablets run an application that stays in
step. Bytes are frames on the tablet's cable: everything counts, from the first SYN on.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from bench.context import Context
from bench.figure import Bound, Figure, Series
from tests.lan.application import Application, Event
from tests.lan.clinic import Clinic, LanTablet
from tests.lan.hosts import Host, Network
from tests.system.hub_process import wait_until

LEFT_S_MAX: Final = 2.0
FIRST_S_MAX: Final = 10.0
BACK_S_MAX: Final = 15.0
MOVE_KB_MAX: Final = 64
KEPT_OPS: Final = 2_000
CLOUD_TOLD_S_MAX: Final = 90.0  # who is idle hears now and then how far the cloud is


@dataclass(slots=True)
class _Moves:
    """What was measured, move by move."""

    left: list[float] = field(default_factory=list)
    safe: list[float] = field(default_factory=list)
    back: list[float] = field(default_factory=list)
    wan_bytes: list[float] = field(default_factory=list)
    lan_bytes: list[float] = field(default_factory=list)


def found(context: Context) -> list[Figure]:
    """From the start of a hub's program until a tablet that waits for one has pulled an op from it."""
    firsts: list[float] = []
    served: list[float] = []
    with Network() as network:
        clinic = _filled(context, network, "found")
        clinic.start()
        dan = clinic.dan.application()
        dan.until(lambda event: event.get("standing") == "live", "the stream")
        for _ in context.samples("plugging a hub in", context.sizes.moves):
            clinic.hub.end(signal.SIGTERM)
            clinic.wan.cut()
            dan.until(lambda event: event.get("standing") == "offline", "to be alone")
            dan.all_told()
            op_id = _recorded_meanwhile(clinic)
            begun = time.monotonic()
            clinic.hub.start()
            served.append(time.monotonic() - begun)
            seen = dan.until(_tells(op_id), "the op")
            firsts.append(seen["at"] - begun)
            clinic.wan.mend()
    return [
        Figure(
            "lan.first", "a hub is plugged in: from its start until a tablet has pulled the first op from it", "absolute",
            Bound("at most", FIRST_S_MAX), "s", firsts, (Series("of that, until the hub serves", "s", served),),
        )
    ]  # fmt: skip


def moves(context: Context) -> list[Figure]:
    """A pulled cable: the tablet goes to the cloud, and back when the cable is in again."""
    told = _Moves()
    with Network() as network:
        clinic = _filled(context, network, "moves")
        clinic.start()
        nora = clinic.nora.application()
        nora.until(lambda event: event.get("standing") == "live", "the stream")
        nora.record(KEPT_OPS)
        nora.until_status(
            "all in the cloud", target=clinic.hub.url, seconds=CLOUD_TOLD_S_MAX, here=0, hub=0, cloud=KEPT_OPS
        )
        for number in context.samples("pulling the hub's cable", context.sizes.moves):
            _move(clinic, nora, told, KEPT_OPS + number)
            nora = _begun_again(clinic, nora)
    return [
        Figure(
            "lan.failover", "the hub's cable is pulled: until the tablet has left it for the cloud", "absolute",
            Bound("at most", LEFT_S_MAX), "s", told.left,
            (Series("until an op recorded at that moment is safe in the cloud", "s", told.safe),),
        ),
        Figure(
            "lan.failback", "the cable is in again: until the tablet is back at the hub", "absolute",
            Bound("at most", BACK_S_MAX), "s", told.back,
        ),
        Figure(
            "lan.move", f"kB at the tablet for a move to the cloud, {KEPT_OPS:,} ops known to all and one new", "absolute",
            Bound("at most", MOVE_KB_MAX), "kB", [each / 1_000 for each in told.wan_bytes],
            (Series("back to the hub", "kB", [each / 1_000 for each in told.lan_bytes]),),
        ),
    ]  # fmt: skip


def _move(clinic: Clinic, nora: Application, told: _Moves, cloud_has: int) -> None:
    before = _traffic(clinic.nora)
    clinic.hub.host.unplug()
    cut_at = time.monotonic()
    nora.record()
    event = nora.until_status("the cloud", target=clinic.cloud.url)
    told.left.append(event["at"] - cut_at)
    if event["cloud"] <= cloud_has:
        event = nora.until_status("the op in the cloud", cloud=cloud_has + 1)
    told.safe.append(event["at"] - cut_at)
    moved = _traffic(clinic.nora)
    told.wan_bytes.append(moved - before)
    clinic.hub.host.plug()
    back_at = time.monotonic()
    told.back.append(nora.until(partial(_is_at, clinic.hub.host), "the hub")["at"] - back_at)
    wait_until(lambda: clinic.hub.has(cloud_has + 1), "the hub to have what it missed")
    told.lan_bytes.append(_traffic(clinic.nora) - moved)


def _begun_again(clinic: Clinic, nora: Application) -> Application:
    """The same tablet, which holds nothing against its hub: one that is left again and again is taken again ever later."""
    nora.end()
    again = clinic.nora.application()
    again.until(lambda event: event.get("standing") == "live", "the stream")
    return again


def _filled(context: Context, network: Network, name: str) -> Clinic:
    folder = context.file(f"lan-{name}")
    folder.mkdir(parents=True)
    clinic = Clinic(folder, network)
    clinic.fill()
    return clinic


def _recorded_meanwhile(clinic: Clinic) -> str:
    """An op that the hub gets while the tablet that waits can't: put into its log by the other tablet, on the hub's machine."""
    clinic.dan.host.unplug()
    clinic.hub.start()
    op_id = clinic.nora.record("Example")
    clinic.nora.sync()
    clinic.hub.end(signal.SIGTERM)
    clinic.dan.host.plug()
    return op_id


def _is_at(host: Host, event: Event) -> bool:
    """At whichever of its addresses."""
    target = event.get("target") or ""
    return host.address in target or host.address6 in target


def _tells(op_id: str) -> Callable[[Event], bool]:
    return lambda event: event.get("op_id") == op_id


def _traffic(tablet: LanTablet) -> int:
    received, sent = tablet.host.traffic()
    return received + sent
