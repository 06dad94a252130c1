"""The CA of each clinic: made with the clinic, its keys sealed in the store, the root's as long as it is left there.

The root's key can be taken away to a safe: the intermediate works on without it, and is renewed when it is brought back.
Refused: a root key that is not this clinic's, taking a root key away that nobody has a copy of (it is handed out first).
"""

from __future__ import annotations

from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from medxz.accounts.base import Authority, clinic_of
from medxz.errors import Invalid, NotFound
from medxz.store.authority import clinics, secrets
from medxz.store.authority.audit import Entry
from medxz.store.authority.base import Tx
from medxz.trust.certificates import Credential, ca_fingerprint, needs_renewal, private_key
from medxz.trust.clinic_ca import ServerRequest, issue_requested, make_clinic_root, make_intermediate

_ROOT_KEY: Final = "ca_root_key"
_WORKING_KEY: Final = "ca_intermediate_key"
# what a courier set out with before the intermediate was renewed is read with the key of then
_WORKING_KEY_BEFORE: Final = "ca_intermediate_key_before"


class ClinicCas:
    """The use cases about CAs. One instance a server."""

    def __init__(self, authority: Authority) -> None:
        self._authority: Final = authority

    async def make(self, tx: Tx, clinic_id: str) -> None:
        """A root and an intermediate for a clinic that has none."""
        now_ms = self._authority.clock.now_ms()
        root = make_clinic_root(clinic_id, now_ms)
        await self._keep(tx, clinic_id, "root", root)
        await self._keep(tx, clinic_id, "intermediate", make_intermediate(root, clinic_id, now_ms))
        detail = {"fingerprint": ca_fingerprint(root.certificate)}
        await self._authority.trail.append(tx, clinic_id, Entry("ca_made", detail=detail))

    async def issue(self, tx: Tx, clinic_id: str, request: ServerRequest) -> str:
        """The chain that was asked for, noted. An intermediate that is due is renewed before, where the root is here."""
        now_ms = self._authority.clock.now_ms()
        working = await self._working(tx, clinic_id)
        if needs_renewal(working.certificate, now_ms):
            working = await self._renewed(tx, clinic_id) or working
        try:
            chain = issue_requested(working, request, now_ms).decode("ascii")
        except ValueError:
            raise Invalid(
                "the clinic's intermediate certificate has ended; bring its root key back", field="csr"
            ) from None
        leaf = x509.load_pem_x509_certificate(chain.encode())
        detail = {"serial": f"{leaf.serial_number:x}", "server_id": request.server_id}
        entry = Entry("certificate_issued", hub_id=request.server_id, detail=detail)
        await self._authority.trail.append(tx, clinic_id, entry)
        return chain

    async def working_keys(self, tx: Tx, clinic_id: str) -> list[EllipticCurvePrivateKey]:
        """The keys that the intermediate has, and had before: what hubs encrypt for their cloud opens with them."""
        names = (_WORKING_KEY, _WORKING_KEY_BEFORE)
        held = [await secrets.get(tx, self._authority.seal, clinic_id, name) for name in names]
        return [private_key(key) for key in held if key is not None]

    async def export_root(self, clinic_id: str) -> bytes:
        """The root with its key, as PEM, for a safe."""

        async def read(tx: Tx) -> bytes:
            root = await self._root(tx, clinic_id)
            if root is None:
                raise NotFound("the clinic's root key is not here: it was taken away")
            entry = Entry("ca_root_exported", detail={"fingerprint": ca_fingerprint(root.certificate)})
            await self._authority.trail.append(tx, clinic_id, entry)
            return root.certificate_pem + root.key_pem

        return await self._authority.decide(read)

    async def remove_root(self, clinic_id: str, exported: bytes) -> None:
        """Take the root's key away. `exported` is what `export_root` gave: who can't show it has no copy."""

        async def remove(tx: Tx) -> None:
            await self._check_root(tx, clinic_id, exported)
            await secrets.delete(tx, clinic_id, _ROOT_KEY)
            await self._authority.trail.append(tx, clinic_id, Entry("ca_root_removed"))

        await self._authority.decide(remove)

    async def renew(self, clinic_id: str, exported: bytes | None = None) -> None:
        """A new intermediate: with the root's key as it lies here, or as it is brought for this once."""

        async def renew(tx: Tx) -> None:
            root = await self._root(tx, clinic_id) if exported is None else None
            if exported is not None:
                root = await self._check_root(tx, clinic_id, exported)
            if await self._renewed(tx, clinic_id, root) is None:
                raise NotFound("the clinic's root key is not here: bring it back to renew the intermediate")

        await self._authority.decide(renew)

    async def _renewed(self, tx: Tx, clinic_id: str, root: Credential | None = None) -> Credential | None:
        root = root or await self._root(tx, clinic_id)
        if root is None:
            return None
        made = make_intermediate(root, clinic_id, self._authority.clock.now_ms())
        await self._keep(tx, clinic_id, "intermediate", made)
        await self._authority.trail.append(tx, clinic_id, Entry("ca_made", detail={"intermediate": True}))
        return made

    async def _keep(
        self, tx: Tx, clinic_id: str, kind: clinics.CertificateKind, credential: Credential
    ) -> None:
        await clinics.add_certificate(
            tx, clinic_id, ca_fingerprint(credential.certificate), kind, credential.certificate_pem.decode(),
            self._authority.clock.now_ms(),
        )  # fmt: skip
        name = _ROOT_KEY if kind == "root" else _WORKING_KEY
        before = await secrets.get(tx, self._authority.seal, clinic_id, _WORKING_KEY)
        if kind == "intermediate" and before is not None:
            await secrets.put(tx, self._authority.seal, clinic_id, _WORKING_KEY_BEFORE, before)
        await secrets.put(tx, self._authority.seal, clinic_id, name, credential.key_pem)

    async def _working(self, tx: Tx, clinic_id: str) -> Credential:
        key = await secrets.get(tx, self._authority.seal, clinic_id, _WORKING_KEY)
        if key is None:
            raise NotFound("the clinic has no CA")
        return _of_key(await clinics.certificates(tx, clinic_id), "intermediate", key)

    async def _root(self, tx: Tx, clinic_id: str) -> Credential | None:
        await clinic_of(tx, clinic_id)
        key = await secrets.get(tx, self._authority.seal, clinic_id, _ROOT_KEY)
        return None if key is None else _of_key(await clinics.certificates(tx, clinic_id), "root", key)

    async def _check_root(self, tx: Tx, clinic_id: str, exported: bytes) -> Credential:
        await clinic_of(tx, clinic_id)
        try:
            return _of_key(await clinics.certificates(tx, clinic_id), "root", exported)
        except (ValueError, NotFound):
            raise Invalid("this is not the root key of this clinic", field="root") from None


async def root_fingerprint(tx: Tx, clinic_id: str) -> str:
    """What people compare and QR codes carry: the fingerprint of the clinic's own root."""
    for certificate in await clinics.certificates(tx, clinic_id):
        if certificate.kind == "root":
            return certificate.fingerprint
    raise NotFound("the clinic has no CA")


def _of_key(held: list[clinics.Certificate], kind: clinics.CertificateKind, key_pem: bytes) -> Credential:
    """The certificate of this kind that the key belongs to."""
    public = private_key(key_pem).public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    for row in held:
        credential = Credential(row.pem.encode(), key_pem)
        if row.kind == kind and public == credential.certificate.public_key().public_bytes(
            Encoding.DER, PublicFormat.SubjectPublicKeyInfo
        ):
            return credential
    raise NotFound(f"the clinic has no {kind} certificate of that key")
