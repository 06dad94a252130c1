"""Certificates of one's own CA, proved by real handshakes on loopback."""

import hashlib
import ssl
import subprocess
from datetime import timedelta

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from medxz.clock import SystemClock
from medxz.ids import RandomIds
from medxz.trust import certificates
from medxz.trust.certificates import Credential
from medxz.trust.clinic_ca import make_clinic_root
from tests.unit.trust.handshakes import serving, shake_hands

NOW_MS = SystemClock().now_ms()
SERVER_ID = RandomIds().uuid7()
ROOT = certificates.make_root(SERVER_ID, NOW_MS)
CLINIC_ROOT = make_clinic_root(RandomIds().uuid7(), NOW_MS)
SERVER = certificates.issue_server(ROOT, SERVER_ID, NOW_MS, names=["clinic-pi"], addresses=["192.168.7.9"])
DAY_MS = 86_400_000


def test_our_client_and_our_server_speak_tls_1_3() -> None:
    """A client of the right root and server id shakes hands by TLS 1.3, though it dialled an address."""
    with serving(certificates.server_context(SERVER)) as port:
        context = certificates.client_context(ROOT.certificate_pem, SERVER_ID)
        assert shake_hands(port, context, "127.0.0.1") == "TLSv1.3"


async def test_an_http_client_is_held_to_the_server_id() -> None:
    """httpx, which gives the address as the name, is held to the server's id all the same."""
    other, server = RandomIds().uuid7(), certificates.issue_server(CLINIC_ROOT, SERVER_ID, NOW_MS)
    with serving(certificates.server_context(server)) as port:
        right = certificates.client_context(CLINIC_ROOT.certificate_pem, SERVER_ID)
        async with httpx.AsyncClient(verify=right, trust_env=False) as client:
            assert (await client.get(f"https://127.0.0.1:{port}/")).text == "ok"
        wrong = certificates.client_context(CLINIC_ROOT.certificate_pem, other)
        async with httpx.AsyncClient(verify=wrong, trust_env=False) as client:
            with pytest.raises(httpx.ConnectError, match="Hostname mismatch"):
                await client.get(f"https://127.0.0.1:{port}/")


def test_tls_1_2_is_refused_by_the_server() -> None:
    """A client that can't do better than TLS 1.2 gets no connection."""
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.load_verify_locations(cadata=ROOT.certificate_pem.decode())
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with serving(certificates.server_context(SERVER)) as port, pytest.raises((ssl.SSLError, OSError)):
        shake_hands(port, old, "localhost")


def test_tls_1_2_is_refused_by_the_client() -> None:
    """A server that can't do better than TLS 1.2 gets no byte."""
    old = certificates.server_context(SERVER)
    old.minimum_version = ssl.TLSVersion.TLSv1_2
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    context = certificates.client_context(ROOT.certificate_pem, SERVER_ID)
    with serving(old) as port, pytest.raises(ssl.SSLError):
        shake_hands(port, context)


def test_another_ca_is_refused() -> None:
    """A look-alike with its own root and our server's name is refused."""
    false_root = certificates.make_root(SERVER_ID, NOW_MS)
    false_server = certificates.issue_server(false_root, SERVER_ID, NOW_MS)
    context = certificates.client_context(ROOT.certificate_pem, SERVER_ID)
    served = certificates.server_context(false_server)
    with serving(served) as port, pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(port, context)


def test_another_server_of_the_same_ca_is_refused() -> None:
    """A server whom the same root names otherwise is refused, even at an address and a name that it does carry."""
    context = certificates.client_context(CLINIC_ROOT.certificate_pem, RandomIds().uuid7())
    server = certificates.issue_server(CLINIC_ROOT, SERVER_ID, NOW_MS)
    with serving(certificates.server_context(server)) as port:
        for name in (None, "127.0.0.1", "localhost", certificates.server_name(SERVER_ID)):
            with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
                shake_hands(port, context, name)


@pytest.mark.parametrize("name", ["medxz.local", "localhost", "clinic-pi", "192.168.7.9", "127.0.0.1", "::1"])
def test_a_browser_finds_the_name_it_dialled(name: str) -> None:
    """An ordinary client with the root installed takes every name and address that was given."""
    browser = ssl.create_default_context(cadata=ROOT.certificate_pem.decode())
    browser.verify_flags |= ssl.VERIFY_X509_STRICT
    with serving(certificates.server_context(SERVER)) as port:
        assert shake_hands(port, browser, name) == "TLSv1.3"


def test_a_new_certificate_is_served_without_a_restart() -> None:
    """A context that is given a new credential serves it to the next connection."""
    served = certificates.server_context(SERVER)
    moved = certificates.make_root(SERVER_ID, NOW_MS)
    context = certificates.client_context(moved.certificate_pem, SERVER_ID)
    with serving(served) as port:
        certificates.load_credential(served, certificates.issue_server(moved, SERVER_ID, NOW_MS))
        assert shake_hands(port, context) == "TLSv1.3"


def test_the_fingerprint_is_of_the_root_s_key() -> None:
    """The fingerprint is SHA-256 over the DER SubjectPublicKeyInfo, as any other tool computes it."""
    spki = ROOT.certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert certificates.ca_fingerprint(ROOT.certificate) == hashlib.sha256(spki).hexdigest()
    key = subprocess.run(
        ["openssl", "x509", "-pubkey", "-noout"], input=ROOT.certificate_pem, check=True, capture_output=True
    ).stdout
    der = subprocess.run(
        ["openssl", "pkey", "-pubin", "-outform", "DER"], input=key, check=True, capture_output=True
    ).stdout
    assert certificates.ca_fingerprint(ROOT.certificate) == hashlib.sha256(der).hexdigest()


def test_what_people_compare() -> None:
    """Sixteen characters from the fingerprint's beginning, in groups that can be read out."""
    assert certificates.to_compare("0123456789abcdef" * 4) == "0123 4567 89ab cdef"


def test_the_root_is_sent_along() -> None:
    """A client that has only the root's fingerprint gets the root itself in the handshake."""
    with serving(certificates.server_context(SERVER)) as port:
        shown = subprocess.run(
            ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-showcerts"],
            input=b"", check=False, capture_output=True,
        ).stdout  # fmt: skip
    sent = [
        certificates.ca_fingerprint(certificate) for certificate in x509.load_pem_x509_certificates(shown)
    ]
    assert sent[1:] == [certificates.ca_fingerprint(ROOT.certificate)]


def test_lives_and_powers() -> None:
    """The root lasts ten years and makes no other CA; the server's certificate lasts 398 days and signs none."""
    root, server = ROOT.certificate, SERVER.certificate
    assert root.not_valid_after_utc - root.not_valid_before_utc == certificates.ROOT_LIFE
    assert root.not_valid_after_utc.year - root.not_valid_before_utc.year == 10
    assert server.not_valid_after_utc - server.not_valid_before_utc == timedelta(days=398)
    powers = root.extensions.get_extension_for_class(x509.BasicConstraints).value
    assert (powers.ca, powers.path_length) == (True, 0)
    assert not server.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    for certificate in (root, server):
        key = certificate.public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)
        assert isinstance(key.curve, ec.SECP256R1)
    server.verify_directly_issued_by(root)


def test_renewal_at_two_thirds() -> None:
    """A certificate is renewed once two thirds of its life are over, not before."""
    begins_ms = int(SERVER.certificate.not_valid_before_utc.timestamp() * 1_000)
    due_ms = begins_ms + 398 * DAY_MS * 2 // 3
    assert not certificates.needs_renewal(SERVER.certificate, NOW_MS)
    assert not certificates.needs_renewal(SERVER.certificate, due_ms - 1_000)
    assert certificates.needs_renewal(SERVER.certificate, due_ms)
    assert certificates.needs_renewal(SERVER.certificate, due_ms + 999 * DAY_MS)


def test_covers_tells_a_move() -> None:
    """A certificate covers the names and addresses that it was made for, and no others."""
    covers = certificates.covers
    assert covers(SERVER.certificate, SERVER_ID, names=["Clinic-Pi"], addresses=["192.168.7.9"])
    assert not covers(SERVER.certificate, SERVER_ID, addresses=["192.168.7.10"])
    assert not covers(SERVER.certificate, RandomIds().uuid7())


def test_a_credential_does_not_print_its_key() -> None:
    """The text of a credential, as a log might show it, has no key in it."""
    assert "KEY" not in repr(SERVER)
    assert SERVER_ID in repr(SERVER)
    assert isinstance(SERVER, Credential)
