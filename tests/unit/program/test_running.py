"""What a server's program binds."""

import socket
from pathlib import Path

import pytest

from medxz.program.running import bound_socket, local_url
from medxz.program.settings import ServerSettings


class Settings(ServerSettings):
    """A server's, of no program in particular."""


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("host", [None, "::"])
def test_every_interface_is_both_families(tmp_path: Path, host: str | None, address: str) -> None:
    """A server that was told no address, or every one, is met by IPv4 and by IPv6 on one port."""
    with bound_socket(Settings(data=tmp_path, host=host, port=0)) as bound:
        bound.listen()
        with socket.create_connection((address, bound.getsockname()[1]), timeout=5):
            pass


@pytest.mark.parametrize(
    ("host", "url"),
    [(None, "https://127.0.0.1:"), ("::", "https://127.0.0.1:"), ("::1", "https://[::1]:"), ("127.0.0.2", "https://127.0.0.2:")],
)  # fmt: skip
def test_where_this_machine_finds_it(tmp_path: Path, host: str | None, url: str) -> None:
    """The address that is told for this machine is one that can be asked here."""
    settings = Settings(data=tmp_path, host=host, port=0)
    with bound_socket(settings) as bound:
        assert local_url(settings, bound) == f"{url}{bound.getsockname()[1]}"


def test_a_single_address_is_served_alone(tmp_path: Path) -> None:
    """An IPv6 address that was given is served, and nothing beside it."""
    with bound_socket(Settings(data=tmp_path, host="::1", port=0)) as bound:
        bound.listen()
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(("127.0.0.1", bound.getsockname()[1]), timeout=5)
