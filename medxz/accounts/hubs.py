"""Hubs: claimed by a code and a request for a certificate, then known by the key of that certificate.

Claimed again with the same code and key, the answer is the same again. A hub gets its tokens by proving its key, each
proof once for all processes of the cloud. Refused: the cloud's own id, an id that another hub of the clinic has, a hub that was revoked.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from medxz import limits
from medxz.accounts.adopting import Adopting
from medxz.accounts.base import Authority, clinic_of
from medxz.accounts.clinic_cas import ClinicCas
from medxz.accounts.clinics import check_name
from medxz.accounts.enrolment import FoundCode, find_code
from medxz.accounts.key_ring import KeyRing
from medxz.accounts.lockout import fail, locked, proof_subject
from medxz.errors import CodeInvalid, Forbidden, Invalid, NotFound, Refusal, SessionRevoked, TokenInvalid
from medxz.service.accounts import Origin
from medxz.service.configuration import config_answer
from medxz.service.gate import Caller, require
from medxz.store.authority import attempts, clinics, codes, hubs, sessions
from medxz.store.authority.attempts import NO_CLINIC
from medxz.store.authority.audit import Entry
from medxz.store.authority.base import TryAgain, Tx
from medxz.store.authority.hubs import HubRow
from medxz.store.authority.known import Directories
from medxz.trust.clinic_ca import ServerRequest, read_request
from medxz.trust.proofs import is_signed_by, proof_issuer, verify_proof
from medxz.wire import (
    Adopt,
    AssertionRequest,
    ClaimAnswer,
    ClaimRequest,
    CloudPlace,
    HubTokenAnswer,
    RenewAnswer,
    RenewRequest,
)


class Hubs:
    """The use cases about hubs. One instance a server."""

    def __init__(
        self, authority: Authority, cas: ClinicCas, ring: KeyRing, directories: Directories, place: CloudPlace
    ) -> None:
        """`place`: this cloud's id, which a proof must be for, and where it is reached."""
        self._authority: Final = authority
        self._cas: Final = cas
        self._ring: Final = ring
        self._directories: Final = directories
        self._place: Final = place
        self._adopting: Final = Adopting(authority)

    async def claim(self, request: ClaimRequest, origin: Origin) -> ClaimAnswer:
        """A hub by its code and request. CodeInvalid, RateLimited, Invalid or Forbidden where not."""
        asked, name = read_request(request.csr), check_name(request.name, "name")
        if asked.server_id == self._place.server_id:
            # what a revoked hub gave counts no more: under this id that would be every token of the cloud
            raise Invalid("a hub has an id of its own, not the cloud's", field="csr")
        if request.adopt is not None:
            self._adopting.check(request.adopt, asked.server_id)

        async def claim(tx: Tx) -> tuple[str, HubRow] | Refusal:
            found = await find_code(tx, self._authority, "hub", request.code, _spki(asked.key), origin)
            if isinstance(found, Refusal):
                return found
            if found.used_as is not None:
                held = await hubs.get(tx, found.clinic_id, found.used_as)
                if held is None or held.revoked:
                    return CodeInvalid("this pairing code is unknown, used or over; ask for another one")
                return found.clinic_id, held
            clinic_id, site_id = found.clinic_id, found.row.site_id
            held = await hubs.get(tx, clinic_id, asked.server_id)
            if held is not None and (held.revoked or held.public_key != _pem(asked.key)):
                entry = Entry(
                    "claim_refused",
                    user_id=found.row.made_by,
                    hub_id=asked.server_id,
                    address=origin.address,
                    detail={"revoked": held.revoked},
                )
                await self._authority.trail.append(tx, clinic_id, entry)
                return Forbidden("the clinic has a hub of this id with another key, or revoked it")
            if request.adopt is not None:
                site_id = await self._adopting.take_in(tx, clinic_id, site_id, request.adopt, asked.server_id)
                clinic_id = request.adopt.clinic_id
            hub = await self._let_in(tx, clinic_id, site_id, asked, name)
            await self._use_up(tx, clinic_id, found, hub, origin)
            return clinic_id, hub

        clinic_id, hub = await self._authority.decide(claim)
        known = await self._directories.of(clinic_id)
        return ClaimAnswer(
            hub_id=hub.hub_id,
            clinic_id=clinic_id,
            site_id=hub.site_id,
            certificate=hub.certificate,
            ca_certificates=list(known.config.ca_certificates),
            keys=self._ring.jwks(),
            config=config_answer(known),
            cloud=self._place,
            sessions=await _going_on(self._authority, clinic_id, request.adopt),
        )

    async def renew(self, caller: Caller, request: RenewRequest) -> RenewAnswer:
        """A new certificate for a hub that shows its token, of the key that it asks with."""
        require(caller, "hub")
        asked = read_request(request.csr)
        if asked.server_id != caller.hub_id:
            raise Invalid("a hub renews its own certificate", field="csr")

        async def renew(tx: Tx) -> str:
            hub = await hubs.get(tx, caller.clinic_id, asked.server_id)
            if hub is None or hub.revoked:
                raise SessionRevoked("this hub was revoked; ask the clinic's administrator")
            chain = await self._cas.issue(tx, caller.clinic_id, asked)
            await hubs.set_certificate(
                tx, caller.clinic_id, hub.hub_id, public_key=_pem(asked.key), certificate=chain
            )
            return chain

        chain = await self._authority.decide(renew)
        known = await self._directories.of(caller.clinic_id)
        return RenewAnswer(certificate=chain, ca_certificates=list(known.config.ca_certificates))

    async def token(self, request: AssertionRequest, origin: Origin) -> HubTokenAnswer:
        """An access token for a hub that proves its key; TokenInvalid or SessionRevoked where not."""
        url = None if request.url is None else check_url(request.url)
        hub_id = proof_issuer(request.assertion)

        async def token(tx: Tx) -> str | Refusal:
            proved = await self._proved(tx, hub_id, request.assertion, origin)
            if isinstance(proved, Refusal):
                return proved
            clinic_id, hub = proved
            if hub.revoked:
                return SessionRevoked("this hub was revoked; ask the clinic's administrator")
            await hubs.seen(tx, clinic_id, hub_id, self._authority.clock.now_ms(), url)
            entry = Entry("hub_token", hub_id=hub_id, address=origin.address)
            await self._authority.trail.append(tx, clinic_id, entry)
            return self._ring.hub_token(clinic_id, hub)

        access = await self._authority.decide(token)
        return HubTokenAnswer(access_token=access, expires_in=limits.ACCESS_TOKEN_S)

    async def revoke(self, clinic_id: str, hub_id: str, by: str | None = None) -> None:
        """Its tokens are refused from now on, and it gets no others; NotFound where the clinic has no such hub."""

        async def revoke(tx: Tx) -> None:
            await clinic_of(tx, clinic_id)
            if not await hubs.revoke(tx, clinic_id, hub_id):
                raise NotFound(f"the clinic has no hub {hub_id}")
            await self._authority.trail.append(tx, clinic_id, Entry("hub_revoked", user_id=by, hub_id=hub_id))

        await self._authority.decide(revoke)

    async def list(self, clinic_id: str) -> list[HubRow]:
        async def read(tx: Tx) -> list[HubRow]:
            await clinic_of(tx, clinic_id)
            return await hubs.everyone(tx, clinic_id)

        return await self._authority.transactions.read(read)

    async def _let_in(self, tx: Tx, clinic_id: str, site_id: str, asked: ServerRequest, name: str) -> HubRow:
        held = await hubs.get(tx, clinic_id, asked.server_id)
        if held is None and await clinics.find_site(tx, clinic_id, site_id) is None:
            raise Forbidden("the clinic no longer has the site that this code is for")
        chain = await self._cas.issue(tx, clinic_id, asked)
        if held is None:
            now_ms = self._authority.clock.now_ms()
            await hubs.add(
                tx, clinic_id, HubRow(asked.server_id, site_id, name, _pem(asked.key), chain, now_ms)
            )
        else:
            await hubs.set_certificate(
                tx, clinic_id, held.hub_id, public_key=held.public_key, certificate=chain
            )
        hub = await hubs.get(tx, clinic_id, asked.server_id)
        assert hub is not None
        return hub

    async def _use_up(self, tx: Tx, clinic_id: str, found: FoundCode, hub: HubRow, origin: Origin) -> None:
        key, now_ms = load_pem_public_key(hub.public_key.encode()), self._authority.clock.now_ms()
        if not await codes.take(tx, clinic_id, found.digest, _spki(key), hub.hub_id, now_ms):
            raise TryAgain
        replaced = found.row.replaces
        entries = [
            Entry(
                "hub_claimed",
                user_id=found.row.made_by,
                hub_id=hub.hub_id,
                address=origin.address,
                detail={"site_id": hub.site_id, "replaces": replaced},
            )
        ]
        if replaced not in {None, hub.hub_id} and await hubs.replace(
            tx, clinic_id, str(replaced), hub.hub_id
        ):
            detail = {"replaced_by": hub.hub_id}
            entries.append(Entry("hub_revoked", user_id=found.row.made_by, hub_id=replaced, detail=detail))
        await self._authority.trail.append(tx, clinic_id, *entries)

    async def _proved(
        self, tx: Tx, hub_id: str, assertion: str, origin: Origin
    ) -> tuple[str, HubRow] | Refusal:
        """The clinic and the hub whose key signed this, for the first time."""
        candidates = [
            (clinic_id, hub)
            for clinic_id in await hubs.clinics_of(tx, hub_id)
            if (hub := await hubs.get(tx, clinic_id, hub_id)) is not None
        ]
        # a hub that moved to another clinic with its key is where it came in last, and was not sent away
        candidates.sort(key=lambda found: (found[1].revoked, -found[1].made_at_ms))
        for clinic_id, hub in candidates:
            key = _key_of(hub)
            if not is_signed_by(assertion, key):
                continue
            proof = verify_proof(assertion, [key], self._place.server_id, self._authority.clock)
            if not await attempts.show_once(tx, clinic_id, proof.issuer, proof.jti, proof.ends_ms):
                raise TokenInvalid("the proof was used before")
            return clinic_id, hub
        # of two clinics that have such a hub, neither is told what the other's does
        concerned = candidates[0][0] if len(candidates) == 1 else NO_CLINIC
        return await self._wrong_key(tx, concerned, hub_id, origin)

    async def _wrong_key(self, tx: Tx, clinic_id: str, hub_id: str, origin: Origin) -> Refusal:
        """Counted against its address, which holds up no proof by the right key; noted as long as it need not wait."""
        subject, now_ms = proof_subject(origin), self._authority.clock.now_ms()
        wait = await locked(tx, [subject], now_ms)
        if wait is not None:
            return wait
        full = await fail(tx, [subject], now_ms)
        for event in ("hub_token_refused", *(["locked_out"] if full else [])):
            entry = Entry(event, hub_id=hub_id, address=origin.address)
            await self._authority.trail.append(tx, clinic_id, entry)
        # one answer, whether there is such a hub or not
        return TokenInvalid("the proof's signature fits no key of its issuer that is known here")


async def _going_on(authority: Authority, clinic_id: str, adopt: Adopt | None) -> list[str]:
    """Which of the sessions that were brought are good here."""
    if adopt is None:
        return []
    held = await authority.transactions.read(lambda tx: sessions.everyone(tx, clinic_id))
    good = {session.session_id for session in held if not session.revoked}
    return [brought.session_id for brought in adopt.sessions if brought.session_id in good]


def _key_of(hub: HubRow) -> EllipticCurvePublicKey:
    key = load_pem_public_key(hub.public_key.encode())
    assert isinstance(key, EllipticCurvePublicKey)
    return key


def check_url(url: str) -> str:
    """Where a hub says that it is found; Invalid where nobody could go there."""
    try:
        parts = urlsplit(url)
        lawful = parts.scheme in {"https", "http"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        lawful = False
    else:
        lawful = lawful and not (parts.username or parts.query or parts.fragment) and parts.path in {"", "/"}
    if not lawful:
        raise Invalid("url is https://host:port", field="url")
    return url.rstrip("/")


def _spki(key: object) -> bytes:
    assert isinstance(key, EllipticCurvePublicKey)
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _pem(key: EllipticCurvePublicKey) -> str:
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode("ascii")
