"""mDNS as it arrives: the bytes of a packet through the library's parser, as the browser takes them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, Final
from urllib.parse import urlsplit

from zeroconf import DNSAddress, DNSCache, DNSIncoming, DNSOutgoing, DNSPointer, DNSService, DNSText

from medxz.lan.announcement import SERVICE, Announcement, from_txt, instance_name, to_txt, urls
from medxz.lan.browsing import Browser
from tests.fuzz.surface import Surface, holds
from tests.making import fixed_id

SERVER: Final = fixed_id(0x51)
NAME: Final = f"{instance_name(SERVER)}.{SERVICE}"
_IN, _RESPONSE = 1, 0x8400
_PTR, _TXT, _SRV, _A, _AAAA = 12, 16, 33, 1, 28


@cache
def packet_seeds() -> Sequence[bytes]:
    announced = Announcement(SERVER, fixed_id(5), "ab" * 32, 8443, True, "medxz.local", ())
    txt = {name: value.encode() for name, value in to_txt(announced).items()}
    found = []
    for change in ({}, {"v": b"2"}, {"id": b"\xff"}, {"tls": b"0"}, {"path": b""}, {"fp": b"x" * 200}):
        told = b"".join(
            bytes([len(one)]) + one
            for one in (f"{name}=".encode() + value for name, value in (txt | change).items())
        )
        out = DNSOutgoing(_RESPONSE)
        for record in (
            DNSPointer(SERVICE, _PTR, _IN, 120, NAME),
            DNSService(NAME, _SRV, _IN, 120, 0, 0, 8443, "medxz.local."),
            DNSText(NAME, _TXT, _IN, 120, told),
            DNSAddress("medxz.local.", _A, _IN, 120, bytes((192, 168, 1, 5))),
            DNSAddress("medxz.local.", _AAAA, _IN, 120, bytes.fromhex("fe80" + "0" * 27 + "1"), scope_id=2),
        ):
            out.add_answer_at_time(record, 0)
        found += out.packets()
    return found


class Heard:
    """What the browser asks of the library's own: its cache, with what a packet told."""

    def __init__(self, records: Sequence[Any]) -> None:
        self.cache, self.started = DNSCache(), True
        self.cache.async_add_records(records)


def take_packet(data: bytes) -> str:
    """A lawful announcement, or nobody is heard; a name, a text or an address of anybody breaks nothing."""
    incoming = DNSIncoming(data)
    if not incoming.valid:
        return "no packet"
    records = incoming.answers()
    names = [record.alias for record in records if isinstance(record, DNSPointer) and record.name == SERVICE]
    heard: Any = Heard([record for record in records if not isinstance(record, DNSPointer)])
    browser = Browser()
    for name in names:
        _resolve(browser, heard, name)
    for announced in browser.found().values():
        txt: dict[bytes, bytes | None] = {
            name.encode(): value.encode() for name, value in to_txt(announced).items()
        }
        again = from_txt(txt, host=announced.host, port=announced.port, addresses=announced.addresses)
        holds("an announcement round-trips", again == announced, announced)
        for url in urls(announced):
            parts = urlsplit(url)
            holds("where it can be asked is an address", parts.hostname and parts.port == announced.port, url)
            holds(
                "never without TLS elsewhere", parts.scheme == "https" or "127." in url or "[::1]" in url, url
            )
        return f"heard {len(announced.addresses)} {announced.is_tls}"
    return f"nobody {len(records) > 0} {len(names) > 0}"


def _resolve(browser: Browser, heard: Any, name: str) -> None:
    """As the browser does; where the cache has not all of it, the library would ask the LAN for the rest."""
    resolving = browser._resolve(heard, name)
    try:
        resolving.send(None)
    except StopIteration:
        return
    except AttributeError as error:  # it would ask
        holds("the library asks for what lacks", "loop" in str(error) or "Heard" in str(error), error)
    finally:
        resolving.close()


SURFACES: Final = (
    Surface(
        "mdns",
        "zeroconf's records, Browser, from_txt",
        take_packet,
        packet_seeds,
        is_json=False,
        bytes_max=1_500,
    ),
)
