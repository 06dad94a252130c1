"""What a device is given to enrol with: a code, or the text of a QR code, `https://host:port/#c=CODE&fp=FINGERPRINT`.

And what a server shows of itself before anything is told it: the certificates of its TLS connection, among which the
CA of that fingerprint must be.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qs, urlsplit

from cryptography import x509

from medxz.device.token import server_address
from medxz.errors import ConfigurationError, PeerUnreachable, PeerUntrusted
from medxz.trust.certificates import COMPARED_CHARS, HUB_SUFFIX, ca_fingerprint

CONNECT_TIMEOUT_S: Final = 10.0
_FINGERPRINT_CHARS: Final = (COMPARED_CHARS, 64)
_HTTPS_PORT: Final = 443
_MEMBERS_MAX: Final = 8


@dataclass(frozen=True, slots=True)
class Invitation:
    """Which server, by which code; and whose CA, where that is known: its fingerprint, or the 16 characters of it.

    `server_url` is empty where a code was typed alone: the only hub on the LAN is meant.
    """

    code: str = field(repr=False)
    server_url: str
    fingerprint: str | None


def read_invitation(
    text: str, server: str | None, fingerprint: str | None, *, may_hear: bool = False
) -> Invitation:
    """A code with its server, or a QR's text, which has both. ConfigurationError where something is missing.

    `may_hear`: a code may come alone, since hubs can be heard on the LAN.
    """
    text = text.strip()
    code, named, printed = text, None, None
    if "://" in text:
        named, _, fragment = text.partition("#")
        named = server_address(named)
        members = _members(fragment)
        code = members.get("c", [""])[0]
        printed = members.get("fp", [None])[0]
    problems = []
    if not code:
        problems.append("the QR's text has no code: https://host:port/#c=CODE&fp=FINGERPRINT")
    if named is None and server is None and not may_hear:
        problems.append("a code does not say which server it is for: give --server, or the QR's whole text")
    wanted = {_fingerprint(one) for one in (printed, fingerprint) if one is not None}
    longest = max(wanted, key=len, default=None)
    if any(not (longest or "").startswith(one) for one in wanted):
        problems.append("the fingerprint is another one than the QR's")
    if any(len(one) not in _FINGERPRINT_CHARS or not set(one) <= set("0123456789abcdef") for one in wanted):
        problems.append("a fingerprint is the 64 hex digits of a SHA-256, or the first 16 of them")
    if problems:
        raise ConfigurationError(problems)
    # `medxz-hub pair --json` tells the QR's text as its url: whoever gives that as the server means the address in it
    address = server.partition("#")[0] if server else named
    return Invitation(code, server_address(address) if address else "", longest)


@dataclass(frozen=True, slots=True)
class Shown:
    """The certificates that a server shows, its own first; none over plain HTTP."""

    chain: Sequence[x509.Certificate]

    @property
    def is_hub(self) -> bool:
        """Whether it says that it is one. Nothing has been verified."""
        if not self.chain:
            return False
        try:
            names = self.chain[0].extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except x509.ExtensionNotFound:
            return False
        return any(name.endswith(HUB_SUFFIX) for name in names.get_values_for_type(x509.DNSName))

    def root(self, fingerprint: str | None) -> x509.Certificate | None:
        """The certificate of that fingerprint, or that begins of one, if it is there."""
        if fingerprint is None:
            return None
        return next((shown for shown in self.chain if ca_fingerprint(shown).startswith(fingerprint)), None)


def look_at(server_url: str, timeout_s: float = CONNECT_TIMEOUT_S) -> Shown:
    """What the server shows to anybody. It is told nothing but that somebody connects."""
    parts = urlsplit(server_url)
    if parts.scheme != "https":
        return Shown(())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # it is looked at, and not trusted
    place = (parts.hostname or "", parts.port or _HTTPS_PORT)
    try:
        with (
            socket.create_connection(place, timeout_s) as raw,
            context.wrap_socket(raw, server_hostname=parts.hostname) as connection,
        ):
            return Shown([x509.load_der_x509_certificate(der) for der in _chain(connection)])
    except ssl.SSLError as error:
        raise PeerUntrusted(f"{server_url} does not speak TLS as it must: {error.reason}") from None
    except (OSError, ValueError) as error:
        raise PeerUnreachable(f"{server_url} can't be reached: {error}") from None


def holds(fingerprint: str | None, ca_certificates: Sequence[str]) -> bool:
    """Whether one of these CAs is the one that the invitation names."""
    if fingerprint is None:
        return True
    found = [cert for pem in ca_certificates for cert in x509.load_pem_x509_certificates(pem.encode())]
    return any(ca_fingerprint(one).startswith(fingerprint) for one in found)


def _members(fragment: str) -> dict[str, list[str]]:
    try:
        return parse_qs(fragment, max_num_fields=_MEMBERS_MAX)
    except ValueError:
        return {}


def _fingerprint(text: str) -> str:
    return "".join(text.split()).replace(":", "").lower()


def _chain(connection: ssl.SSLSocket) -> list[bytes]:
    if hasattr(connection, "get_unverified_chain"):  # Python 3.13
        return list(connection.get_unverified_chain())
    import _ssl

    shown = connection._sslobj.get_unverified_chain()  # type: ignore[attr-defined]  # noqa: SLF001  older Pythons know it here alone
    return [certificate.public_bytes(_ssl.ENCODING_DER) for certificate in shown or ()]
