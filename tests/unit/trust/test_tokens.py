"""Access tokens: what a verifier takes, and everything that it refuses."""

import base64
import contextlib
import dataclasses
import hashlib
import hmac
import json

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from medxz import limits
from medxz.errors import TokenExpired, TokenInvalid
from medxz.ids import RandomIds
from medxz.trust.tokens import Claims, TokenSigner, TokenVerifier, key_id

IDS = RandomIds()
KEY = Ed25519PrivateKey.generate()
KID = key_id(KEY.public_key())
HUB = IDS.uuid7()
NOW_S = 1_760_000_000


class HandClock:
    """A clock that is set by hand, years away from the machine's."""

    def __init__(self) -> None:
        self.now_s: float = NOW_S

    def now_ms(self) -> int:
        return int(self.now_s * 1_000)

    def monotonic(self) -> float:
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        self.now_s += seconds


CLOCK = HandClock()
SIGNER = TokenSigner(KEY, KID, HUB, CLOCK)
CLAIMS = Claims(
    iss=HUB,
    sub=IDS.uuid7(),
    cid=IDS.uuid7(),
    did=IDS.uuid7(),
    sid=IDS.uuid7(),
    site=IDS.uuid7(),
    roles=frozenset({"clinician", "admin"}),
    iat=NOW_S,
    exp=NOW_S + 900,
)
BODY = {**dataclasses.asdict(CLAIMS), "roles": ["admin", "clinician"]}


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def verifier(clock: HandClock) -> TokenVerifier:
    return TokenVerifier({KID: KEY.public_key()}, clock)


def segment(value: object) -> bytes:
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(text).rstrip(b"=")


def forged(header: object, body: object = BODY, key: Ed25519PrivateKey = KEY) -> str:
    signed = segment(header) + b"." + segment(body)
    return (signed + b"." + segment(key.sign(signed))).decode()


def signed(body: object) -> str:
    return forged({"alg": "EdDSA", "kid": KID, "typ": "JWT"}, body)


def test_a_token_says_what_was_signed(verifier: TokenVerifier) -> None:
    """Signing and verifying gives the same claims, and the hub's own token has no device."""
    assert verifier.verify(SIGNER.sign(CLAIMS)) == CLAIMS
    hub = dataclasses.replace(CLAIMS, did=None, roles=frozenset({"hub"}))
    assert verifier.verify(SIGNER.sign(hub)) == hub


def test_issue_counts_from_the_given_clock(verifier: TokenVerifier) -> None:
    """A token begins at the clock's second and ends ttl_s later."""
    token = SIGNER.issue(
        sub=CLAIMS.sub, cid=CLAIMS.cid, did=CLAIMS.did, sid=CLAIMS.sid, site=CLAIMS.site,
        roles=frozenset({"clinician"}), ttl_s=60,
    )  # fmt: skip
    claims = verifier.verify(token)
    assert (claims.iat, claims.exp) == (NOW_S, NOW_S + 60)


def test_a_foreign_library_reads_it() -> None:
    """What we sign is an ordinary JWT to another verifier."""
    token = SIGNER.sign(CLAIMS)
    assert jwt.get_unverified_header(token) == {"alg": "EdDSA", "kid": KID, "typ": "JWT"}
    options = {"verify_exp": False, "verify_iat": False}
    assert jwt.decode(token, KEY.public_key(), algorithms=["EdDSA"], options=options) == BODY  # type: ignore[arg-type]


def test_nobody_signs_for_another_server() -> None:
    """A signer refuses claims that another server would have to stand for."""
    with pytest.raises(ValueError, match="signs for"):
        SIGNER.sign(dataclasses.replace(CLAIMS, iss=IDS.uuid7()))


def test_time_is_the_given_clock_s(verifier: TokenVerifier, clock: HandClock) -> None:
    """A token ends when the given clock says so, give or take the leeway, whatever the machine's clock shows."""
    token = SIGNER.sign(CLAIMS)
    clock.now_s = CLAIMS.exp + limits.TOKEN_LEEWAY_S - 0.5
    verifier.verify(token)
    clock.now_s = CLAIMS.exp + limits.TOKEN_LEEWAY_S
    with pytest.raises(TokenExpired):
        verifier.verify(token)
    clock.now_s = CLAIMS.iat - limits.TOKEN_LEEWAY_S
    verifier.verify(token)
    clock.now_s -= 0.5
    with pytest.raises(TokenInvalid, match="future"):
        verifier.verify(token)


def test_not_before_is_kept(verifier: TokenVerifier) -> None:
    """A token that says that it begins later is not taken before."""
    with pytest.raises(TokenInvalid, match="future"):
        verifier.verify(signed({**BODY, "nbf": NOW_S + 60}))


def test_how_long_a_token_may_last(clock: HandClock) -> None:
    """A token that says to last longer than tokens do is refused, its end told or not, but for keys that may."""
    keys = {KID: KEY.public_key()}
    verifier = TokenVerifier(keys, clock, lasts_s_max=900)
    lasting = TokenVerifier(keys, clock, lasts_s_max=900, lasting_keys=frozenset({KID}))
    longest = dataclasses.replace(CLAIMS, exp=NOW_S + 900 + limits.TOKEN_LEEWAY_S)
    longer = dataclasses.replace(longest, exp=longest.exp + 1)
    assert verifier.verify(SIGNER.sign(longest)) == longest
    for options in ({}, {"ended_s": 3_600}):
        with pytest.raises(TokenInvalid, match="lasts longer"):
            verifier.verify(SIGNER.sign(longer), **options)
    assert lasting.verify(SIGNER.sign(longer)) == longer


def test_by_which_key_a_token_was_proved(clock: HandClock) -> None:
    """Who remembers a token is told its key, and whether that is still good."""
    keys = {KID: KEY.public_key()}
    verifier = TokenVerifier(keys, clock)
    proven = verifier.prove(SIGNER.sign(CLAIMS))
    assert (proven.claims, proven.kid) == (CLAIMS, KID)
    assert verifier.knows(KID)
    keys.clear()
    assert not verifier.knows(KID)


def test_algorithm_none_is_refused(verifier: TokenVerifier) -> None:
    """A token without a signature is refused, however it spells it."""
    for name in ("none", "None", "NONE", ""):
        bare = (segment({"alg": name, "kid": KID}) + b"." + segment(BODY) + b".").decode()
        with pytest.raises(TokenInvalid):
            verifier.verify(bare)
        with pytest.raises(TokenInvalid):
            verifier.verify(forged({"alg": name, "kid": KID}))


def test_hmac_with_the_public_key_is_refused(verifier: TokenVerifier) -> None:
    """Our public key is nobody's HMAC secret."""
    public = KEY.public_key()
    spki = serialization.PublicFormat.SubjectPublicKeyInfo
    for secret in (
        public.public_bytes_raw(),
        public.public_bytes(serialization.Encoding.PEM, spki),
        public.public_bytes(serialization.Encoding.DER, spki),
    ):
        text = segment({"alg": "HS256", "kid": KID}) + b"." + segment(BODY)
        mac = hmac.new(secret, text, hashlib.sha256).digest()
        with pytest.raises(TokenInvalid, match="algorithm"):
            verifier.verify((text + b"." + segment(mac)).decode())


def test_another_key_is_refused(verifier: TokenVerifier) -> None:
    """A signature by another key is refused, under our kid and under its own."""
    other = Ed25519PrivateKey.generate()
    with pytest.raises(TokenInvalid, match="signature"):
        verifier.verify(TokenSigner(other, KID, HUB, CLOCK).sign(CLAIMS))
    with pytest.raises(TokenInvalid, match="not known"):
        verifier.verify(TokenSigner(other, key_id(other.public_key()), HUB, CLOCK).sign(CLAIMS))


@pytest.mark.parametrize(
    "header",
    [
        {"alg": "EdDSA"},
        {"alg": "EdDSA", "kid": 7},
        {"alg": "EdDSA", "kid": None},
        {"alg": "EdDSA", "kid": [KID]},
        {"alg": ["EdDSA"], "kid": KID},
        {"kid": KID},
        {"alg": "EdDSA", "kid": KID, "crit": ["exp"]},
        {"alg": "EdDSA", "kid": KID, "b64": False, "crit": ["b64"]},
        [],
        "EdDSA",
        b"\xff\xfe",
    ],
)
def test_other_headers_are_refused(verifier: TokenVerifier, header: object) -> None:
    """A header that lacks the kid, has wrong types or asks for extensions is refused."""
    with pytest.raises(TokenInvalid):
        verifier.verify(forged(header))


@pytest.mark.parametrize("name", ["iss", "sub", "cid", "did", "sid", "site", "roles", "iat", "exp"])
def test_every_claim_is_needed(verifier: TokenVerifier, name: str) -> None:
    """A clinician's token that lacks any one claim is refused."""
    with pytest.raises(TokenInvalid):
        verifier.verify(signed({key: value for key, value in BODY.items() if key != name}))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, value) for name in ("iss", "sub", "cid", "did", "sid", "site")
          for value in (None, 7, "", "x", CLAIMS.sub.upper(), CLAIMS.sub + "\n", [CLAIMS.sub])),
        *(("roles", value) for value in (None, "admin", [], ["root"], [1], ["admin", "root"], {"admin": 1})),
        *((name, value) for name in ("iat", "exp") for value in (None, "5", True, -1, 1.5, 2**53, 10**30)),
        ("exp", NOW_S),
        ("roles", ["hub"]),
        ("roles", ["hub", "admin"]),
    ],
)  # fmt: skip
def test_claims_are_strictly_typed(verifier: TokenVerifier, name: str, value: object) -> None:
    """A claim of another type or outside its values is refused."""
    with pytest.raises(TokenInvalid):
        verifier.verify(signed({**BODY, name: value}))


def test_claims_that_are_no_object_are_refused(verifier: TokenVerifier) -> None:
    """A signed body that is not a JSON object is refused."""
    for body in (b"", b"{", b"[]", b"null", b"\xff\xff", b'{"iss":NaN}'):
        with pytest.raises(TokenInvalid):
            verifier.verify(signed(body))


def test_unknown_claims_are_let_pass(verifier: TokenVerifier) -> None:
    """A token may carry more than we read."""
    assert verifier.verify(signed({**BODY, "jti": "x"})) == CLAIMS


def test_a_long_token_is_refused_before_it_is_read(verifier: TokenVerifier) -> None:
    """A token above the limit is refused, even when it is signed."""
    with pytest.raises(TokenInvalid, match="longer"):
        verifier.verify(signed({**BODY, "pad": "x" * limits.TOKEN_CHARS_MAX}))


@given(place=st.integers(0, 5_000), letter=st.sampled_from("AZaz09-_.=é"))
def test_a_changed_letter_is_refused(place: int, letter: str) -> None:
    """A token with any letter changed is refused, or says the same as before."""
    token = SIGNER.sign(CLAIMS)
    place %= len(token)
    changed = token[:place] + letter + token[place + 1 :]
    verifier = TokenVerifier({KID: KEY.public_key()}, HandClock())
    if changed == token:
        return
    with contextlib.suppress(TokenInvalid):
        # the last letter of a segment has bits that encode nothing
        assert verifier.verify(changed) == CLAIMS


@given(text=st.text(max_size=80))
def test_anything_else_is_refused(text: str) -> None:
    """No text whatever brings the verifier down with another error than its own."""
    verifier = TokenVerifier({KID: KEY.public_key()}, HandClock())
    for token in (
        text,
        f"{text}.{text}.{text}",
        f"{segment({'alg': 'EdDSA', 'kid': KID}).decode()}.{text}.{text}",
    ):
        with pytest.raises(TokenInvalid):
            verifier.verify(token)


def test_a_key_s_name_is_its_thumbprint() -> None:
    """The kid is the RFC 7638 thumbprint: the example of RFC 8037 A.3."""
    raw = base64.urlsafe_b64decode("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo=")
    assert key_id(Ed25519PublicKey.from_public_bytes(raw)) == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
