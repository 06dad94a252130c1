"""A hub on its LAN: which name it takes, and that it is announced, moved, told apart and withdrawn."""

import asyncio
import io
import itertools
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from hub.advertise.advertiser import Advertiser, Placed
from hub.advertise.names import NUMBERED_MAX, gives_way, host_name, others_called, shares
from hub.advertise.presence import NOT_YET, Presence
from medxz.clock import SystemClock
from medxz.ids import RandomIds
from medxz.lan.announcement import Announcement, instance_name
from medxz.lan.browsing import Browser
from medxz.lan.multicast import NO_INTERFACE, Multicast
from medxz.web import make_log

LESSER, GREATER = "0197a2b4-0000-7000-8000-000000000001", "0197a2b4-0000-7000-8000-00000000000f"
DEADLINE_S = 20.0
PORTS = itertools.count(40_000)


def another(server_id: str, host: str, *addresses: str) -> Announcement:
    return Announcement(server_id, server_id, "ab" * 32, 8443, True, host, addresses)


def test_names_are_counted_up_and_end_in_one_that_nobody_else_takes() -> None:
    """medxz.local, medxz-2.local and so on; after the last number the name has the hub's own id in it."""
    assert [host_name(number, LESSER) for number in (1, 2, 9)] == [
        "medxz.local", "medxz-2.local", "medxz-9.local",
    ]  # fmt: skip
    assert host_name(NUMBERED_MAX + 1, LESSER) == "medxz-00000001.local"


def test_of_two_hubs_with_one_name_the_greater_id_gives_way() -> None:
    """Both come to the same answer, and a hub that is called otherwise is nobody's business."""
    assert gives_way("medxz.local", GREATER, [another(LESSER, "medxz.local")])
    assert not gives_way("medxz.local", LESSER, [another(GREATER, "medxz.local")])
    assert not gives_way("medxz.local", GREATER, [another(LESSER, "medxz-2.local")])


def test_an_answer_is_somebody_else_s_unless_it_is_explained() -> None:
    """Own addresses are no other's; nor is an old answer of a hub that says it is called otherwise by now."""
    own, old = {"192.168.1.5", "fe80::5"}, another(LESSER, "medxz-2.local", "192.168.1.6", "fe80::6%eth0")
    assert not others_called("medxz.local", ["192.168.1.5", "fe80::5"], own, [])
    assert others_called("medxz.local", ["192.168.1.5", "192.168.1.6"], own, [])
    assert not others_called("medxz.local", ["192.168.1.6", "fe80::6"], own, [old])
    assert others_called("medxz.local", ["192.168.1.6"], own, [another(LESSER, "medxz.local", "192.168.1.6")])


def test_who_is_to_give_way_makes_nobody_else_do_so() -> None:
    """The addresses of a greater hub with one's own name are known, so that they are not taken for a stranger's."""
    hubs = [another(GREATER, "medxz.local", "192.168.1.6"), another(LESSER, "medxz.local", "192.168.1.7")]
    assert shares("medxz.local", "0197a2b4-0000-7000-8000-000000000005", hubs) == {"192.168.1.6"}


@dataclass
class Running:
    placed: Placed
    presence: Presence
    log: io.BytesIO

    @property
    def instance(self) -> str:
        return instance_name(self.placed.server_id)


@asynccontextmanager
async def advertised(
    address: str, *, is_tls: bool = True, fingerprint: str = "ab" * 32
) -> AsyncIterator[Running]:
    """A hub that is announced on one address of this machine."""
    placed = Placed(
        str(uuid.uuid4()), RandomIds().uuid7(), next(PORTS), is_tls, True, False, lambda: fingerprint
    )
    running = Running(placed, Presence(), io.BytesIO())
    clock = SystemClock()
    log = make_log(running.log, clock, "info")
    task = asyncio.create_task(Advertiser(placed, Multicast([address]), running.presence, clock, log).run())
    try:
        yield running
    finally:
        task.cancel()
        await asyncio.wait([task])


async def until(holds: Callable[[], bool], browser: Browser | None = None) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not holds():
            await (browser.next_change() if browser is not None else asyncio.sleep(0.02))


async def test_a_hub_is_announced_as_it_serves_and_withdrawn_when_it_stops() -> None:
    """Id, site, port, TLS, fingerprint, a host name and the address: all as they are; and gone with the hub."""
    async with Browser(["127.0.0.1"]) as browser:
        async with advertised("127.0.0.1", is_tls=False) as hub:
            assert hub.presence.problem == NOT_YET
            await until(lambda: hub.instance in browser.found(), browser)
            found, placed = browser.found()[hub.instance], hub.placed
            assert (found.server_id, found.site_id, found.port, found.is_tls, found.fingerprint) == (
                placed.server_id, placed.site_id, placed.port, False, "ab" * 32,
            )  # fmt: skip
            await until(lambda: hub.presence.problem is None)
            assert hub.presence.told()["addresses"] == ["127.0.0.1"]
            assert "127.0.0.1" in found.addresses
            assert (await hub.presence.check()).ok
        await until(lambda: hub.instance not in browser.found(), browser)


async def test_two_hubs_have_two_names() -> None:
    """The second one finds the first one's name taken; where both begin at once, one of them takes another."""
    async with advertised("127.0.0.1") as one, advertised("127.0.0.2") as other:
        await until(lambda: one.presence.host is not None and other.presence.host is not None)
        await until(lambda: one.presence.host != other.presence.host)
        assert one.presence.host is not None
        assert one.presence.host.startswith("medxz")


async def test_a_new_name_is_told_to_who_certifies_it() -> None:
    """Who waits for another name is woken by it once, and has it at hand."""
    presence = Presence()
    waiting = asyncio.create_task(presence.renamed())
    presence.announced("medxz.local", ("127.0.0.1",))
    await waiting
    assert presence.names == ["medxz.local"]
    presence.announced("medxz.local", ("127.0.0.2",))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(presence.renamed(), 0.01)


async def test_a_hub_that_cannot_be_announced_says_why_and_stays_well() -> None:
    """Without an interface to speak on, the presence and one line of the log tell it; health is not hurt."""
    async with advertised("192.0.2.77") as hub:
        await until(lambda: hub.presence.problem == NO_INTERFACE)
        check = await hub.presence.check()
        assert check.ok
        assert NO_INTERFACE in check.detail
        assert hub.log.getvalue().count(b"mdns not possible") == 1
