"""A package that is an update: a .deb with one more member at its end, by which a box knows who made it.

dpkg and apt pass that member by, so the file is installed like any other. It says what the package is and which bytes stand
before it, signed by a key whose certificate is of the fleet's CA: the same keys that sign an image's bundles. A signature
is judged by the time at which it was made. Refused: anything behind that member, and anything that it does not cover.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import ExtendedKeyUsageOID
from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from hub.update.backend import BundleInfo, BundleRefused

_MAGIC: Final = b"!<arch>\n"
_HEADER_BYTES: Final = 60
_NAME: Final = b"_medxz-sig"
_MEMBERS_MAX: Final = 16
_SIGNED_BYTES_MAX: Final = 64 << 10
_PIECE_BYTES: Final = 1 << 20


class Said(BaseModel):
    """What is signed. `sha256`: of every byte before the member."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    version: str
    compatible: str
    build: str
    sha256: str
    at: AwareDatetime


class _Signed(BaseModel):
    """The member: `said` as it was signed, character by character."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    said: str
    certificate: str
    signature: str


def sign(package: Path, said: dict[str, str], certificate: bytes, key: ec.EllipticCurvePrivateKey) -> None:
    """Append the member; `said` without the sum, which is taken here."""
    with package.open("r+b") as opened:
        length = opened.seek(0, 2)
        text = json.dumps({**said, "sha256": _sum(opened, length)}, sort_keys=True)
        signature = base64.b64encode(key.sign(text.encode(), ec.ECDSA(SHA256()))).decode()
        member = json.dumps(
            {"said": text, "certificate": certificate.decode(), "signature": signature}
        ).encode()
        opened.seek(length)
        opened.write(b"%-16s%-12d%-6d%-6d%-8s%-10d`\n" % (_NAME, 0, 0, 0, b"100644", len(member)))
        opened.write(member + b"\n" * (len(member) % 2))


def is_signed(package: Path) -> bool:
    """Whether somebody has, whoever it was."""
    try:
        with package.open("rb") as opened:
            _last_member(opened)
    except _NoSignature:
        return False
    return True


def read_signed(package: Path, keyring: Path) -> BundleInfo:
    """What a package is, once it was proved who made it; BundleRefused."""
    trusted = _trusted(keyring)
    try:
        with package.open("rb") as opened:
            start, member = _last_member(opened)
            signed = _Signed.model_validate_json(member)
            certificate = _certificate(signed.certificate)
            said = Said.model_validate_json(signed.said)
            _prove(certificate, signed, said, trusted)
            if _sum(opened, start) != said.sha256:
                raise _refused(package, "it was altered since it was signed")
    except (_NoSignature, OSError) as error:
        raise _refused(package, str(error)) from None
    except (ValidationError, ValueError, InvalidSignature):
        raise _refused(package, "its signature is none that this box takes") from None
    return BundleInfo(said.version, said.compatible, said.build)


class _NoSignature(Exception):
    """It is no package, or nobody has signed it."""


def _trusted(keyring: Path) -> Sequence[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(keyring.read_bytes())
    except (OSError, ValueError):
        raise BundleRefused(
            f"this box was not told whose updates it takes: {keyring} is not there, or has no certificate",
            "put the fleet's keyring.pem there; docs/updates.md",
        ) from None


def _certificate(text: str) -> x509.Certificate:
    """ValueError for whatever is none."""
    try:
        return x509.load_pem_x509_certificate(text.encode())
    except x509.InvalidVersion as error:
        raise ValueError(str(error)) from None


def _prove(
    certificate: x509.Certificate, signed: _Signed, said: Said, trusted: Sequence[x509.Certificate]
) -> None:
    """InvalidSignature, ValueError."""
    if not any(_is_issued_by(certificate, authority) for authority in trusted):
        raise InvalidSignature
    try:
        uses = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        raise InvalidSignature from None
    if ExtendedKeyUsageOID.CODE_SIGNING not in uses:
        raise InvalidSignature
    if not certificate.not_valid_before_utc <= said.at <= certificate.not_valid_after_utc:
        raise InvalidSignature
    key = certificate.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise InvalidSignature
    key.verify(base64.b64decode(signed.signature, validate=True), signed.said.encode(), ec.ECDSA(SHA256()))


def _is_issued_by(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except (InvalidSignature, ValueError, TypeError):
        return False
    return True


def _last_member(opened: BinaryIO) -> tuple[int, bytes]:
    """Where the signature begins, and what it is; it ends with the file."""
    length = opened.seek(0, 2)
    opened.seek(0)
    if opened.read(len(_MAGIC)) != _MAGIC:
        raise _NoSignature("it is no package")
    for _ in range(_MEMBERS_MAX):
        start = opened.tell()
        header = opened.read(_HEADER_BYTES)
        if len(header) != _HEADER_BYTES or not header[48:58].strip().isdigit():
            break
        size = int(header[48:58])
        if header[:16].rstrip() == _NAME:
            if size > _SIGNED_BYTES_MAX or start + _HEADER_BYTES + size + size % 2 != length:
                break
            return start, opened.read(size)
        opened.seek(size + size % 2, 1)
    raise _NoSignature("nobody has signed it, or it was cut short")


def _sum(opened: BinaryIO, length: int) -> str:
    digest = hashlib.sha256()
    opened.seek(0)
    while length and (piece := opened.read(min(length, _PIECE_BYTES))):
        digest.update(piece)
        length -= len(piece)
    return digest.hexdigest()


def _refused(package: Path, why: str) -> BundleRefused:
    return BundleRefused(
        f"{package.name} is not signed by whom this hub trusts, or was altered: {why}",
        "take it again from where it comes; nothing was changed here",
    )
