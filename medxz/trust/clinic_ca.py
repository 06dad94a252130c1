"""A clinic's CA: a root that can lie in a safe, an intermediate that works, and certificates for hubs that ask.

The root signs nothing but intermediates, so its key is needed every few years. An intermediate signs nothing but the
certificates of servers, from a request (CSR) whose sender holds the key that it names. Refused in a request: a key
that is not P-256, a signature that does not fit, any other server's name, and names that have a meaning outside a
clinic's LAN: with this root in a browser, its hubs still can't stand for a bank. What else a request asks for is not
looked at: what a certificate may do is decided here.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from medxz import limits
from medxz.errors import Invalid
from medxz.ids import is_uuid
from medxz.trust.certificates import (
    ROOT_LIFE,
    SERVER_LIFE,
    Credential,
    alternatives,
    begun,
    begun_server,
    finished,
    issued_by,
    key_text,
    life_under,
    moment,
    private_key,
    root_of_hub,
    server_name,
    stands_for,
    subject,
    usage,
)

INTERMEDIATE_LIFE: Final = timedelta(days=1_826)
NAMES_MAX: Final = 64

_SERVER_NAME: Final = re.compile(r"(?P<server_id>[0-9a-f-]{36})\.hub\.medxz")
_LABEL: Final = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
# one label, or under a domain that the world's DNS never answers for
_LOCAL_NAME: Final = re.compile(
    rf"{_LABEL}|({_LABEL}\.)+(local|lan|home|internal|intranet|localdomain|home\.arpa)"
)


@dataclass(frozen=True, slots=True)
class ServerRequest:
    """What a hub asks a certificate for, once its request holds together."""

    server_id: str
    key: ec.EllipticCurvePublicKey
    named: tuple[x509.GeneralName, ...]


def make_clinic_root(clinic_id: str, now_ms: int) -> Credential:
    """A clinic's own root: it makes intermediates, and they make no other CA."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = subject(f"medxz clinic {clinic_id}")
    builder = (
        begun(name, name, key.public_key(), now_ms, ROOT_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=1), critical=True)
        .add_extension(usage(signs_certificates=True), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
    )
    return Credential(finished(builder, key_text(key)), key_text(key))


def make_intermediate(root: Credential, clinic_id: str, now_ms: int) -> Credential:
    """A new intermediate with a key of its own. Those before it stay good for what they signed."""
    key = ec.generate_private_key(ec.SECP256R1())
    issuer = root.certificate
    life = life_under(issuer, now_ms, INTERMEDIATE_LIFE)
    # the time in the name: two intermediates of one clinic are two issuers
    name = subject(f"medxz clinic {clinic_id} {now_ms // 1_000:x}")
    builder = (
        begun(name, issuer.subject, key.public_key(), now_ms, life)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage(signs_certificates=True), critical=True)
        .add_extension(issued_by(issuer), critical=False)
    )
    return Credential(finished(builder, root.key_pem), key_text(key))


def make_request(
    key_pem: bytes, server_id: str, *, names: Iterable[str] = (), addresses: Iterable[str] = ()
) -> str:
    """A hub's request for a certificate of its key: these names and addresses beside those that always stand there."""
    named = alternatives(server_id, (name for name in names if is_local_name(name.lower())), addresses)
    builder = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(subject(server_id))
        .add_extension(x509.SubjectAlternativeName(named), critical=False)
    )
    return builder.sign(private_key(key_pem), hashes.SHA256()).public_bytes(Encoding.PEM).decode("ascii")


def read_request(request_pem: str) -> ServerRequest:
    """What a request asks for; Invalid (field `csr`) where it may not be granted to anybody."""
    if len(request_pem) > limits.CSR_CHARS_MAX:
        raise Invalid(f"the request is longer than {limits.CSR_CHARS_MAX} characters", field="csr")
    try:
        request = x509.load_pem_x509_csr(request_pem.encode())
        key, proved = request.public_key(), request.is_signature_valid
        named = tuple(request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except x509.ExtensionNotFound:
        raise Invalid("the request names no server", field="csr") from None
    except (ValueError, UnsupportedAlgorithm, x509.DuplicateExtension):
        raise Invalid("this is not a certificate request (PEM) that is read here", field="csr") from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise Invalid("the request's key is not a P-256 key", field="csr")
    if not proved:
        raise Invalid("the request was not signed with the key that it names", field="csr")
    return ServerRequest(_server_of(named), key, named)


def issue_requested(intermediate: Credential, request: ServerRequest, now_ms: int) -> bytes:
    """The certificate that was asked for, as a chain: it, then the intermediate. It never outlives the intermediate."""
    issuer = intermediate.certificate
    life = life_under(issuer, now_ms, SERVER_LIFE)
    builder = begun_server(issuer, request.server_id, request.key, now_ms, request.named, life)
    return finished(builder, intermediate.key_pem) + intermediate.certificate_pem


def read_root(root_pem: str, server_id: str) -> x509.Certificate:
    """The root of a hub that began alone; ValueError for anything but one P-256 CA that signed itself, in its name."""
    root, *others = x509.load_pem_x509_certificates(root_pem.encode())
    key = root.public_key()
    powers = root.extensions.get_extension_for_class(x509.BasicConstraints).value
    if others or not powers.ca or powers.path_length != 0 or not isinstance(key, ec.EllipticCurvePublicKey):
        raise ValueError("a root is one certificate of a CA that makes no other CA")
    try:
        root.verify_directly_issued_by(root)
    except (InvalidSignature, TypeError):
        raise ValueError("a root has signed itself") from None
    if root_of_hub(root) != server_id:
        raise ValueError("a hub's root names that hub")
    return root


def is_local_name(name: str) -> bool:
    """Whether a name means something on a LAN alone."""
    return _LOCAL_NAME.fullmatch(name) is not None


def verify_chain(
    chain: Iterable[x509.Certificate],
    roots: Iterable[x509.Certificate],
    server_id: str,
    now_ms: int,
    *,
    latest_ms: int | None = None,
) -> ec.EllipticCurvePublicKey:
    """The key of this server's certificate, which comes first; ValueError where no root here stands for it now.

    With `latest_ms` now may be as late as that: a chain that begins by then is judged by its begin.
    """
    leaf, *others = chain
    anchors = [root for root in roots if stands_for(root, server_id)]
    if not anchors:
        raise ValueError("no root known here stands for this server")
    verifier = (
        PolicyBuilder()
        .store(Store(anchors))
        .time(_judged_at([leaf, *others], now_ms, latest_ms))
        .max_chain_depth(1)
        .build_server_verifier(x509.DNSName(server_name(server_id)))
    )
    try:
        verifier.verify(leaf, others)
    except VerificationError as error:
        raise ValueError(f"the certificate chain does not hold: {error}") from None
    key = leaf.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise ValueError("the certificate's key is not a P-256 key")  # noqa: TRY004  it came from outside
    return key


def _judged_at(chain: Iterable[x509.Certificate], now_ms: int, latest_ms: int | None) -> datetime:
    begun = max(certificate.not_valid_before_utc for certificate in chain)
    return max(moment(now_ms), min(begun, moment(latest_ms or now_ms)))


def _server_of(named: tuple[x509.GeneralName, ...]) -> str:
    """The one server among the names; Invalid where there is none, two, or anything but a LAN's names."""
    if len(named) > NAMES_MAX:
        raise Invalid(f"the request has more than {NAMES_MAX} names", field="csr")
    servers = set()
    for name in named:
        if isinstance(name, x509.IPAddress):
            _check_address(name)
            continue
        if not isinstance(name, x509.DNSName):
            raise Invalid("the request asks for something that is neither a name nor an address", field="csr")
        found = _SERVER_NAME.fullmatch(name.value)
        if found is not None and is_uuid(found["server_id"]):
            servers.add(found["server_id"])
        elif not is_local_name(name.value):
            raise Invalid(f"the request asks for {name.value!r}: not a name of a LAN", field="csr")
    if len(servers) != 1:
        raise Invalid("the request must name one server, SERVER_ID.hub.medxz", field="csr")
    return servers.pop()


def _check_address(name: x509.IPAddress) -> None:
    address = name.value
    one = isinstance(address, ipaddress.IPv4Address | ipaddress.IPv6Address)
    if not one or address.is_multicast or address.is_unspecified:
        raise Invalid("the request asks for an address that no machine has", field="csr")
