"""`medxz-hub renew`: what a running hub shows is renewed where that is due, and an operator's files are read anew."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from cryptography import x509

from tests.system.hub_process import HubProcess, answer, command

pytestmark = pytest.mark.slow


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[HubProcess]:
    process = HubProcess(tmp_path)
    yield process
    process.kill()


def shown(hub: HubProcess) -> str:
    """The certificate that whoever connects is shown."""
    return ssl.get_server_certificate(("127.0.0.1", int(hub.url.rpartition(":")[2])))


def issue(folder: Path, name: str) -> str:
    """Files of an operator's, as another tool brings them; the certificate."""
    made = trustme.CA().issue_cert(name, key_type=trustme.KeyType.ECDSA)
    made.private_key_pem.write_to_path(folder / "key.pem")
    made.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    return made.cert_chain_pems[0].bytes().decode()


def test_what_is_not_due_stays(hub: HubProcess) -> None:
    """A hub's own certificate of today is not made anew; the answer tells who made it and until when it is good."""
    hub.start()
    before = shown(hub)
    told = answer("renew", "--data", hub.data)
    ends = x509.load_pem_x509_certificate(before.encode()).not_valid_after_utc
    assert told == {"renewed": False, "by": "hub", "serves_until": ends.strftime("%Y-%m-%dT%H:%M:%S.000Z")}
    assert shown(hub) == before
    assert "is not due, by the hub's own CA" in command("renew", "--data", hub.data).stdout


def test_an_operators_new_files_are_shown_at_once(hub: HubProcess, tmp_path: Path) -> None:
    """Files that were replaced are shown after `renew`, without a restart; a pair that does not fit changes nothing."""
    first = issue(tmp_path, "one.clinic.example")
    hub.start("--tls-cert", tmp_path / "cert.pem", "--tls-key", tmp_path / "key.pem")
    assert shown(hub) == first
    assert answer("renew", "--data", hub.data)["renewed"] is False
    second = issue(tmp_path, "two.clinic.example")
    assert shown(hub) == first
    told = answer("renew", "--data", hub.data)
    assert (told["renewed"], told["by"]) == (True, "operator")
    assert shown(hub) == second
    (tmp_path / "cert.pem").write_text(first)
    refused = command("renew", "--data", hub.data, "--json")
    assert refused.returncode == 1
    assert "can't be served" in json.loads(refused.stderr)["message"]
    assert shown(hub) == second


def test_without_tls_and_without_a_hub(hub: HubProcess) -> None:
    """On loopback without TLS there is nothing to renew, which is no failure; a hub that does not run is told of."""
    stopped = command("renew", "--data", hub.data)
    assert stopped.returncode == 1
    assert "start it" in stopped.stderr
    hub.start("--plain-http")
    assert answer("renew", "--data", hub.data) == {"renewed": False, "by": None, "serves_until": None}
