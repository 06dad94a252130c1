"""What a hub announces, as text and back."""

from collections.abc import Mapping

import pytest

from medxz import limits
from medxz.lan.announcement import Announcement, from_txt, instance_name, to_txt, urls

SERVER = "0197a2b4-5c6d-7e8f-9a0b-1c2d3e4f5a6b"
SITE = "0197a2b4-5c6d-7e8f-9a0b-000000000001"
FINGERPRINT = "ab" * 32
TXT: Mapping[bytes, bytes | None] = {
    b"v": b"1", b"id": SERVER.encode(), b"site": SITE.encode(), b"tls": b"1", b"fp": FINGERPRINT.encode(), b"path": b"/v1",
}  # fmt: skip


def read(
    changed: Mapping[bytes, bytes | None] | None = None,
    *,
    host: str = "medxz.local.",
    port: int = 8443,
    addresses: tuple[str, ...] = ("192.168.1.5",),
) -> Announcement:
    return from_txt({**TXT, **(changed or {})}, host=host, port=port, addresses=addresses)


def test_an_instance_is_called_after_the_end_of_its_id() -> None:
    """The name of the DNS-SD instance ends in the last eight characters of the server_id."""
    assert instance_name(SERVER) == "medxz-3e4f5a6b"


def test_what_is_written_is_read() -> None:
    """An announcement comes back out of its TXT record and the records beside it."""
    written = Announcement(SERVER, SITE, FINGERPRINT, 8443, True, "medxz-2.local", ("192.168.1.5",))
    txt: dict[bytes, bytes | None] = {
        name.encode(): value.encode() for name, value in to_txt(written).items()
    }
    assert txt == TXT
    assert from_txt(txt, host="medxz-2.local.", port=8443, addresses=("192.168.1.5",)) == written


@pytest.mark.parametrize(
    "changed",
    [
        {b"v": b"2"},
        {b"v": None},
        {b"id": b"somebody"},
        {b"id": SERVER.upper().encode()},
        {b"site": b""},
        {b"tls": b"yes"},
        {b"fp": b"ab"},
        {b"fp": b"AB" * 32},
        {b"path": b"/v1/../../x"},
        {b"id": b"\xff\xfe"},
    ],
)
def test_an_unlawful_record_is_refused(changed: Mapping[bytes, bytes | None]) -> None:
    """A TXT record that says anything but what the protocol has is a ValueError, whoever wrote it."""
    with pytest.raises(ValueError, match=r"."):
        read(changed)


def test_what_stands_beside_the_record_is_checked_too() -> None:
    """No port, no name of a host, no address or too many of them: a ValueError."""
    many = tuple(f"10.0.0.{number}" for number in range(limits.ANNOUNCED_ADDRESSES_MAX + 1))
    for unlawful in (
        lambda: read(port=0),
        lambda: read(host="not a host"),
        lambda: read(host="x" * 70 + ".local"),
        lambda: read(addresses=("nowhere",)),
        lambda: read(addresses=("fe80::1%a b",)),
        lambda: read(addresses=many),
    ):
        with pytest.raises(ValueError, match=r"."):
            unlawful()


def test_the_likeliest_address_is_asked_first() -> None:
    """IPv4 comes first, then IPv6, and what holds on one link alone last, with its interface."""
    found = read(addresses=("fe80::1%eth0", "169.254.7.7", "fd00::5", "192.168.1.5"))
    assert urls(found) == [
        "https://192.168.1.5:8443",
        "https://[fd00::5]:8443",
        "https://169.254.7.7:8443",
        "https://[fe80::1%eth0]:8443",
    ]


def test_without_tls_only_this_machine_is_asked() -> None:
    """An announcement without TLS leads to loopback or to nobody."""
    assert urls(read({b"tls": b"0"})) == []
    assert urls(read({b"tls": b"0"}, addresses=("127.0.0.1",))) == ["http://127.0.0.1:8443"]


def test_nobody_on_the_lan_sends_a_device_to_itself() -> None:
    """Beside addresses of another machine, one of this machine does not count; nor does a group or no address."""
    found = read(addresses=("127.0.0.1", "::1", "192.168.1.5", "224.0.0.251", "0.0.0.0"))
    assert found.addresses == ("192.168.1.5",)
