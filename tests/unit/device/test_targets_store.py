"""Where a device may go, as its store keeps it."""

from __future__ import annotations

from pathlib import Path

import pytest

from medxz import wire
from medxz.device.store import DeviceStore
from medxz.device.store.sessions import Enrolled
from medxz.device.store.targets import TARGETS_MAX, Told
from medxz.replicate import LogId
from tests.making import CLINIC, DEVICE, HandClock, fixed_id
from tests.unit.device.scripted import KEY

HUB, OTHER, CLOUD = "https://hub.test:8443", "https://other.test:8443", "https://cloud.test"
LOG = LogId(fixed_id(0xA1), fixed_id(0xB1))


@pytest.fixture
def store(tmp_path: Path) -> DeviceStore:
    made = DeviceStore(tmp_path / "d", KEY, HandClock(), create=True)
    made.key_to_enrol()
    told = (Told(CLOUD, "cloud", fixed_id(9), "config"),)
    made.enrolled(Enrolled(CLINIC, DEVICE, fixed_id(5), "Room 2", HUB, "hub", "CA\n", "CA\n", told))
    return made


def config(**changes: object) -> wire.ConfigAnswer:
    told = {
        "clinic_id": CLINIC, "keep_own_days": 14, "offline_session_hours": 72, "require_signed_ops": False,
        "routing": {}, "targets": [], "ca_certificates": [],
    }  # fmt: skip
    return wire.ConfigAnswer.model_validate(told | changes)


def urls(store: DeviceStore) -> list[str]:
    return [one.url for one in store.targets.everything()]


def named(url: str, number: int) -> dict[str, str]:
    return {"kind": "hub", "url": url, "server_id": fixed_id(number)}


def test_what_an_enrolment_leaves(store: DeviceStore) -> None:
    """The address that was enrolled at, and those that the clinic told, with what proves them."""
    found = {one.url: (one.kind, one.source, one.state) for one in store.targets.everything()}
    assert found == {HUB: ("hub", "typed", "unknown"), CLOUD: ("cloud", "config", "unknown")}
    assert (store.targets.trust().hub_cas, store.targets.trust().cloud_cas) == ("CA\n", None)


def test_the_configuration_says_who_is_there(store: DeviceStore) -> None:
    """A hub that took another's place at its address is expected there; who is named no longer is forgotten."""
    store.configure(
        config(targets=[named(OTHER, 1)], routing={"admin": ["cloud"]}, ca_certificates=["NEW"]), LOG
    )
    store.targets.answered(Told(OTHER, "hub", fixed_id(1), "config"), 0.01)
    store.configure(config(targets=[named(OTHER, 2)]), LOG)
    other = next(one for one in store.targets.everything() if one.url == OTHER)
    assert (other.server_id, other.state, other.rtt_ms) == (fixed_id(2), "unknown", 10.0)
    assert (store.targets.trust().hub_cas, store.identity().ca_pem) == ("NEW\n", "NEW\n")
    store.configure(config(), LOG)
    assert urls(store) == [HUB]


def test_what_was_heard_and_met_stays(store: DeviceStore) -> None:
    """An address that came by the LAN is not the configuration's to forget."""
    store.targets.told([Told(OTHER, "hub", fixed_id(1), "mdns")])
    store.targets.answered(Told(OTHER, "hub", fixed_id(1), "config"), None)
    store.configure(config(), LOG)
    assert OTHER in urls(store)


def test_one_is_current(store: DeviceStore) -> None:
    """The device is at one address at a time, or at none; failures and answers follow each other."""
    store.targets.go_to(HUB, 0.0123)
    store.targets.go_to(CLOUD)
    [first, second] = store.targets.everything()
    assert (first.url, first.is_current, second.is_current) == (CLOUD, True, False)
    assert second.rtt_ms == 12.3
    store.targets.go_to(None)
    store.targets.failed(HUB, "no answer")
    store.targets.failed(CLOUD, "another CA", "untrusted")
    states = {one.url: (one.state, one.why, one.is_current) for one in store.targets.everything()}
    assert states == {HUB: ("down", "no answer", False), CLOUD: ("refused", "another CA", False)}


def test_it_is_bounded(store: DeviceStore) -> None:
    """Of many addresses those that answered last stay, and what was typed."""
    store.targets.answered(Told(OTHER, "hub", fixed_id(1), "mdns"), None)
    for number in range(TARGETS_MAX * 2):
        store.targets.told([Told(f"https://10.0.0.{number}:8443", "hub", fixed_id(number), "mdns")])
    assert len(urls(store)) == TARGETS_MAX + 1
    assert {HUB, OTHER} <= set(urls(store))
