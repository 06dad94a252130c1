"""mDNS on loopback, for real: who is heard, who goes, and machines on which it is not possible."""

import asyncio
import os
import socket
import sys
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from zeroconf.asyncio import AsyncServiceInfo

from medxz.ids import RandomIds
from medxz.lan.announcement import SERVICE, Announcement, instance_name, to_txt
from medxz.lan.browsing import Browser
from medxz.lan.interfaces import InterfaceWatch, running_interfaces
from medxz.lan.multicast import NO_INTERFACE, Multicast
from medxz.lan.records import addresses_in_cache, say_goodbye
from medxz.waiting import first_of

HERE = ["127.0.0.1"]
DEADLINE_S = 20.0


def announcement(**changed: object) -> Announcement:
    # not of our Ids: their last eight characters would be as unique, but only by luck the names of other tests' hubs
    made = Announcement(str(uuid.uuid4()), RandomIds().uuid7(), "ab" * 32, 8443, True, "x", ("127.0.0.1",))
    host = f"test-{made.server_id[-12:]}.local"
    fields = {name: getattr(made, name) for name in made.__dataclass_fields__}
    return Announcement(**{**fields, "host": host, **changed})


def info_of(announced: Announcement, txt: dict[str, str] | None = None) -> AsyncServiceInfo:
    return AsyncServiceInfo(
        SERVICE, f"{instance_name(announced.server_id)}.{SERVICE}", port=announced.port,
        properties=txt or to_txt(announced), server=announced.host + ".", parsed_addresses=list(announced.addresses),
    )  # fmt: skip


@asynccontextmanager
async def announced(*announcements: Announcement) -> AsyncIterator[Multicast]:
    async with Multicast(HERE) as multicast:
        assert multicast.zeroconf is not None
        for one in announcements:
            await (await multicast.zeroconf.async_register_service(info_of(one), cooperating_responders=True))
        yield multicast


async def heard(browser: Browser, holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not holds():
            await browser.next_change()


async def test_who_is_there_is_heard_and_who_goes_is_forgotten() -> None:
    """A browser hears what is announced, as it was announced, and hears the goodbye."""
    one = announcement()
    name = instance_name(one.server_id)
    async with Browser(HERE) as browser:
        async with announced(one):
            await heard(browser, lambda: name in browser.found())
            assert browser.found()[name] == one
            assert browser.problem is None
        await heard(browser, lambda: name not in browser.found())


async def test_whoever_comes_later_hears_it_too() -> None:
    """A browser asks: it hears of those that announced themselves before it was there."""
    one, other = announcement(), announcement()
    async with announced(one, other), Browser(HERE) as browser:
        names = {instance_name(each.server_id) for each in (one, other)}
        await heard(browser, lambda: names <= browser.found().keys())
        await browser.settle(DEADLINE_S)


async def test_an_unlawful_announcement_is_not_told() -> None:
    """What somebody announces under our service that is no announcement of ours is passed over, the others are told."""
    liar, honest = announcement(), announcement()
    async with announced(honest) as multicast, Browser(HERE) as browser:
        assert multicast.zeroconf is not None
        unlawful = info_of(liar, {**to_txt(liar), "fp": "none"})
        await multicast.zeroconf.async_register_service(unlawful, cooperating_responders=True)
        await heard(browser, lambda: instance_name(honest.server_id) in browser.found())
        again = announcement()
        await multicast.zeroconf.async_register_service(info_of(again), cooperating_responders=True)
        await heard(browser, lambda: instance_name(again.server_id) in browser.found())
        assert instance_name(liar.server_id) not in browser.found()


async def test_an_address_that_is_taken_back_is_noticed() -> None:
    """An announcement loses an address once its host says goodbye to it."""
    one = announcement(addresses=("127.0.0.1", "127.0.0.2"))
    name = instance_name(one.server_id)
    async with announced(one) as multicast, Browser(HERE) as browser:
        assert multicast.zeroconf is not None
        await heard(browser, lambda: name in browser.found() and len(browser.found()[name].addresses) == 2)
        say_goodbye(multicast.zeroconf.zeroconf, one.host, ["127.0.0.2"])
        await heard(browser, lambda: browser.found()[name].addresses == ("127.0.0.1",))


async def test_who_is_called_so_is_known_by_the_answers() -> None:
    """The addresses that were answered for a host name are there to be read, and those of nobody are none."""
    one = announcement()
    async with announced(one), Browser(HERE) as browser, Multicast(HERE) as multicast:
        await heard(browser, lambda: instance_name(one.server_id) in browser.found())
        hearing = browser._multicast.zeroconf
        assert multicast.zeroconf is not None
        assert hearing is not None
        assert addresses_in_cache(multicast.zeroconf.zeroconf, "nobody.local") == set()
        assert addresses_in_cache(hearing.zeroconf, one.host) == {"127.0.0.1"}


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux hands out what others have joined")
async def test_other_programs_groups_are_not_heard() -> None:
    """A socket hears the interfaces that were asked for, and not what any program of the machine has joined elsewhere."""
    async with Multicast(HERE) as multicast:
        assert multicast.zeroconf is not None
        for reader in multicast.zeroconf.zeroconf.engine.readers:
            with socket.socket(fileno=os.dup(reader.fileno)) as listening:
                assert listening.getsockopt(socket.IPPROTO_IP, 49) == 0  # IP_MULTICAST_ALL


async def test_a_machine_without_mdns_hears_nobody_and_says_why() -> None:
    """Where no socket can be had there is an empty browser with a problem, and no exception."""
    async with Browser(["192.0.2.77"]) as browser:
        assert browser.problem == NO_INTERFACE
        await browser.settle(0.1)
        assert not browser.found()


async def test_loopback_runs_here() -> None:
    """Loopback is among the interfaces that run, with its number and its address."""
    [loopback] = [one for one in running_interfaces() if "127.0.0.1" in one.addresses]
    assert loopback.index > 0


async def test_a_watch_that_sees_nothing_waits() -> None:
    """As long as interfaces stay as they are, nobody is told of a change; stopping needs no change."""
    watch = InterfaceWatch(look_s=0.01)
    await watch.start()
    before = watch.interfaces
    if (
        await first_of(watch.changed(), timeout_s=0.2) is None
    ):  # on a machine that is changed meanwhile nothing is shown
        assert watch.interfaces == before
    watch.stop()
