"""What a hub knows of having been claimed: by which cloud, for which clinic and site, with which certificate.

One secret in the store, written at once: a hub was claimed or it was not.
"""

from __future__ import annotations

import hashlib
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import Encoding
from pydantic import BaseModel, ConfigDict

from medxz.store.registry import SqliteRegistry
from medxz.trust.certificates import Credential, private_key
from medxz.wire import ConfigAnswer, JwksAnswer

CLAIM: Final = "claim"
KEY: Final = "hub_key"


class Claimed(BaseModel):
    """The claim, as it is kept. `began_alone`: its own CA goes on standing for it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    hub_id: str
    clinic_id: str
    site_id: str
    cloud_id: str
    cloud_url: str
    cloud_ca: str | None
    certificate: str
    key: str
    began_alone: bool
    code_hash: str
    keys: JwksAnswer
    config: ConfigAnswer

    @property
    def credential(self) -> Credential:
        return Credential(self.certificate.encode(), self.key.encode())

    @property
    def private_key(self) -> EllipticCurvePrivateKey:
        return private_key(self.key.encode())

    @property
    def cloud_ca_certificates(self) -> list[str]:
        """The roots that an operator gave to trust the cloud by, each as PEM; none where the system's are."""
        roots = x509.load_pem_x509_certificates(self.cloud_ca.encode()) if self.cloud_ca is not None else []
        return [root.public_bytes(Encoding.PEM).decode("ascii") for root in roots]

    def told(self) -> dict[str, str]:
        """What `medxz-hub claim` answers."""
        return {"hub_id": self.hub_id, "clinic_id": self.clinic_id, "site_id": self.site_id}


def hash_of(code: str) -> str:
    """By which the same code is known again."""
    return hashlib.sha256("".join(code.split()).upper().encode()).hexdigest()


async def load_claim(registry: SqliteRegistry) -> Claimed | None:
    """The claim; None on a hub that was never claimed."""
    text = await registry.get_secret(CLAIM)
    return Claimed.model_validate_json(text) if text is not None else None


async def keep_claim(registry: SqliteRegistry, claim: Claimed) -> None:
    await registry.put_secret(CLAIM, claim.model_dump_json().encode())
