"""One question to one address: are you the server that is expected there?

It is `GET /v1/info` without a token, behind a TLS handshake in which the server has proven who it is. Where nobody in
particular is expected, any hub of the clinic may answer; it is then asked again under the id that it gave, so that the
answer and the certificate name the same one.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Final, Protocol
from urllib.parse import urlsplit

from medxz.device.discovery.candidates import Candidate, Known
from medxz.device.discovery.verdicts import Code, Probed, refusal
from medxz.device.reach import by_address, of_clinic
from medxz.errors import ConfigurationError, PeerRefused, PeerUnreachable, PeerUntrusted
from medxz.loopback import is_loopback

if TYPE_CHECKING:
    from medxz import wire

MAJOR: Final = "1"
# a connection is opened, then secured, then asked: three round trips on a network that is not the machine itself
ROUND_TRIPS: Final = 3
_HOSTNAME_MISMATCH: Final = 62
_NOT_YET_VALID: Final = 9
_HAS_EXPIRED: Final = 10


class Ask(Protocol):
    """How a server is asked who it is. Where none is given, by `medxz.peer.Peer`."""

    async def __call__(
        self, url: str, ssl_context: ssl.SSLContext | None, deadline_s: float
    ) -> wire.InfoAnswer: ...


async def over_http(url: str, ssl_context: ssl.SSLContext | None, deadline_s: float) -> wire.InfoAnswer:
    from medxz.peer import Peer  # what only records never loads it

    peer = Peer(url, ssl_context=ssl_context, connect_timeout_s=deadline_s, idle_timeout_s=deadline_s)
    try:
        return await peer.info()
    finally:
        await peer.aclose()


def refused_unasked(candidate: Candidate, known: Known) -> Probed | None:
    """What is clear without a connection."""
    if (
        candidate.fingerprint is not None
        and known.fingerprints
        and candidate.fingerprint not in known.fingerprints
    ):
        return refusal(
            candidate, "other_clinic", "it announces the CA of another clinic: it was not connected to"
        )
    if not candidate.url.startswith("https:"):
        if not is_loopback(urlsplit(candidate.url).hostname or ""):
            return refusal(
                candidate, "plain_http", "it has no TLS: nothing is told to another machine without"
            )
        if candidate.source == "mdns" and known.hub_cas is not None:
            return refusal(candidate, "plain_http", "it announces itself without TLS, and could be anybody")
    elif candidate.kind == "hub" and known.hub_cas is None:
        return refusal(
            candidate, "no_ca", "this device has no CA of a clinic to hold a hub against: enrol it first"
        )
    return None


async def probe(candidate: Candidate, known: Known, *, deadline_s: float, ask: Ask = over_http) -> Probed:
    """Ask at `candidate.url`. Never an error: whatever happens is a verdict."""
    try:
        context = _context(candidate, known)
        begun = time.monotonic()
        async with asyncio.timeout(deadline_s):
            told = await ask(candidate.url, context, deadline_s)
            took_s = time.monotonic() - begun
            if candidate.server_id is None and candidate.url.startswith("https:"):
                named = replace(candidate, server_id=told.server_id)
                told = await ask(candidate.url, _context(named, known), deadline_s)
    except TimeoutError:
        return refusal(candidate, "no_answer", f"no answer within {deadline_s:.1f} s")
    except PeerUntrusted as error:
        return refusal(candidate, *_of_certificate(error, candidate))
    except PeerRefused as error:
        return refusal(candidate, "no_answer", f"it can't answer now: {error}")
    except PeerUnreachable as error:
        return refusal(candidate, *_of_silence(error, candidate))
    except (ConfigurationError, UnicodeError) as error:
        return refusal(candidate, "no_answer", f"it can't be asked: {error}")
    return _judged(candidate, told, took_s / ROUND_TRIPS)


def _judged(candidate: Candidate, told: wire.InfoAnswer, rtt_s: float) -> Probed:
    if told.kind != candidate.kind:
        code: Code = "not_a_hub" if candidate.kind == "hub" else "not_a_cloud"
        return refusal(candidate, code, f"it says that it is a {told.kind}")
    if candidate.server_id not in {None, told.server_id}:
        return refusal(
            candidate, "wrong_id", f"it says that it is {told.server_id}, not {candidate.server_id}"
        )
    if not any(version.split(".")[0] == MAJOR for version in told.protocol):
        return refusal(
            candidate, "other_protocol", f"it speaks {', '.join(told.protocol) or 'no version'}, not 1.x"
        )
    why = "it is a hub of this clinic" if candidate.kind == "hub" else "it is the cloud of this clinic"
    if not candidate.url.startswith("https:"):
        why = f"a {candidate.kind} on this machine, without TLS"
    return Probed(candidate, True, "taken", why, rtt_s, told.server_id)


def _context(candidate: Candidate, known: Known) -> ssl.SSLContext | None:
    from medxz.trust.certificates import client_context  # what only records never loads it

    if not candidate.url.startswith("https:"):
        return None
    if candidate.kind == "cloud":
        return by_address(known.cloud_cas) if known.cloud_cas is not None else None
    if known.hub_cas is None:
        raise ConfigurationError(["there is no CA to hold a hub against"])
    if candidate.server_id is None:
        return of_clinic(known.hub_cas)
    return client_context(known.hub_cas.encode(), candidate.server_id)


def _of_certificate(error: PeerUntrusted, candidate: Candidate) -> tuple[Code, str]:
    found = _cause(error, ssl.SSLCertVerificationError)
    match getattr(found, "verify_code", 0):
        case code if code == _HOSTNAME_MISMATCH and candidate.kind == "hub":
            return (
                "wrong_id",
                f"its certificate is of this clinic, and of another hub than {candidate.server_id}",
            )
        case code if code in {_NOT_YET_VALID, _HAS_EXPIRED}:
            return "untrusted", "its certificate is out of its time: is the clock of this device right?"
    whose = "this clinic's CA" if candidate.kind == "hub" else "a CA that is trusted here"
    return "untrusted", f"its certificate is not by {whose}: it was sent nothing"


def _of_silence(error: PeerUnreachable, candidate: Candidate) -> tuple[Code, str]:
    """Nobody there, or somebody who speaks something else."""
    if error.__cause__ is not None and _cause(error, ssl.SSLError) is None:
        return "no_answer", str(error).removeprefix(f"{candidate.url} ")
    other: Code = "not_a_hub" if candidate.kind == "hub" else "not_a_cloud"
    return other, f"it answers, but not as a server of this protocol: {error}"


def _cause(error: BaseException | None, kind: type[ssl.SSLError]) -> BaseException | None:
    """Each layer names the error that it met as its cause."""
    while error is not None and not isinstance(error, kind):
        error = error.__cause__ or error.__context__
    return error
