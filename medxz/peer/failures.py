"""Why nothing came of a request, in words: what happened to whom, and where it is this machine's own clock, that."""

from __future__ import annotations

import ssl
from typing import Final

import httpx

from medxz.clock import SystemClock, format_time
from medxz.errors import PeerUnreachable, PeerUntrusted
from medxz.peer.answers import PROBLEM_CHARS_MAX

# OpenSSL's words for the dates of a certificate, judged by the machine's clock
_NOT_YET_VALID: Final = 9
_HAS_EXPIRED: Final = 10


def failure_of(url: str, error: Exception) -> PeerUnreachable:
    """The error that says it: `PeerUntrusted` where the server's certificate was not taken."""
    refused = _refused_certificate(error)
    if refused is None:
        return PeerUnreachable(f"{url} {_what_happened(error)}")
    code = getattr(refused, "verify_code", 0)  # none where it was not OpenSSL that refused
    if code not in {_NOT_YET_VALID, _HAS_EXPIRED}:
        return PeerUntrusted(f"{url} {_what_happened(error)}")
    now = format_time(SystemClock().now_ms())
    why, hint = (
        (
            "has ended",
            "set this device's clock where that is wrong; else the server has to renew its certificate",
        )
        if code == _HAS_EXPIRED
        else ("begins later", "this device's clock is behind: set it, and try again")
    )
    untrusted = PeerUntrusted(
        f"{url} is not trusted: its certificate {why}, and this device's clock says {now}"
    )
    untrusted.hint = hint
    return untrusted


def _what_happened(error: Exception) -> str:
    match error:
        case httpx.ConnectTimeout() | httpx.PoolTimeout():
            return "can't be reached: it does not answer"
        case httpx.ConnectError():
            return f"can't be reached: {_innermost(error)}"
        case httpx.TimeoutException():
            return "stands still: nothing came or went for too long"
        case _:
            return f"broke off: {_innermost(error)}"


def _refused_certificate(error: BaseException | None) -> ssl.SSLCertVerificationError | None:
    """The certificate's own error; each layer below names the error that it met as its cause."""
    while error is not None and not isinstance(error, ssl.SSLCertVerificationError):
        error = error.__cause__ or error.__context__
    return error


def _innermost(error: BaseException) -> str:
    text = str(error)
    return text[:PROBLEM_CHARS_MAX] if text else type(error).__name__
