"""What a store remembers of searches: where servers were met, and whom to leave alone for a while."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from medxz.device.discovery import Candidate, look
from medxz.device.discovery.remembering import StoreMemory, known_by
from medxz.device.discovery.verdicts import refusal
from medxz.device.store.refusals import REFUSALS_MAX, REFUSED_MS, REFUSED_MS_MAX, Refused
from medxz.device.store.targets import HeldTarget, Trust
from medxz.work import InlineWorker
from tests.making import fixed_id
from tests.unit.device.discovery.places import (
    CA_PEM,
    FINGERPRINT,
    HUB,
    KNOWN,
    OTHER_HUB,
    SITE,
    THEIR_CA,
    Ears,
    credential,
    place,
)
from tests.unit.device.scripted import Tablet

WHO = Refused(HUB, "https://192.0.2.1:8443", "terms")


@pytest.fixture
def tablet(tmp_path: Path) -> Iterator[Tablet]:
    made = Tablet(tmp_path / "d")
    yield made
    made.store.close()


def test_a_refusal_holds_for_a_while(tablet: Tablet) -> None:
    """It holds for a minute, the next time for two, and never for more than an hour."""
    refusals = tablet.store.refusals
    assert refusals.why(WHO) is None
    for times in range(10):
        refusals.keep(WHO, f"no {times}")
        assert refusals.why(WHO) == f"no {times}"
        tablet.clock.time_ms += min(REFUSED_MS << times, REFUSED_MS_MAX) - 1
        assert refusals.why(WHO) == f"no {times}"
        tablet.clock.time_ms += 1
        assert refusals.why(WHO) is None


def test_what_a_refusal_depends_on(tablet: Tablet) -> None:
    """Another address, other terms or a clock that was set back, and it is asked again; being met ends it."""
    refusals = tablet.store.refusals
    refusals.keep(WHO, "no")
    assert refusals.why(replace(WHO, addresses="https://192.0.2.2:8443")) is None
    assert refusals.why(replace(WHO, terms="others")) is None
    assert refusals.why(replace(WHO, server_id=OTHER_HUB)) is None
    tablet.clock.time_ms -= 2 * REFUSED_MS_MAX
    assert refusals.why(WHO) is None
    tablet.clock.time_ms += 2 * REFUSED_MS_MAX
    refusals.keep(replace(WHO, terms="others"), "no")
    assert refusals.why(WHO) is None
    refusals.keep(WHO, "no")
    tablet.clock.time_ms += REFUSED_MS
    assert refusals.why(WHO) is None, "under other terms it counts from the beginning"
    refusals.keep(WHO, "no")
    refusals.forget(HUB)
    assert refusals.why(WHO) is None


def test_refusals_are_bounded(tablet: Tablet) -> None:
    """However many pretend to be hubs, so many are remembered, the latest of them."""
    for number in range(REFUSALS_MAX + 5):
        tablet.clock.time_ms += 1
        tablet.store.refusals.keep(replace(WHO, server_id=fixed_id(number)), "no")
    held = [tablet.store.refusals.why(replace(WHO, server_id=fixed_id(n))) for n in range(REFUSALS_MAX + 5)]
    assert [why is not None for why in held] == [False] * 5 + [True] * REFUSALS_MAX


async def test_a_look_alike_is_not_asked_at_every_turn(tablet: Tablet) -> None:
    """What was heard and refused is left alone; at another address, or for who knows other CAs, it is asked again."""
    memory = StoreMemory(tablet.store, InlineWorker(), KNOWN)
    async with place(HUB, shown=credential(HUB, THEIR_CA)) as first, place() as hub:
        ears = Ears(first.announcing())
        [probed] = await look(KNOWN, browser=ears, memory=memory, hearing_s=0.1)
        assert probed.code == "untrusted"
        [again] = await look(KNOWN, browser=ears, memory=memory, hearing_s=0.1)
        assert (again.code, again.why, again.taken) == ("refused_before", probed.why, False)
        [moved] = await look(KNOWN, browser=Ears(hub.announcing()), memory=memory, hearing_s=0.1)
        assert moved.taken
        both = replace(KNOWN, hub_cas=CA_PEM + THEIR_CA.certificate_pem.decode())
        others = StoreMemory(tablet.store, InlineWorker(), both)
        [other] = await look(both, browser=ears, memory=others, hearing_s=0.1)
        assert other.taken


async def test_nobody_is_kept_from_its_hub(tablet: Tablet) -> None:
    """A refusal of what was heard says nothing against the same address remembered, typed or named; silence is none."""
    memory = StoreMemory(tablet.store, InlineWorker(), KNOWN)
    heard = Candidate("hub", "https://192.0.2.1:8443", HUB, "mdns", fingerprint=FINGERPRINT)
    await memory.keep(refusal(heard, "no_answer", "silent"))
    assert await memory.refused(heard) is None
    await memory.keep(refusal(heard, "untrusted", "no"))
    assert await memory.refused(heard) == "no"
    assert await memory.refused(replace(heard, fingerprint="0" * 64)) is None
    for source in ("last", "typed", "config", "name"):
        assert await memory.refused(replace(heard, source=source)) is None


def test_what_a_store_knows() -> None:
    """Addresses that were met come first as such; CAs and names go along; without hub CAs, those of an old store."""
    trust = Trust("hub", "u", "old", None, "cloud", SITE, {}, ["hub.example"], None)
    met = HeldTarget("https://a", "hub", HUB, "mdns", "ready", True, 1, 1, 1, 3.0, None, None)
    named = HeldTarget("https://b", None, None, "typed", "unknown", False, 1, None, None, None, None, None)
    known = known_by(trust, [met, named], ["https://c"])
    assert (known.hub_cas, known.cloud_cas, known.site_id) == ("old", "cloud", SITE)
    assert known.last == [Candidate("hub", "https://a", HUB, "last")]
    assert known.targets == [Candidate("hub", "https://b", None, "typed")]
    assert (known.names, known.typed) == (["hub.example"], ["https://c"])
    at_cloud = known_by(replace(trust, tls="address", hub_cas=None), [named])
    assert (at_cloud.hub_cas, at_cloud.targets[0].kind) == (None, "cloud")
