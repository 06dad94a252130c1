"""Single records of mDNS, which the library below has no calls for: who answers for a host name, and who no longer does.

It loads that library: import this late.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable
from typing import Final

from zeroconf import (
    DNSAddress,
    DNSOutgoing,
    DNSQuestion,
    RecordUpdate,
    RecordUpdateListener,
    Zeroconf,
    current_time_millis,
)

# RFC 1035, RFC 6762: the record types, the class of the internet, "answer me alone", and the kinds of message
_A: Final = 1
_AAAA: Final = 28
_INTERNET: Final = 1
_TO_ME_ALONE: Final = 0x8000
_QUERY: Final = 0x0000
_RESPONSE: Final = 0x8400


def ask_addresses(zeroconf: Zeroconf, host: str) -> None:
    """Ask everybody who is called so."""
    out = DNSOutgoing(_QUERY)
    for kind in (_A, _AAAA):
        out.add_question(DNSQuestion(host + ".", kind, _INTERNET | _TO_ME_ALONE))
    zeroconf.async_send(out)


def addresses_in_cache(zeroconf: Zeroconf, host: str) -> set[str]:
    """What has been answered for a host name and still holds."""
    now = current_time_millis()
    return {
        _text(record)
        for record in zeroconf.cache.async_entries_with_name(host + ".")
        if isinstance(record, DNSAddress) and not record.is_expired(now)
    }


def say_goodbye(zeroconf: Zeroconf, host: str, addresses: Iterable[str]) -> None:
    """The host of that name has these addresses no longer."""
    out = DNSOutgoing(_RESPONSE)
    for text in addresses:
        packed = ipaddress.ip_address(text).packed
        kind = _A if len(packed) == 4 else _AAAA
        # without the bit that would have every other address of that name forgotten too
        out.add_answer_at_time(DNSAddress(host + ".", kind, _INTERNET, 0, packed), 0)
    zeroconf.async_send(out)


def _text(record: DNSAddress) -> str:
    return str(ipaddress.ip_address(record.address))


class AddressListener(RecordUpdateListener):
    """Calls back when addresses of any host were heard, or are over."""

    def __init__(self, heard: Callable[[], None]) -> None:
        self._heard: Final = heard

    def async_update_records(self, zc: Zeroconf, now: float, records: list[RecordUpdate]) -> None:  # noqa: ARG002  the library's
        if any(isinstance(update.new, DNSAddress) for update in records):
            self._heard()
