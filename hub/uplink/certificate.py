"""The certificate that the cloud gave: renewed by it before it ends, and when the machine is met under another address."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

from cryptography.x509 import load_pem_x509_certificate

from hub.claimed import Claimed, keep_claim
from medxz.clock import Clock
from medxz.errors import PeerRefused, PeerUnreachable
from medxz.store.registry import SqliteRegistry
from medxz.trust.certificates import Credential, covers, needs_renewal
from medxz.trust.clinic_ca import is_local_name, make_request
from medxz.wire import RenewAnswer, RenewRequest


class Renewing(Protocol):
    """A cloud that certifies its hubs."""

    async def renew_certificate(self, request: RenewRequest) -> RenewAnswer: ...


class CloudCertificate:
    """One hub's, with its key."""

    def __init__(self, claim: Claimed, registry: SqliteRegistry, cloud: Renewing, clock: Clock) -> None:
        self._claim = claim
        self._registry: Final = registry
        self._cloud: Final = cloud
        self._clock: Final = clock
        self._is_brought = False

    @property
    def claim(self) -> Claimed:
        """With the certificate of now."""
        return self._claim

    def bring(self, claim: Claimed) -> None:
        """Another certificate came by a courier, and is kept already: the next to renew finds it."""
        self._claim, self._is_brought = claim, True

    @property
    def credential(self) -> Credential:
        """The one of now."""
        return self._claim.credential

    @property
    def shown(self) -> Credential:
        """The same with the clinic's CAs behind it: who has only a fingerprint can hold it against what is shown."""
        roots = self._registry.config.ca_certificates or self._claim.config.ca_certificates
        chain = "\n".join(text.strip() for text in (self._claim.certificate, *roots)) + "\n"
        return Credential(chain.encode(), self._claim.key.encode())

    @property
    def serves(self) -> bool:
        """Whether devices are shown it. Those of a hub that began alone know the hub's own CA."""
        return not self._claim.began_alone

    async def renew(self, names: Sequence[str], addresses: Sequence[str]) -> bool:
        """Ask for another where that is due; whether there is one. Without the cloud the old one goes on.

        It is made by the cloud's clock, whatever the clock here says: to ask too early does no harm.
        """
        if self._is_brought:
            self._is_brought = False
            return True
        claim, certificate = self._claim, self.credential.certificate
        names = [name for name in names if is_local_name(name.lower())]
        if not needs_renewal(certificate, self._clock.now_ms()) and covers(
            certificate, claim.hub_id, names=names, addresses=addresses
        ):
            return False
        csr = make_request(claim.key.encode(), claim.hub_id, names=names, addresses=addresses)
        try:
            answer = await self._cloud.renew_certificate(RenewRequest(csr=csr))
        except (PeerUnreachable, PeerRefused):
            return False
        renewed = claim.model_copy(update={"certificate": answer.certificate})
        await keep_claim(self._registry, renewed)
        self._claim = renewed
        return True


def brought(claim: Claimed, renewal: RenewAnswer) -> Claimed | None:
    """The claim with a certificate that was brought; None where it is of another key, or no newer than the one here."""
    try:
        now, then = claim.credential.certificate, load_pem_x509_certificate(renewal.certificate.encode())
        is_ours = then.public_key() == now.public_key()
    except ValueError:
        return None
    if not is_ours or then.not_valid_after_utc <= now.not_valid_after_utc:
        return None
    return claim.model_copy(update={"certificate": renewal.certificate})
