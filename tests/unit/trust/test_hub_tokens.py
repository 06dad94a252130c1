"""Tokens that a hub gives by its own certificate, and the keys that a verifier knows at each moment."""

import base64
from typing import Any

import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from joserfc import jwt as foreign
from joserfc.jwk import KeySet

from medxz import limits
from medxz.errors import TokenExpired, TokenInvalid
from medxz.ids import RandomIds
from medxz.trust.certificates import Credential, issue_server, key_text, make_root
from medxz.trust.clinic_ca import (
    issue_requested,
    make_clinic_root,
    make_intermediate,
    make_request,
    read_request,
)
from medxz.trust.jwks import jwks_of, keys_of
from medxz.trust.tokens import Claims, TokenSigner, TokenVerifier, key_id
from medxz.trust.vouched import HubTokenSigner, SiteHubs, VouchedKeys
from medxz.wire import Jwk, JwksAnswer
from tests.making import HandClock

IDS = RandomIds()
CLOCK = HandClock()
NOW_MS = CLOCK.now_ms()
CLINIC, SITE, HUB, CLOUD = (IDS.uuid7() for _ in range(4))
ROOT = make_clinic_root(CLINIC, NOW_MS)
WORKING = make_intermediate(ROOT, CLINIC, NOW_MS)
CLOUD_KEY = Ed25519PrivateKey.generate()
SAID: dict[str, Any] = {
    "sub": IDS.uuid7(), "cid": CLINIC, "did": IDS.uuid7(), "sid": IDS.uuid7(), "site": SITE,
    "roles": frozenset({"clinician"}), "ttl_s": limits.ACCESS_TOKEN_S,
}  # fmt: skip


def hub_credential(hub_id: str = HUB, working: Credential = WORKING) -> Credential:
    key = key_text(ec.generate_private_key(ec.SECP256R1()))
    return Credential(issue_requested(working, read_request(make_request(key, hub_id)), NOW_MS), key)


HELD = hub_credential()
SIGNER = HubTokenSigner(HELD, HUB, CLOCK)


def trusting(
    *hub_ids: str, site: str = SITE, clinic: str = CLINIC, roots=(ROOT.certificate,)
) -> TokenVerifier:
    hubs = SiteHubs(clinic, site, frozenset(hub_ids), tuple(roots))
    keys = {key_id(CLOUD_KEY.public_key()): CLOUD_KEY.public_key()}
    return TokenVerifier(keys, CLOCK, VouchedKeys(lambda: hubs, CLOCK))


def signed(header: dict[str, object], **changes: object) -> str:
    now_s = NOW_MS // 1_000
    body = {**SAID, "iss": HUB, "roles": ["clinician"], "iat": now_s, "exp": now_s + 900, **changes}
    del body["ttl_s"]
    return jwt.encode(body, HELD.key_pem, algorithm="ES256", headers=header)


X5C = jwt.get_unverified_header(SIGNER.issue(**SAID))["x5c"]


def test_a_hub_of_the_site_is_believed() -> None:
    """A token that a hub signed by its certificate says what it was told to, at the hubs of its site."""
    claims = trusting(HUB).verify(SIGNER.issue(**SAID))
    assert (claims.iss, claims.sub, claims.sid) == (HUB, SAID["sub"], SAID["sid"])


def test_its_chain_is_leaf_and_intermediate() -> None:
    """The header carries the hub's certificate and the intermediate, in DER and base64 as RFC 7515 says, no root."""
    sent = [x509.load_der_x509_certificate(base64.b64decode(text)) for text in X5C]
    assert sent == x509.load_pem_x509_certificates(HELD.certificate_pem)
    with_root = Credential(HELD.certificate_pem + ROOT.certificate_pem, HELD.key_pem)
    longer = HubTokenSigner(with_root, HUB, CLOCK).issue(**SAID)
    assert jwt.get_unverified_header(longer)["x5c"] == X5C


def test_where_it_is_not_believed() -> None:
    """A hub that is revoked or unknown, of another site, another clinic or another CA is not believed."""
    token = SIGNER.issue(**SAID)
    other_root = make_clinic_root(CLINIC, NOW_MS)
    for verifier in (
        trusting(),
        trusting(IDS.uuid7()),
        trusting(HUB, site=IDS.uuid7()),
        trusting(HUB, clinic=IDS.uuid7()),
        trusting(HUB, roots=[other_root.certificate]),
        TokenVerifier({}, CLOCK),
        TokenVerifier({}, CLOCK, VouchedKeys(lambda: None, CLOCK)),
    ):
        with pytest.raises(TokenInvalid):
            verifier.verify(token)


def test_revoking_a_hub_counts_at_once() -> None:
    """What the directory says is asked at every token, not once."""
    known = [SiteHubs(CLINIC, SITE, frozenset({HUB}), (ROOT.certificate,))]
    verifier = TokenVerifier({}, CLOCK, VouchedKeys(lambda: known[-1], CLOCK))
    token = SIGNER.issue(**SAID)
    verifier.verify(token)
    known.append(SiteHubs(CLINIC, SITE, frozenset(), (ROOT.certificate,)))
    with pytest.raises(TokenInvalid, match="not a hub of this site"):
        verifier.verify(token)


def test_a_hub_speaks_for_itself_alone() -> None:
    """A hub's certificate proves its own tokens; in another hub's name, or by another's chain, they are refused."""
    other = IDS.uuid7()
    verifier = trusting(HUB, other)
    with pytest.raises(TokenInvalid, match="no CA known here"):
        verifier.verify(signed({"x5c": X5C}, iss=other))
    theirs = jwt.get_unverified_header(HubTokenSigner(hub_credential(other), other, CLOCK).issue(**SAID))
    with pytest.raises(TokenInvalid, match="signature"):
        verifier.verify(signed({"x5c": theirs["x5c"]}, iss=other))


@pytest.mark.parametrize(
    "changes",
    [
        {"roles": ["hub"], "did": None},
        {"roles": ["operator"], "did": None},
        {"roles": ["operator"]},
        {"roles": ["clinician", "operator"]},
        {"exp": NOW_MS // 1_000 + 901},
        {"site": CLOUD},
        {"cid": CLOUD},
    ],
)
def test_what_a_hub_may_not_say(changes: dict[str, object]) -> None:
    """A hub makes nobody a hub or an operator, and no token that lasts longer than the cloud's."""
    text = signed({"x5c": X5C}, **changes)
    if changes.get("did", 0) is None:
        body = jwt.decode(text, options={"verify_signature": False})
        del body["did"]
        text = jwt.encode(body, HELD.key_pem, algorithm="ES256", headers={"x5c": X5C})
    with pytest.raises(TokenInvalid):
        trusting(HUB).verify(text)


@pytest.mark.parametrize(
    "x5c", [None, "", [], [1], ["%"], ["AAAA"], X5C[:1], X5C[::-1], X5C * 2, {"0": X5C[0]}, [None], [X5C]]
)
def test_chains_that_are_refused(x5c: object) -> None:
    """A chain that is missing, broken, too long or in the wrong order proves nothing."""
    with pytest.raises(TokenInvalid):
        trusting(HUB).verify(signed({"x5c": x5c}))


def test_a_self_signed_chain_is_refused() -> None:
    """A certificate of one's own making for a hub's id, root included, proves nothing."""
    alone = issue_server(make_root(HUB, NOW_MS), HUB, NOW_MS)
    with pytest.raises(TokenInvalid, match="no CA known here"):
        trusting(HUB).verify(HubTokenSigner(alone, HUB, CLOCK).issue(**SAID))


def test_claims_that_are_nested_deeply() -> None:
    """A hub's token is read before its signature is verified: what is in it breaks nothing."""
    deep = b'{"a":' + b"[" * 4_000 + b"]" * 4_000 + b"}"
    text = jwt.api_jws.encode(deep, HELD.key_pem, algorithm="ES256", headers={"x5c": X5C})
    with pytest.raises(TokenInvalid):
        trusting(HUB).verify(text)


def test_an_adopted_root_is_believed() -> None:
    """A hub that began alone is believed by its own CA, where the clinic took that in."""
    root = make_root(HUB, NOW_MS)
    alone = HubTokenSigner(issue_server(root, HUB, NOW_MS), HUB, CLOCK)
    both = trusting(HUB, roots=[ROOT.certificate, root.certificate])
    assert both.verify(alone.issue(**SAID)).iss == HUB


def test_algorithms_do_not_mix() -> None:
    """Each kind of key is taken with its own algorithm, whatever the header asks for."""
    kid = key_id(CLOUD_KEY.public_key())
    for text in (
        signed({"kid": kid}),
        jwt.encode({"iss": HUB}, X5C[0], algorithm="HS256", headers={"x5c": X5C}),
        jwt.encode({"iss": HUB}, CLOUD_KEY, algorithm="EdDSA", headers={"x5c": X5C, "kid": kid}),
        jwt.encode({"iss": HUB}, "", algorithm="none", headers={"x5c": X5C}),
    ):
        with pytest.raises(TokenInvalid):
            trusting(HUB).verify(text)


def test_keys_change_under_a_verifier() -> None:
    """A key is taken from the moment that it is in the mapping, and refused from the moment that it is not."""
    keys: dict[str, object] = {}
    verifier = TokenVerifier(keys, CLOCK)  # type: ignore[arg-type]
    newest = TokenVerifier(lambda: dict(keys), CLOCK)  # type: ignore[arg-type]
    kid = key_id(CLOUD_KEY.public_key())
    token = TokenSigner(CLOUD_KEY, kid, CLOUD, CLOCK).issue(**SAID)
    for known in (False, True, False):
        keys.clear()
        if known:
            keys[kid] = CLOUD_KEY.public_key()
        for one in (verifier, newest):
            if known:
                assert one.verify(token).iss == CLOUD
            else:
                with pytest.raises(TokenInvalid, match="not known here"):
                    one.verify(token)


def test_an_ended_token_tells_of_its_session() -> None:
    """Who asks about a session may be told of a token that ended, as long ago as was allowed and no longer."""
    kid = key_id(CLOUD_KEY.public_key())
    now_s = CLOCK.now_ms() // 1_000
    said = {name: value for name, value in SAID.items() if name != "ttl_s"}
    claims = Claims(iss=CLOUD, **said, iat=now_s - 4_000, exp=now_s - 3_000)
    token = TokenSigner(CLOUD_KEY, kid, CLOUD, CLOCK).sign(claims)
    verifier = TokenVerifier({kid: CLOUD_KEY.public_key()}, CLOCK)
    with pytest.raises(TokenExpired):
        verifier.verify(token)
    with pytest.raises(TokenExpired):
        verifier.verify(token, ended_s=2_900)
    assert verifier.verify(token, ended_s=3_600) == claims


@pytest.mark.filterwarnings("ignore:EdDSA is deprecated")
def test_keys_out_and_in() -> None:
    """A key set that was published is read back as it was, and a foreign library verifies our tokens by it."""
    other = Ed25519PrivateKey.generate().public_key()
    published = jwks_of([CLOUD_KEY.public_key(), other])
    assert list(keys_of(JwksAnswer.model_validate_json(published.model_dump_json())).values()) == [
        CLOUD_KEY.public_key(), other,
    ]  # fmt: skip
    token = TokenSigner(CLOUD_KEY, key_id(CLOUD_KEY.public_key()), CLOUD, CLOCK).issue(**SAID)
    keys = KeySet.import_key_set(published.model_dump())  # type: ignore[arg-type]
    assert foreign.decode(token, keys, algorithms=["EdDSA"]).claims["sub"] == SAID["sub"]


def test_keys_of_other_kinds_are_passed_over() -> None:
    """A key set may hold what we do not read; what claims to be ours and is broken is refused."""
    (ours,) = jwks_of([CLOUD_KEY.public_key()]).keys
    odd = [ours.model_copy(update=change) for change in ({"kty": "EC"}, {"use": "enc"}, {"alg": "ES256"})]
    assert list(keys_of(JwksAnswer(keys=[*odd, ours]))) == [ours.kid]
    for x in ("", "AAAA", "%%%", "é"):
        with pytest.raises(TokenInvalid):
            keys_of(JwksAnswer(keys=[Jwk(**{**ours.model_dump(), "x": x})]))
