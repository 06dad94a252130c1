"""Single records of mDNS, which the library below has no calls for: who answers for a host name, and that one is given up."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from zeroconf import DNSAddress, ServiceInfo, Zeroconf

# RFC 1035, RFC 6762: the record types, the class of the internet, "answer me alone", and the kinds of message
_A: Final = 1
_AAAA: Final = 28
_INTERNET: Final = 1
_TO_ME_ALONE: Final = 0x8000
_QUERY: Final = 0x0000
_RESPONSE: Final = 0x8400


def ask_addresses(zeroconf: Zeroconf, host: str) -> None:
    """Ask everybody who is called so."""
    from zeroconf import DNSOutgoing, DNSQuestion

    out = DNSOutgoing(_QUERY)
    for kind in (_A, _AAAA):
        out.add_question(DNSQuestion(host + ".", kind, _INTERNET | _TO_ME_ALONE))
    zeroconf.async_send(out)


def addresses_in_cache(zeroconf: Zeroconf, host: str) -> set[str]:
    """What has been answered for a host name and still holds."""
    from zeroconf import DNSAddress, current_time_millis

    now = current_time_millis()
    return {
        _text(record)
        for record in zeroconf.cache.async_entries_with_name(host + ".")
        if isinstance(record, DNSAddress) and not record.is_expired(now)
    }


def say_goodbye(zeroconf: Zeroconf, info: ServiceInfo) -> None:
    """The host is called so no longer."""
    from zeroconf import DNSAddress, DNSOutgoing

    out = DNSOutgoing(_RESPONSE)
    for record in info.get_address_and_nsec_records(override_ttl=0):
        if isinstance(record, DNSAddress):
            out.add_answer_at_time(record, 0)
    zeroconf.async_send(out)


def _text(record: DNSAddress) -> str:
    return str(ipaddress.ip_address(record.address))
