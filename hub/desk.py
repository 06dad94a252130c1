"""What a hub does for its operator out of its store alone, running or not: tokens, its CA's certificate, and on a hub
without a cloud its people and devices.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

from cryptography import x509

from hub.alone.office import Office, opened_office
from hub.ask import Json
from hub.config import HubPlaces
from hub.identity import HubIdentity, load_identity
from hub.issue import TokenDesk, TokenRequest
from hub.storage import Storage, open_storage
from medxz.clock import SystemClock
from medxz.ids import RandomIds
from medxz.program.keys import read_key
from medxz.trust.certificates import ca_fingerprint

DECISIONS: Final = (
    "user_add", "user_list", "user_disable", "user_passwd", "user_roles", "device_list", "device_revoke",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Desk:
    """The commands that need the store alone, running or not."""

    identity: HubIdentity
    tokens: TokenDesk
    office: Office | None

    async def token(self, arguments: Json) -> Json:
        """A token, as `medxz-hub token` prints it."""
        return {"access_token": await self.tokens.issue(TokenRequest.read(arguments))}

    async def ca(self, _arguments: Json) -> Json:
        """What clients are to trust."""
        claim = self.identity.claim
        if claim is None or claim.began_alone:
            certificate = self.identity.root.certificate_pem.decode()
            return {"ca_certificate": certificate, "ca_fingerprint": self.identity.ca_fingerprint}
        roots = "".join(claim.config.ca_certificates)
        first = x509.load_pem_x509_certificate(roots.encode())
        return {"ca_certificate": roots, "ca_fingerprint": ca_fingerprint(first)}

    def table(self) -> dict[str, Callable[[Json], Awaitable[Json]]]:
        return {
            "token": self.token,
            "ca": self.ca,
            **{name: partial(self._decide, name) for name in DECISIONS},
        }

    async def _decide(self, command: str, arguments: Json) -> Json:
        """What the operator of a hub alone decides about people and devices."""
        from hub.alone.desk import LoneDesk  # and its forms, when somebody asks

        return await LoneDesk(self.identity, self.office).table()[command](arguments)


def desk_of(storage: Storage, identity: HubIdentity, office: Office | None) -> Desk:
    """That of an open store; `office` is not there on a hub that was claimed."""
    own = office if identity.claim is None else None
    tokens = TokenDesk(identity, storage.registry, storage.clock, RandomIds(), own)
    return Desk(identity, tokens, own)


def answer_stopped(places: HubPlaces, environ: Mapping[str, str], command: str, arguments: Json) -> Json:
    """The same answer without a running hub: the store is opened for it, under its lock."""

    async def answer() -> Json:
        # whoever has the lock may be a hub that starts: then it is asked, which is not waited for here
        async with open_storage(
            places, lambda: read_key(places.key_file, environ), SystemClock(), lock_wait_s=0
        ) as storage:
            identity = await load_identity(storage)
            async with opened_office(storage, identity, RandomIds()) as office:
                return await desk_of(storage, identity, office).table()[command](arguments)

    return asyncio.run(answer())
