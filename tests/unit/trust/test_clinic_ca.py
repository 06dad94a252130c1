"""A clinic's CA: what it signs, what it refuses to, and real handshakes with the chains that it makes."""

import ipaddress
import ssl
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from medxz.clock import SystemClock
from medxz.errors import Invalid
from medxz.ids import RandomIds
from medxz.trust import certificates
from medxz.trust.certificates import Credential, key_text, needs_renewal, server_name
from medxz.trust.clinic_ca import (
    is_local_name,
    issue_requested,
    make_clinic_root,
    make_intermediate,
    make_request,
    read_request,
    verify_chain,
)
from tests.unit.trust.handshakes import serving, shake_hands

DAY_MS = 86_400_000
NOW_MS = SystemClock().now_ms()
CLINIC = RandomIds().uuid7()
HUB = RandomIds().uuid7()
ROOT = make_clinic_root(CLINIC, NOW_MS)
WORKING = make_intermediate(ROOT, CLINIC, NOW_MS)
KEY = ec.generate_private_key(ec.SECP256R1())
REQUEST = make_request(key_text(KEY), HUB, names=["clinic-pi"], addresses=["192.168.7.9", "fd00::9"])
CHAIN = issue_requested(WORKING, read_request(REQUEST), NOW_MS)
CREDENTIAL = Credential(CHAIN, key_text(KEY))


def certs(pem: bytes) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates(pem)


def request_for(*names: x509.GeneralName, key: object = KEY, **extensions: x509.ExtensionType) -> str:
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    for extension in extensions.values():
        builder = builder.add_extension(extension, critical=True)
    digest = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(key, digest).public_bytes(Encoding.PEM).decode()  # type: ignore[arg-type]


OWN = x509.DNSName(server_name(HUB))


def test_a_device_shakes_hands_with_a_hub_of_the_clinic() -> None:
    """A client that trusts the clinic's root takes a chain of leaf and intermediate, by TLS 1.3."""
    with serving(certificates.server_context(CREDENTIAL)) as port:
        context = certificates.client_context(ROOT.certificate_pem, HUB)
        assert shake_hands(port, context, "127.0.0.1") == "TLSv1.3"


def test_a_browser_finds_the_name_it_dialled() -> None:
    """An ordinary client with the root installed takes every name and address that the hub asked for."""
    browser = ssl.create_default_context(cadata=ROOT.certificate_pem.decode())
    browser.verify_flags |= ssl.VERIFY_X509_STRICT
    with serving(certificates.server_context(CREDENTIAL)) as port:
        for name in ("medxz.local", "localhost", "clinic-pi", "192.168.7.9", "fd00::9"):
            assert shake_hands(port, browser, name) == "TLSv1.3"


def test_an_adopted_root_stays_a_trust_anchor() -> None:
    """With both roots in hand a client takes a hub's old certificate and its new one."""
    alone = certificates.make_root(HUB, NOW_MS)
    old = certificates.issue_server(alone, HUB, NOW_MS)
    context = certificates.client_context(alone.certificate_pem + ROOT.certificate_pem, HUB)
    for credential in (old, CREDENTIAL):
        with serving(certificates.server_context(credential)) as port:
            assert shake_hands(port, context) == "TLSv1.3"


def test_an_adopted_root_proves_its_own_hub_alone() -> None:
    """A certificate in a neighbour's name, by the CA of a hub that began alone, is taken neither by TLS nor for tokens."""
    thief, roots = certificates.make_root(RandomIds().uuid7(), NOW_MS), [ROOT.certificate]
    forged = certificates.issue_server(thief, HUB, NOW_MS)
    context = certificates.client_context(thief.certificate_pem + ROOT.certificate_pem, HUB)
    with serving(certificates.server_context(forged)) as port, pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(port, context)
    with pytest.raises(ValueError, match="does not hold"):
        verify_chain([forged.certificate], [*roots, thief.certificate], HUB, NOW_MS)
    with pytest.raises(ValueError, match="stands for"):
        verify_chain([forged.certificate], [thief.certificate], HUB, NOW_MS)


def test_another_clinic_s_hub_is_refused() -> None:
    """A hub of another clinic, with the same id in its certificate, gets no byte."""
    other_root = make_clinic_root(RandomIds().uuid7(), NOW_MS)
    other = make_intermediate(other_root, CLINIC, NOW_MS)
    chain = issue_requested(other, read_request(REQUEST), NOW_MS)
    context = certificates.client_context(ROOT.certificate_pem, HUB)
    served = certificates.server_context(Credential(chain, key_text(KEY)))
    with serving(served) as port, pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(port, context)


def test_a_hub_can_make_no_certificates() -> None:
    """A certificate that a hub signed with its own, as if it were a CA, is taken neither by TLS nor by verify_chain."""
    other = RandomIds().uuid7()
    asked = read_request(make_request(key_text(KEY), other))
    forged = issue_requested(Credential(CHAIN, key_text(KEY)), asked, NOW_MS)
    served = certificates.server_context(Credential(forged, key_text(KEY)))
    with serving(served) as port, pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(port, certificates.client_context(ROOT.certificate_pem, other))
    with pytest.raises(ValueError, match="does not hold"):
        verify_chain(certs(forged), [ROOT.certificate], other, NOW_MS)


def test_powers_and_lives() -> None:
    """The root makes intermediates, those make no CA, and each ends before what signed it does."""
    root, working, leaf = ROOT.certificate, WORKING.certificate, certs(CHAIN)[0]
    limits = [
        certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
        for certificate in (root, working, leaf)
    ]
    assert [(limit.ca, limit.path_length) for limit in limits] == [(True, 1), (True, 0), (False, None)]
    assert leaf.not_valid_after_utc <= working.not_valid_after_utc <= root.not_valid_after_utc
    usage = leaf.extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.digital_signature
    assert not usage.key_cert_sign
    served = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(served) == [ExtendedKeyUsageOID.SERVER_AUTH]
    late_ms = NOW_MS + 1_826 * DAY_MS - 30 * DAY_MS
    late = certs(issue_requested(WORKING, read_request(REQUEST), late_ms))[0]
    assert late.not_valid_after_utc == working.not_valid_after_utc
    assert leaf.not_valid_after_utc - leaf.not_valid_before_utc == timedelta(days=398)


def test_the_certificate_names_what_was_asked_for() -> None:
    """A leaf carries exactly the names of the request, and its renewal is due at two thirds of its life."""
    leaf = certs(CHAIN)[0]
    asked = x509.load_pem_x509_csr(REQUEST.encode())
    held = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert held == asked.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert certificates.covers(leaf, HUB, names=["clinic-pi"], addresses=["192.168.7.9", "fd00::9"])
    due_ms = int(leaf.not_valid_before_utc.timestamp()) * 1_000 + 398 * DAY_MS * 2 // 3
    assert not needs_renewal(leaf, due_ms - 1_000)
    assert needs_renewal(leaf, due_ms)


def test_the_intermediate_works_without_the_root(tmp_path: Path) -> None:
    """With the root's key away the intermediate signs on; with it back it is renewed, and old leaves stay good."""
    safe = tmp_path / "root.pem"
    safe.write_bytes(ROOT.key_pem)
    here = Credential(ROOT.certificate_pem, b"")
    assert certs(issue_requested(WORKING, read_request(REQUEST), NOW_MS))
    with pytest.raises(ValueError, match="PEM"):
        make_intermediate(here, CLINIC, NOW_MS)
    renewed = make_intermediate(Credential(ROOT.certificate_pem, safe.read_bytes()), CLINIC, NOW_MS + DAY_MS)
    newer = issue_requested(renewed, read_request(REQUEST), NOW_MS)
    for chain in (CHAIN, newer):
        assert verify_chain(certs(chain), [ROOT.certificate], HUB, NOW_MS) == KEY.public_key()
    assert renewed.certificate.subject != WORKING.certificate.subject


@pytest.mark.parametrize(
    ("csr", "why"),
    [
        ("", "not a certificate request"),
        ("-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n", "not a certificate"),
        (ROOT.certificate_pem.decode(), "not a certificate request"),
        ("x" * 20_000, "longer"),
        (request_for(), "names no server"),
        (request_for(x509.DNSName("clinic-pi")), "must name one server"),
        (request_for(OWN, x509.DNSName(server_name(CLINIC))), "must name one server"),
        (request_for(OWN, x509.DNSName("bank.example.com")), "not a name of a LAN"),
        (request_for(OWN, x509.DNSName("*.local")), "not a name of a LAN"),
        (request_for(OWN, x509.DNSName("*")), "not a name of a LAN"),
        (request_for(OWN, x509.DNSName(f"x.{server_name(HUB)}")), "not a name of a LAN"),
        (request_for(OWN, x509.DNSName("com.")), "not a name of a LAN"),
        (request_for(OWN, x509.DNSName(server_name(HUB).upper())), "not a name of a LAN"),
        (request_for(OWN, x509.UniformResourceIdentifier("https://x.local/")), "neither a name nor"),
        (request_for(OWN, x509.DirectoryName(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x")]))), "neither"),
        (request_for(OWN, *(x509.DNSName(f"a{n}") for n in range(64))), "more than 64"),
        (request_for(OWN, key=ec.generate_private_key(ec.SECP384R1())), "not a P-256 key"),
        (request_for(OWN, key=ed25519.Ed25519PrivateKey.generate()), "not a P-256 key"),
    ],
)  # fmt: skip
def test_a_request_that_is_refused(csr: str, why: str) -> None:
    """What no hub may have is refused as an invalid `csr`, whoever asks."""
    with pytest.raises(Invalid, match=why) as refusal:
        read_request(csr)
    assert refusal.value.field == "csr"


def test_a_network_is_no_address() -> None:
    """A request for a whole network, for a multicast address or for no address at all is refused."""
    for odd in ("10.0.0.0/8", "::/0"):
        with pytest.raises(Invalid, match="no machine has"):
            read_request(request_for(OWN, x509.IPAddress(ipaddress.ip_network(odd))))
    for odd in ("0.0.0.0", "224.0.0.251", "ff02::fb"):
        with pytest.raises(Invalid, match="no machine has"):
            read_request(request_for(OWN, x509.IPAddress(ipaddress.ip_address(odd))))


def test_the_sender_must_hold_the_key() -> None:
    """A request whose signature another key made is refused."""
    der = bytearray(x509.load_pem_x509_csr(REQUEST.encode()).public_bytes(Encoding.DER))
    der[-1] ^= 1
    broken = x509.load_der_x509_csr(bytes(der)).public_bytes(Encoding.PEM).decode()
    with pytest.raises(Invalid, match="not signed with the key"):
        read_request(broken)


def test_powers_that_are_asked_for_are_not_given() -> None:
    """A request to be a CA gets the certificate of an ordinary server."""
    asked = request_for(OWN, ca=x509.BasicConstraints(ca=True, path_length=None))
    leaf = certs(issue_requested(WORKING, read_request(asked), NOW_MS))[0]
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def test_a_hub_asks_for_lan_names_alone() -> None:
    """A request leaves out names of the machine that its CA would refuse."""
    asked = read_request(make_request(key_text(KEY), HUB, names=["pi.example.org", "pi", "pi.lan"]))
    names = {name.value for name in asked.named if isinstance(name, x509.DNSName)}
    assert names == {server_name(HUB), "medxz.local", "localhost", "pi", "pi.lan"}
    assert is_local_name("pi.home.arpa")
    assert not is_local_name("pi.localx")


def test_a_chain_holds_for_its_time_and_its_server() -> None:
    """A chain that has ended, has not begun, names another server or lacks its intermediate proves nothing."""
    roots = [ROOT.certificate]
    assert verify_chain(certs(CHAIN), roots, HUB, NOW_MS) == KEY.public_key()
    for chain, server, at_ms in (
        (certs(CHAIN), HUB, NOW_MS + 399 * DAY_MS),
        (certs(CHAIN), HUB, NOW_MS - 2 * DAY_MS),
        (certs(CHAIN), CLINIC, NOW_MS),
        (certs(CHAIN)[:1], HUB, NOW_MS),
    ):
        with pytest.raises(ValueError, match="does not hold"):
            verify_chain(chain, roots, server, at_ms)
