"""A cloud in a database, with a clinic in it; each `Relay` is what one of its processes would have."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from pathlib import Path

from argon2 import PasswordHasher
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from medxz import limits
from medxz.accounts.base import Authority
from medxz.accounts.cloud import Assembled, assemble
from medxz.accounts.passwords import Passwords
from medxz.accounts.server import Server
from medxz.errors import Forbidden
from medxz.ids import RandomIds
from medxz.service.accounts import Origin
from medxz.service.gate import Caller, Gate
from medxz.store.authority import audit
from medxz.store.authority.audit import AuditTrail
from medxz.store.authority.base import Transactions
from medxz.store.authority.known import Directories
from medxz.store.authority.postgres import open_postgres
from medxz.store.authority.secrets import Seal
from medxz.store.authority.sqlite import open_sqlite
from medxz.store.postgres.pool import Pool, open_pool
from medxz.trust.certificates import key_text
from medxz.trust.clinic_ca import make_request
from medxz.trust.proofs import sign_proof
from medxz.trust.tokens import TokenVerifier
from medxz.wire import (
    AssertionRequest,
    ClaimAnswer,
    ClaimRequest,
    CloudPlace,
    EnrolAnswer,
    EnrolRequest,
    LoginRequest,
    SessionAnswer,
    Target,
)
from medxz.work import ThreadWorker
from tests.making import HandClock

KEY = bytes(range(32))
QUICK = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)
URL = "https://cloud.example.org:8443"
EMAIL = "ada@example.org"
PASSWORD = "seven kettles boil slowly"
HERE = Origin("198.51.100.7")
IDS = RandomIds()


@dataclass
class Tablet:
    """A device and its key."""

    key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    device_id: str = ""

    @property
    def public_key(self) -> str:
        raw = self.key.public_key().public_bytes_raw()
        return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


@dataclass
class Box:
    """A hub and its key."""

    hub_id: str = field(default_factory=IDS.uuid7)
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    def csr(self, hub_id: str | None = None) -> str:
        return make_request(key_text(self.key), hub_id or self.hub_id, names=["clinic-pi"])


class Relay:
    """One process of the cloud."""

    def __init__(self, transactions: Transactions, clock: HandClock, server_id: str) -> None:
        self.transactions = transactions
        self.clock = clock
        self.server_id = server_id
        self.authority = Authority(transactions, Seal(KEY), AuditTrail(IDS, clock), clock, IDS)
        self.passwords = Passwords([ThreadWorker("passwords")], QUICK)
        self.directories = Directories(
            transactions, clock, Target(kind="cloud", url=URL, server_id=server_id)
        )
        place = CloudPlace(server_id=server_id, url=URL)
        made: Assembled = assemble(self.authority, self.passwords, self.directories, place)
        self.admin, self.accounts, self.ring = made.administration, made.accounts, made.ring
        self.gate = Gate(
            TokenVerifier(self.ring.public, clock, lasts_s_max=limits.ACCESS_TOKEN_S),
            self.directories.of,
            clock,
            self.directories.refresh,
        )

    async def caller(self, token: str) -> Caller:
        return await self.gate.identify(token)

    async def tablet(self, clinic_id: str, site: str = "North", **options: object) -> Tablet:
        """A device that was let in by a code."""
        [code] = await self.admin.codes.make(clinic_id, "device", site, **options)  # type: ignore[arg-type]
        tablet = Tablet()
        tablet.device_id = (await self.enrol(code.code, tablet)).device_id
        return tablet

    async def enrol(self, code: str, tablet: Tablet, origin: Origin = HERE) -> EnrolAnswer:
        request = EnrolRequest(code=code, name="Tablet 1", public_key=tablet.public_key)
        return await self.accounts.enrol(request, origin)

    async def login(
        self,
        tablet: Tablet,
        email: str = EMAIL,
        password: str = PASSWORD,
        *,
        totp: str | None = None,
        origin: Origin = HERE,
    ) -> SessionAnswer:
        request = LoginRequest(email=email, password=password, device_id=tablet.device_id, totp=totp)
        return await self.accounts.login(request, origin)

    async def claim(self, code: str, box: Box, **options: object) -> ClaimAnswer:
        request = ClaimRequest(code=code, csr=box.csr(), name="Hub 1", **options)  # type: ignore[arg-type]
        return await self.accounts.claim(request, HERE)

    async def box(self, clinic_id: str, site: str = "North", **options: object) -> Box:
        """A hub that was claimed."""
        [code] = await self.admin.codes.make(clinic_id, "hub", site, **options)  # type: ignore[arg-type]
        box = Box()
        await self.claim(code.code, box)
        return box

    async def hub_token(self, box: Box, url: str | None = None) -> str:
        assertion = sign_proof(box.key, box.hub_id, self.server_id, self.clock, IDS)
        request = AssertionRequest(assertion=assertion, url=url)
        return (await self.accounts.hub_token(request, HERE)).access_token

    async def events(self, clinic_id: str, *events: str) -> list[audit.Noted]:
        """What was noted, the oldest first; of these events only, where some are named."""
        wanted = audit.Wanted()
        noted = await self.transactions.read(lambda tx: audit.page(tx, clinic_id, wanted, None, 1_000))
        return [entry for entry in reversed(noted) if not events or entry.event in events]

    async def is_known(self, clinic_id: str) -> bool:
        try:
            await self.directories.of(clinic_id)
        except Forbidden:
            return False
        return True


class House:
    """The database, and the clinic that is in it from the beginning."""

    def __init__(self, path: Path | None, url: str | None) -> None:
        self.clock = HandClock()
        self.clinic_id = ""
        self.admin_id = ""
        self.site_id = ""
        self.server_id = ""
        self._path = path
        self._url = url
        self._relays: list[Relay] = []
        self._pools: list[Pool] = []

    async def relay(self) -> Relay:
        transactions = await self._open()
        if not self.server_id:
            authority = Authority(transactions, Seal(KEY), AuditTrail(IDS, self.clock), self.clock, IDS)
            self.server_id = (await Server(authority).init()).server_id
        relay = Relay(transactions, self.clock, self.server_id)
        await relay.ring.refresh()
        self._relays.append(relay)
        return relay

    async def begin(self) -> Relay:
        relay = await self.relay()
        made = await relay.admin.clinics.add("North River Clinic", ["North", "South"], EMAIL, "Ada", PASSWORD)
        self.clinic_id, self.admin_id, self.site_id = (
            made.clinic_id,
            made.admin_user_id,
            made.sites[0].site_id,
        )
        return relay

    async def close(self) -> None:
        for relay in self._relays:
            relay.passwords.close()
            await relay.transactions.close()
        for pool in self._pools:
            await pool.close()

    async def _open(self) -> Transactions:
        if self._path is not None:
            return await open_sqlite(self._path, KEY, ThreadWorker("authority"))
        assert self._url is not None
        pool = await open_pool(self._url, connections_max=8)
        self._pools.append(pool)
        return await open_postgres(pool)
