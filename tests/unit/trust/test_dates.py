"""Dates judged by a clock that is handed in: in handshakes, in chains, in tokens and proofs, with and without doubts."""

from __future__ import annotations

import ssl
from dataclasses import dataclass

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from medxz.clock import SystemClock, latest_of
from medxz.errors import TokenExpired, TokenInvalid
from medxz.ids import RandomIds
from medxz.trust.certificates import client_context, issue_server, key_text, make_root, server_context
from medxz.trust.clinic_ca import (
    issue_requested,
    make_clinic_root,
    make_intermediate,
    make_request,
    read_request,
    verify_chain,
)
from medxz.trust.dates import judge_dates_by
from medxz.trust.proofs import TakenOnce, sign_proof, verify_proof
from medxz.trust.tokens import TokenSigner, TokenVerifier, key_id
from tests.making import CLINIC, DEVICE, NOON_MS, USER, HandClock, fixed_id

IDS = RandomIds()
SERVER, SITE = fixed_id(0xA1), fixed_id(0xB1)
DAY_MS = 86_400_000
YEAR_MS = 365 * DAY_MS


@dataclass
class Doubter(HandClock):
    """A clock that says when it was last sure, and that it may be years later."""

    time_ms: int = NOON_MS

    def latest_ms(self) -> int:
        return self.time_ms + 5 * YEAR_MS


def handshake(client: ssl.SSLContext, server: ssl.SSLContext) -> bytes:
    """What the server reads, once both are through; SSLError where one of them was not."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(to_client, to_server, server_hostname="localhost")
    theirs = server.wrap_bio(to_server, to_client, server_side=True)
    open_ends = [ours, theirs]
    while open_ends:
        for end in list(open_ends):
            try:
                end.do_handshake()
                open_ends.remove(end)
            except ssl.SSLWantReadError:
                pass
    ours.write(b"records")
    return theirs.read()


def judged(ca_pem: bytes, clock: HandClock) -> ssl.SSLContext:
    context = client_context(ca_pem, SERVER)
    judge_dates_by(context, clock)
    return context


def test_a_handshake_is_judged_by_the_clock_that_is_given() -> None:
    """A certificate of a time that the machine is not in is taken by a clock that is in it, and by no other."""
    then_ms = SystemClock().now_ms() - 20 * YEAR_MS
    root = make_root(SERVER, then_ms)
    server = server_context(issue_server(root, SERVER, then_ms))
    assert handshake(judged(root.certificate_pem, HandClock(then_ms)), server) == b"records"
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(client_context(root.certificate_pem, SERVER), server)


@pytest.mark.parametrize("off_ms", [-2 * DAY_MS, 399 * DAY_MS])
def test_a_handshake_fails_outside_of_the_certificate_s_time(off_ms: int) -> None:
    """Before it begins and after it has ended nothing is sent: the clock's time is told with the refusal."""
    root = make_root(SERVER, NOON_MS)
    server = server_context(issue_server(root, SERVER, NOON_MS))
    with pytest.raises(ssl.SSLCertVerificationError, match=r"and here it is 202[67]-"):
        handshake(judged(root.certificate_pem, HandClock(NOON_MS + off_ms)), server)


def test_the_whole_chain_is_judged() -> None:
    """A root that has ended stands for nobody, however young what it signed is."""
    root = make_root(SERVER, NOON_MS)
    late_ms = NOON_MS + 3_600 * DAY_MS
    server = server_context(issue_server(root, SERVER, late_ms))
    assert handshake(judged(root.certificate_pem, HandClock(late_ms)), server) == b"records"
    with pytest.raises(ssl.SSLCertVerificationError, match="has ended"):
        handshake(judged(root.certificate_pem, HandClock(late_ms + 60 * DAY_MS)), server)


def test_dates_apart_a_handshake_is_as_strict_as_ever() -> None:
    """Another root's server, and another server of the same root, are refused."""
    root, other = make_root(SERVER, NOON_MS), make_root(SERVER, NOON_MS)
    for false in (issue_server(other, SERVER, NOON_MS), issue_server(root, fixed_id(0xA2), NOON_MS)):
        with pytest.raises(ssl.SSLCertVerificationError, match=r"verify failed|mismatch"):
            handshake(judged(root.certificate_pem, HandClock()), server_context(false))


def test_a_clock_with_doubts_refuses_what_has_ended_and_nothing_that_may_have_begun() -> None:
    """A certificate of next year is taken by a clock that may be a year behind; one of last year is not."""
    clock = Doubter()
    later, sooner = make_root(SERVER, NOON_MS + YEAR_MS), make_root(SERVER, NOON_MS - 2 * YEAR_MS)
    begun = server_context(issue_server(later, SERVER, NOON_MS + YEAR_MS))
    ended = server_context(issue_server(sooner, SERVER, NOON_MS - 2 * YEAR_MS))
    assert handshake(judged(later.certificate_pem, clock), begun) == b"records"
    with pytest.raises(ssl.SSLCertVerificationError, match="has ended"):
        handshake(judged(sooner.certificate_pem, clock), ended)


def test_a_handshake_that_nobody_would_judge_is_not_made() -> None:
    """On a socket of its own the dates would be looked at by nobody."""
    import socket

    here, there = socket.socketpair()
    with here, there, pytest.raises(ssl.SSLCertVerificationError, match="nobody judges"):
        judged(make_root(SERVER, NOON_MS).certificate_pem, HandClock()).wrap_socket(here)


def test_a_chain_that_may_have_begun_holds_where_there_are_doubts() -> None:
    """A neighbour's certificate that was renewed while this clock stood still is taken, one that has ended is not."""
    begins_ms = NOON_MS + 90 * DAY_MS
    root = make_clinic_root(CLINIC, NOON_MS - YEAR_MS)
    key = key_text(ec.generate_private_key(ec.SECP256R1()))
    request = read_request(make_request(key, SERVER))
    pem = issue_requested(make_intermediate(root, CLINIC, begins_ms), request, begins_ms)
    from cryptography import x509

    chain, roots = x509.load_pem_x509_certificates(pem), [root.certificate]
    verify_chain(chain, roots, SERVER, NOON_MS, latest_ms=latest_of(Doubter())())
    for now_ms, latest_ms in ((NOON_MS, NOON_MS), (NOON_MS, NOON_MS + 30 * DAY_MS), (NOON_MS, None)):
        with pytest.raises(ValueError, match="does not hold"):
            verify_chain(chain, roots, SERVER, now_ms, latest_ms=latest_ms)
    ended_ms = begins_ms + 500 * DAY_MS
    with pytest.raises(ValueError, match="does not hold"):
        verify_chain(chain, roots, SERVER, ended_ms, latest_ms=ended_ms + 5 * YEAR_MS)


def test_tokens_are_judged_by_what_may_be() -> None:
    """With doubts no token is refused for its begin, and one that has ended is refused all the same."""
    key, clock = Ed25519PrivateKey.generate(), Doubter()
    kid = key_id(key.public_key())
    ahead, behind = HandClock(NOON_MS + YEAR_MS), HandClock(NOON_MS - DAY_MS)

    def token_by(other: HandClock) -> str:
        return TokenSigner(key, kid, SERVER, other).issue(
            sub=USER, cid=CLINIC, did=DEVICE, sid=IDS.uuid7(), site=SITE, roles=frozenset({"clinician"}), ttl_s=900
        )  # fmt: skip

    doubting, sure = (TokenVerifier({kid: key.public_key()}, each) for each in (clock, HandClock()))
    assert doubting.verify(token_by(ahead)).sub == USER
    with pytest.raises(TokenInvalid, match="begins in the future"):
        sure.verify(token_by(ahead))
    with pytest.raises(TokenExpired):
        doubting.verify(token_by(behind))


def test_only_what_others_signed_bears_witness_of_the_time() -> None:
    """When a token began is told before it is judged; of the verifier's own and of a forged one nothing is told."""
    theirs, own, thief = (Ed25519PrivateKey.generate() for _ in range(3))
    keys = {key_id(each.public_key()): each.public_key() for each in (theirs, own)}
    told: list[int] = []
    verifier = TokenVerifier(
        keys, HandClock(), lasting_keys=frozenset({key_id(own.public_key())}), witness=told.append
    )
    for key, kid in ((theirs, theirs), (own, own), (thief, theirs)):
        signer = TokenSigner(key, key_id(kid.public_key()), SERVER, HandClock(NOON_MS + DAY_MS))
        text = signer.issue(
            sub=USER, cid=CLINIC, did=DEVICE, sid=IDS.uuid7(), site=SITE, roles=frozenset({"clinician"}), ttl_s=900
        )  # fmt: skip
        with pytest.raises(TokenInvalid):
            verifier.verify(text)
    assert told == [NOON_MS + DAY_MS]


def test_a_proof_counts_once_however_long_it_is_remembered() -> None:
    """With doubts a proof of a later time is taken, once; nobody fills the memory that is there for others."""
    key, clock = Ed25519PrivateKey.generate(), Doubter()
    taken, later = TakenOnce(clock), HandClock(NOON_MS + YEAR_MS)

    def proof_by(issuer: str) -> str:
        return sign_proof(key, issuer, SERVER, later, IDS)

    held = verify_proof(proof_by(DEVICE), [key.public_key()], SERVER, clock)
    taken.take(held)
    with pytest.raises(TokenInvalid, match="used before"):
        taken.take(held)
    with pytest.raises(TokenInvalid, match="too many"):
        for _ in range(1_000):
            taken.take(verify_proof(proof_by(DEVICE), [key.public_key()], SERVER, clock))
    taken.take(verify_proof(proof_by(USER), [key.public_key()], SERVER, clock))
    with pytest.raises(TokenInvalid, match="not of now"):
        verify_proof(proof_by(DEVICE), [key.public_key()], SERVER, HandClock())
