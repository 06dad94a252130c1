"""Who is a neighbour and where it may be met: the directory says the one, and what is heard only helps with the other."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hub.neighbours.finding import NEIGHBOURS_MAX, URLS_MAX, neighbours_of
from medxz.lan.announcement import Announcement
from medxz.store.directory import Directory, HubEntry
from tests.making import fixed_id

OWN, OTHER, THIRD = fixed_id(0xA1), fixed_id(0xA2), fixed_id(0xA3)
SITE, ELSEWHERE = fixed_id(0x51), fixed_id(0x52)
OURS = "0" * 64


def hub(hub_id: str, **changes: object) -> HubEntry:
    entry = HubEntry(hub_id, SITE, "box", b"PEM", url=f"https://10.0.0.{int(hub_id[-2:], 16)}:8443")
    return replace(entry, **changes)  # type: ignore[arg-type]


def directory(*hubs: HubEntry) -> Directory:
    return Directory(hubs={entry.hub_id: entry for entry in hubs})


def heard(server_id: str, *addresses: str, fingerprint: str = OURS, is_tls: bool = True) -> Announcement:
    return Announcement(server_id, SITE, fingerprint, 8443, is_tls, "medxz.local", addresses)


def found(known: Directory, *announced: Announcement) -> dict[str, tuple[str, ...]]:
    return neighbours_of(OWN, SITE, known, announced, {OURS})


def test_the_directory_says_who_is_one() -> None:
    """The hubs of this site that were not revoked, and not this one itself; whatever is announced."""
    known = directory(hub(OWN), hub(OTHER), hub(THIRD, site_id=ELSEWHERE), hub(fixed_id(0xA4), revoked=True))
    stranger = fixed_id(0xB1)
    announced = [heard(each, "10.0.0.9") for each in (OWN, THIRD, fixed_id(0xA4), stranger)]
    assert found(known, *announced) == {OTHER: ("https://10.0.0.162:8443",)}


def test_a_hub_that_was_revoked_has_none() -> None:
    """Once it has heard of it itself, it looks for nobody."""
    assert found(directory(hub(OWN, revoked=True), hub(OTHER))) == {}


def test_what_is_heard_comes_before_what_was_written_down() -> None:
    """An address of now first, then the cloud's, which is met across routers; each once."""
    announced = heard(OTHER, "10.0.0.7", "fd00::7"), heard(OTHER, "10.0.0.162")
    assert found(directory(hub(OTHER)), *announced) == {
        OTHER: ("https://10.0.0.7:8443", "https://[fd00::7]:8443", "https://10.0.0.162:8443")
    }


def test_a_look_alike_is_not_even_asked() -> None:
    """An announcement in a neighbour's name, of another CA, gives no address; a flood of them takes no place away."""
    known = directory(hub(OTHER))
    assert found(known, heard(OTHER, "10.0.0.66", fingerprint="f" * 64)) == found(known)
    flood = [heard(OTHER, *(f"10.0.{n}.{m}" for m in range(1, 8))) for n in range(40)]
    [urls] = found(known, *flood).values()
    assert len(urls) == URLS_MAX
    assert urls[-1] == "https://10.0.0.162:8443"


@pytest.mark.parametrize(
    "url", ["http://10.0.0.7:8443", "ftp://10.0.0.7", "https://", "https://x:99999", None]
)
def test_nobody_is_asked_without_tls(url: str | None) -> None:
    """An address that is none, or that has no TLS on another machine, is left alone; on this one it will do."""
    assert found(directory(hub(OTHER, url=url))) == {OTHER: ()}
    assert found(directory(hub(OTHER, url="http://127.0.0.1:80"))) == {OTHER: ("http://127.0.0.1:80",)}


def test_there_are_only_so_many() -> None:
    """Each hub of a large site takes the same ones, through whom everything comes round."""
    known = directory(*(hub(fixed_id(number)) for number in range(1, 30)))
    assert list(found(known)) == [fixed_id(number) for number in range(1, NEIGHBOURS_MAX + 1)]
