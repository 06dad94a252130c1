"""Certificates: a CA of a server's own making, what it signs, and the TLS contexts both ends use.

A client trusts exactly one set of roots and asks for one server by its id: the name `<server_id>.hub.medxz` is
checked in place of the address, because an address on a LAN belongs to whoever takes it. Refused here: anything
below TLS 1.3, a chain to another root, another server's name. Private keys are never written to a disk.
"""

from __future__ import annotations

import hashlib
import ipaddress
import os
import ssl
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

ROOT_LIFE: Final = timedelta(days=3_653)
SERVER_LIFE: Final = timedelta(days=398)
# a tablet whose clock is behind still takes a fresh certificate
_BACKDATED: Final = timedelta(days=1)
HUB_SUFFIX: Final = ".hub.medxz"
HUB_ROOT: Final = "medxz hub "
COMPARED_CHARS: Final = 16
_GROUP_CHARS: Final = 4
ALWAYS_NAMED: Final = ("medxz.local", "localhost")
ALWAYS_ADDRESSED: Final = ("127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class Credential:
    """A certificate and its private key, both PEM; the certificates that it is followed by are its chain."""

    certificate_pem: bytes
    key_pem: bytes

    @property
    def certificate(self) -> x509.Certificate:
        return x509.load_pem_x509_certificate(self.certificate_pem)

    def __repr__(self) -> str:
        return f"Credential({self.certificate.subject.rfc4514_string()})"


def server_name(server_id: str) -> str:
    """The name that a server's certificate must carry, whatever its address is."""
    return f"{server_id}{HUB_SUFFIX}"


def make_root(server_id: str, now_ms: int) -> Credential:
    """A new CA, for one server's own certificates: it can't make another CA."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = subject(f"{HUB_ROOT}{server_id}")
    builder = (
        begun(name, name, key.public_key(), now_ms, ROOT_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage(signs_certificates=True), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
    )
    return Credential(finished(builder, key_text(key)), key_text(key))


def root_of_hub(root: x509.Certificate) -> str | None:
    """The one server that a root stands for, where it is a hub's own; None for a clinic's, which stands for all."""
    names = root.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    text = str(names[0].value) if len(names) == 1 else ""
    return text.removeprefix(HUB_ROOT) if text.startswith(HUB_ROOT) else None


def stands_for(root: x509.Certificate, server_id: str) -> bool:
    """Whether this root may prove a server: the CA of a hub that began alone proves that hub and no other."""
    return root_of_hub(root) in {None, server_id}


def issue_server(
    root: Credential,
    server_id: str,
    now_ms: int,
    *,
    names: Iterable[str] = (),
    addresses: Iterable[str] = (),
    life: timedelta = SERVER_LIFE,
) -> Credential:
    """A server certificate with a key of its own. Names and addresses come besides those that always stand there."""
    key = ec.generate_private_key(ec.SECP256R1())
    named = alternatives(server_id, names, addresses)
    issued = finished(
        begun_server(root.certificate, server_id, key.public_key(), now_ms, named, life), root.key_pem
    )
    # the root travels along: who has only its fingerprint can hold it against what was sent
    return Credential(issued + root.certificate_pem, key_text(key))


def ca_fingerprint(certificate: x509.Certificate) -> str:
    """SHA-256, in hex, of the DER SubjectPublicKeyInfo: it outlives a certificate that is made anew for its key."""
    spki = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(spki).hexdigest()


def to_compare(fingerprint: str) -> str:
    """The first sixteen of a fingerprint's characters, in groups of four: what people hold against each other."""
    shown = fingerprint[:COMPARED_CHARS]
    return " ".join(shown[at : at + _GROUP_CHARS] for at in range(0, COMPARED_CHARS, _GROUP_CHARS))


def needs_renewal(certificate: x509.Certificate, now_ms: int) -> bool:
    """Whether two thirds of its life are over."""
    life = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    return moment(now_ms) >= certificate.not_valid_before_utc + life * 2 / 3


def was_made_in_doubt(certificate: x509.Certificate, now_ms: int) -> bool:
    """Whether it was made by a clock that was wrong, or that had doubts: it begins later, or lasts unusually long."""
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return begins > moment(now_ms) or ends - begins > SERVER_LIFE


def covers(
    certificate: x509.Certificate, server_id: str, *, names: Iterable[str] = (), addresses: Iterable[str] = ()
) -> bool:
    """Whether it carries this server's name and all of these: after a move to another network it may not."""
    held = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return set(alternatives(server_id, names, addresses)) <= set(held)


def server_context(credential: Credential) -> ssl.SSLContext:
    """TLS 1.3 and nothing below."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(["http/1.1"])
    load_credential(context, credential)
    return context


def load_credential(context: ssl.SSLContext, credential: Credential) -> None:
    """Serve new connections with this one from now on."""
    # Python reads keys from files alone: this one lies in memory, and is gone when it is closed
    with _memory_file(credential.certificate_pem + credential.key_pem) as path:
        context.load_cert_chain(path)


def client_context(ca_pem: bytes, server_id: str) -> ssl.SSLContext:
    """Trusts these roots alone, and takes only the server of this id, at whatever address it is met.

    A hub's own root among them counts where that hub is the server.
    """
    context = _OneServerContext(ssl.PROTOCOL_TLS_CLIENT)
    context.server_hostname = server_name(server_id)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    context.set_alpn_protocols(["http/1.1"])
    roots = [root for root in x509.load_pem_x509_certificates(ca_pem) if stands_for(root, server_id)]
    if roots:
        context.load_verify_locations(cadata="".join(_pem(root) for root in roots))
    return context


class _OneServerContext(ssl.SSLContext):
    """Asks for the one server whatever name the caller gives: an HTTP client gives the address."""

    server_hostname: str

    def wrap_socket(self, *args: Any, **options: Any) -> ssl.SSLSocket:
        return super().wrap_socket(*args, **{**options, "server_hostname": self.server_hostname})

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,  # noqa: ARG002  the one thing that is not up to the caller
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        return super().wrap_bio(incoming, outgoing, server_side, self.server_hostname, session)


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode("ascii")


def moment(now_ms: int) -> datetime:
    return datetime.fromtimestamp(now_ms // 1_000, UTC)


def subject(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def alternatives(
    server_id: str, names: Iterable[str], addresses: Iterable[str]
) -> tuple[x509.GeneralName, ...]:
    dns = (server_name(server_id), *ALWAYS_NAMED, *names)
    ip = (*ALWAYS_ADDRESSED, *addresses)
    found: list[x509.GeneralName] = [x509.DNSName(name.lower()) for name in dns]
    found += [x509.IPAddress(ipaddress.ip_address(address.partition("%")[0])) for address in ip]
    return tuple(dict.fromkeys(found))


def begun(
    name: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now_ms: int, life: timedelta
) -> x509.CertificateBuilder:
    begins = moment(now_ms) - _BACKDATED
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(begins + life)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def life_under(issuer: x509.Certificate, now_ms: int, most: timedelta) -> timedelta:
    """How long a certificate that begins now may last: no longer than its issuer."""
    return min(most, issuer.not_valid_after_utc - (moment(now_ms) - _BACKDATED))


def issued_by(issuer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    """The extension that names the issuer's key."""
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(
        issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    )


def begun_server(
    issuer: x509.Certificate,
    server_id: str,
    key: ec.EllipticCurvePublicKey,
    now_ms: int,
    named: Iterable[x509.GeneralName],
    life: timedelta = SERVER_LIFE,
) -> x509.CertificateBuilder:
    """Everything of a server's certificate but the signature."""
    return (
        begun(subject(server_id), issuer.subject, key, now_ms, life)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(named), critical=False)
        .add_extension(issued_by(issuer), critical=False)
    )


def finished(builder: x509.CertificateBuilder, signer_pem: bytes) -> bytes:
    """The certificate as PEM, signed with this key."""
    return builder.sign(private_key(signer_pem), hashes.SHA256()).public_bytes(Encoding.PEM)


def key_text(key: ec.EllipticCurvePrivateKey) -> bytes:
    """A private key as PEM."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def private_key(key_pem: bytes) -> ec.EllipticCurvePrivateKey:
    """The P-256 key in a PEM; ValueError for anything else."""
    key = load_pem_private_key(key_pem, password=None)
    if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1):
        return key
    raise ValueError("a certificate of ours has a P-256 key")


@contextmanager
def _memory_file(content: bytes) -> Iterator[str]:
    descriptor = os.memfd_create("medxz-tls", os.MFD_CLOEXEC)
    try:
        with os.fdopen(os.dup(descriptor), "wb") as file:
            file.write(content)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)
