"""Proofs of a key: a hub's assertion (ES256) and a device's proof (EdDSA)."""

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from joserfc import jwt as foreign
from joserfc.jwk import ECKey, OKPKey

from medxz import limits
from medxz.errors import TokenInvalid
from medxz.ids import RandomIds
from medxz.trust.proofs import PublicKey, TakenOnce, proof_issuer, sign_proof, verify_proof

IDS = RandomIds()
NOW_S = 1_760_000_000
HUB_KEY = ec.generate_private_key(ec.SECP256R1())
DEVICE_KEY = Ed25519PrivateKey.generate()
WHO, CLOUD = IDS.uuid7(), IDS.uuid7()


class HandClock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now_s: float = NOW_S

    def now_ms(self) -> int:
        return int(self.now_s * 1_000)

    def monotonic(self) -> float:
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        self.now_s += seconds


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


def body(**changes: object) -> dict[str, object]:
    made = {"iss": WHO, "sub": WHO, "aud": CLOUD, "iat": NOW_S, "exp": NOW_S + 60, "jti": IDS.uuid7()}
    return {name: value for name, value in {**made, **changes}.items() if value is not None}


@pytest.mark.parametrize("key", [HUB_KEY, DEVICE_KEY], ids=["hub", "device"])
def test_a_proof_holds_for_a_minute(key, clock: HandClock) -> None:
    """A proof says who it is from and is taken until its minute is over, the leeway beside."""
    text = sign_proof(key, WHO, CLOUD, clock, IDS)
    assert proof_issuer(text) == WHO
    others: list[PublicKey] = [
        ec.generate_private_key(ec.SECP256R1()).public_key(),
        Ed25519PrivateKey.generate().public_key(),
    ]
    proof = verify_proof(text, [*others, key.public_key()], CLOUD, clock)
    assert proof.issuer == WHO
    clock.now_s += 60 + limits.TOKEN_LEEWAY_S - 1
    verify_proof(text, [key.public_key()], CLOUD, clock)
    clock.now_s += 1
    with pytest.raises(TokenInvalid, match="not of now"):
        verify_proof(text, [key.public_key()], CLOUD, clock)
    assert proof.ends_ms <= clock.now_ms()


@pytest.mark.filterwarnings("ignore:EdDSA is deprecated")
def test_a_foreign_library_reads_and_writes_them(clock: HandClock) -> None:
    """Another JOSE library verifies our proofs, and we verify its."""
    for held, ours, name in (
        (ECKey.import_key(HUB_KEY), HUB_KEY, "ES256"),
        (OKPKey.import_key(DEVICE_KEY), DEVICE_KEY, "EdDSA"),
    ):
        read = foreign.decode(sign_proof(ours, WHO, CLOUD, clock, IDS), held, algorithms=[name])
        assert (read.claims["iss"], read.claims["aud"]) == (WHO, CLOUD)
        made = foreign.encode({"alg": name}, body(), held, algorithms=[name])
        assert verify_proof(made, [ours.public_key()], CLOUD, clock).issuer == WHO


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"aud": IDS.uuid7()}, "another server"),
        ({"aud": [CLOUD]}, "claims"),
        ({"aud": None}, "claims"),
        ({"sub": IDS.uuid7()}, "iss and sub differ"),
        ({"exp": NOW_S + 61}, "at most 60"),
        ({"exp": NOW_S}, "at most 60"),
        ({"iat": NOW_S - 100, "exp": NOW_S - 40}, "not of now"),
        ({"iat": NOW_S + 30, "exp": NOW_S + 60}, "not of now"),
        ({"jti": None}, "claims"),
        ({"jti": ""}, "claims"),
        ({"jti": "x" * 65}, "claims"),
        ({"iss": "me"}, "claims"),
        ({"exp": None}, "claims"),
    ],
)
def test_claims_that_are_refused(changes: dict[str, object], why: str, clock: HandClock) -> None:
    """A proof for somebody else, for another server or another time, or without a jti, is refused."""
    text = jwt.encode(body(**changes), HUB_KEY, algorithm="ES256")
    with pytest.raises(TokenInvalid, match=why):
        verify_proof(text, [HUB_KEY.public_key()], CLOUD, clock)


def test_algorithms_that_are_refused(clock: HandClock) -> None:
    """A proof by no key, by a shared secret, by another curve or by another's key is refused."""
    other = ec.generate_private_key(ec.SECP384R1())
    refused = [
        jwt.encode(body(), "", algorithm="none"),
        jwt.encode(body(), "x" * 32, algorithm="HS256"),
        jwt.encode(body(), other, algorithm="ES384"),
        jwt.encode(body(), ec.generate_private_key(ec.SECP256R1()), algorithm="ES256"),
        jwt.encode(body(), HUB_KEY, algorithm="ES256", headers={"crit": ["b64"], "b64": False}),
        "", "a.b.c", "é", "x" * (limits.TOKEN_CHARS_MAX + 1),
    ]  # fmt: skip
    for text in refused:
        with pytest.raises(TokenInvalid):
            verify_proof(text, [HUB_KEY.public_key(), other.public_key()], CLOUD, clock)


def test_a_proof_that_is_nested_deeply(clock: HandClock) -> None:
    """Anybody can send one, and nothing of it was verified: it is refused like any other."""
    deep = b'{"a":' + b"[" * 4_000 + b"]" * 4_000 + b"}"
    text = jwt.api_jws.encode(deep, HUB_KEY, algorithm="ES256")
    for read in (proof_issuer, lambda text: verify_proof(text, [HUB_KEY.public_key()], CLOUD, clock)):
        with pytest.raises(TokenInvalid):
            read(text)


def test_a_proof_is_taken_once(clock: HandClock) -> None:
    """A proof that comes a second time is refused, and forgotten when it has ended anyway."""
    taken = TakenOnce(clock)
    for _ in range(2):
        text = sign_proof(DEVICE_KEY, WHO, CLOUD, clock, IDS)
        proof = verify_proof(text, [DEVICE_KEY.public_key()], CLOUD, clock)
        taken.take(proof)
        with pytest.raises(TokenInvalid, match="used before"):
            taken.take(proof)
        clock.now_s += 66
    assert len(taken._ends) == len(taken._taken[WHO]) == 1
