"""The dates of certificates, judged by a clock that is handed in and not by the machine's.

TLS itself judges by the machine's clock: a box that boots in 1970 would refuse everybody. Here chain and name are
held against the roots as always, in the handshake; the dates after it, before a byte of anybody's data is sent. What
ended before now is refused, whoever signed it; what begins later is refused by a clock that has no doubts.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Final, NoReturn

from cryptography import x509

from medxz.clock import Clock, format_time, latest_of
from medxz.trust.certificates import moment

# OpenSSL's X509_V_FLAG_NO_CHECK_TIME, for which Python has no name
_NO_CHECK_TIME: Final = 0x200000
_AS_DER: Final = 2


def judge_dates_by(context: ssl.SSLContext, clock: Clock) -> None:
    """Every handshake of this client's context is judged by this clock from now on."""

    class Judged(ssl.SSLObject):
        def do_handshake(self) -> None:
            super().do_handshake()
            check_dates(_verified_chain(self), clock)

    context.verify_flags |= ssl.VerifyFlags(_NO_CHECK_TIME)
    context.sslobject_class = Judged
    context.sslsocket_class = _NoSocket


def check_dates(chain: Iterable[x509.Certificate], clock: Clock) -> None:
    """SSLCertVerificationError where one of them has ended, or has not begun."""
    now_ms, latest_ms = clock.now_ms(), latest_of(clock)()
    for certificate in chain:
        name = certificate.subject.rfc4514_string() or "without a name"
        if certificate.not_valid_after_utc < moment(now_ms):
            _refuse(f"the certificate {name} has ended, on {_text(certificate.not_valid_after_utc)}", now_ms)
        if certificate.not_valid_before_utc > moment(latest_ms):
            _refuse(f"the certificate {name} begins on {_text(certificate.not_valid_before_utc)}", now_ms)


def _refuse(what: str, now_ms: int) -> NoReturn:
    raise ssl.SSLCertVerificationError(f"{what}, and here it is {format_time(now_ms)}")


def _text(at: datetime) -> str:
    return format_time(int(at.astimezone(UTC).timestamp()) * 1_000)


def _verified_chain(handshake: ssl.SSLObject) -> list[x509.Certificate]:
    """What the handshake has verified, root and all. Public in Python from 3.13 on."""
    public = hasattr(handshake, "get_verified_chain")
    inner: Any = handshake if public else handshake._sslobj  # type: ignore[attr-defined]  # noqa: SLF001
    found: list[Any] | None = inner.get_verified_chain()
    if not found:
        raise ssl.SSLCertVerificationError("the handshake verified no certificate")
    return [x509.load_der_x509_certificate(_der(each)) for each in found]


def _der(certificate: Any) -> bytes:
    if isinstance(certificate, bytes):
        return certificate
    return bytes(certificate.public_bytes(_AS_DER))


class _NoSocket(ssl.SSLSocket):
    """A handshake on a socket of its own would go unjudged: it is not made."""

    def do_handshake(self, block: bool = False) -> NoReturn:  # noqa: ARG002  there is none either way
        raise ssl.SSLCertVerificationError("nobody judges the dates of a handshake that is made like this")
