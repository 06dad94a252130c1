"""Who uses the device: becoming one of a clinic's devices, logging in, logging out. Part of `Device`.

Recording goes on whoever is logged in, and when the session has ended: its user stays the author. Several people may
use a device one after the other; the session of who logged in last is the one that syncs.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, TypeAlias

from medxz.device.in_step import InStepCalls
from medxz.device.locking import LockCalls, hash_of
from medxz.device.reach import by_address, no_token, of_clinic, over_http
from medxz.device.store import DeviceStore
from medxz.device.store.identity import public_key_text
from medxz.device.store.sessions import Enrolled, Session
from medxz.device.store.targets import TARGETS_MAX, Told, joined
from medxz.errors import ConfigurationError, PeerRefused, PeerUnreachable, PeerUntrusted
from medxz.ids import Ids

if TYPE_CHECKING:
    from medxz.device.device import Machine
    from medxz.device.invitation import Invitation, Shown
    from medxz.device.store.identity import Tls


Compare: TypeAlias = Callable[[str], Awaitable[bool]]
"""Asks a person whether these are the characters that stood by the code."""

_NOBODY_ELSE: Final = (
    "a login needs a server, so nobody else comes in now; who is logged in goes on (`medxz unlock` where it is locked),"
    " and what is recorded is kept"
)


@dataclass(frozen=True, slots=True)
class LoggedIn:
    """Who is logged in, at which clinic, and what that person may do."""

    user_id: str
    name: str
    email: str
    clinic_id: str
    clinic_name: str
    roles: Sequence[str]


class SessionCalls(LockCalls, InStepCalls):
    """What `Device` has of sessions."""

    _ids: Ids

    async def login(self, email: str, password: str, totp: str | None = None) -> LoggedIn:
        """Begin a session: ops are recorded as this user's from now on. PeerRefused says why not."""
        from medxz import wire

        identity = await self._worker.run(self._store.identity)
        request = wire.LoginRequest(email=email, password=password, device_id=identity.device_id, totp=totp)
        try:
            told = await self._ask(lambda server: server.login(request))
        except (PeerUnreachable, PeerRefused) as error:
            if _is_offline(error):
                error.hint = _NOBODY_ELSE
            raise
        if told.clinic.clinic_id != identity.clinic_id:
            raise PeerUnreachable(f"{identity.server_url} logged in to another clinic: nothing was changed")
        ends_ms = self._clock.now_ms() + told.expires_in * 1_000
        session = Session(
            told.user.user_id,
            told.user.email,
            told.access_token,
            told.refresh_token,
            ends_ms,
            tuple(told.roles),
        )
        password_hash = await self._worker.run(hash_of, password)
        await self._worker.run(self._store.log_in, session, password_hash)
        self._renewal.changed()
        return LoggedIn(
            told.user.user_id, told.user.name, told.user.email, told.clinic.clinic_id, told.clinic.name,
            tuple(told.roles),
        )  # fmt: skip

    async def logout(self) -> bool:
        """End the session here, and at the server. False: that one can't be told now; there it ends unused."""
        from medxz import wire

        await self._user()  # whoever finds it locked can't leave it without anybody
        session = await self._worker.run(self._store.session)
        is_told = True
        if session.refresh_token is not None:
            request = wire.LogoutRequest(refresh_token=session.refresh_token)
            try:
                await self._ask(lambda server: server.logout(request))
            except (PeerUnreachable, PeerRefused) as error:
                is_told = isinstance(error, PeerRefused) and error.status < 500  # it knows of no such session
        await self._worker.run(self._store.log_out)
        self._renewal.changed()
        return is_told


async def enrol(
    store: DeviceStore, machine: Machine, invitation: Invitation, name: str, ca_pem: str | None,
    compare: Compare | None = None,
) -> Enrolled:  # fmt: skip
    """Become the device that the code lets in. The key is durable before it is sent; the code goes to nobody else."""
    from medxz import wire
    from medxz.device.discovery.invited import met
    from medxz.device.invitation import holds

    worker = machine.worker
    key = await worker.run(store.key_to_enrol)
    invitation, shown = await met(invitation, worker, machine.hear)
    if shown.is_hub and ca_pem is None and invitation.fingerprint is None:
        invitation = await _compared(invitation, shown, compare)
    tls, pem = _trusted(invitation, shown, ca_pem)
    context = None if pem is None else of_clinic(pem) if tls == "hub" else by_address(pem)
    server = (machine.connect or over_http)(invitation.server_url, token=no_token, ssl_context=context)
    try:
        told = await server.enrol(
            wire.EnrolRequest(code=invitation.code, name=name, public_key=public_key_text(key))
        )
    finally:
        await server.aclose()
    if not holds(invitation.fingerprint, told.ca_certificates):
        raise PeerUntrusted(
            f"{invitation.server_url} gave no CA of the fingerprint that was asked for: nothing was changed"
        )
    hub_cas = joined(told.ca_certificates) or (pem if tls == "hub" else None)
    new = Enrolled(
        told.clinic_id, told.device_id, told.site_id, name, invitation.server_url, tls,
        hub_cas if tls == "hub" else pem, hub_cas,
        tuple(Told(one.url.rstrip("/"), one.kind, one.server_id, "config") for one in told.targets[:TARGETS_MAX]),
    )  # fmt: skip
    await worker.run(store.enrolled, new)
    return new


async def _compared(invitation: Invitation, shown: Shown, compare: Compare | None) -> Invitation:
    """A typed code says nothing of the hub's CA: a person holds what is shown here against what stood by the code."""
    from medxz.trust.certificates import ca_fingerprint, to_compare

    fingerprint = ca_fingerprint(shown.chain[-1])
    characters = to_compare(fingerprint)
    if compare is None:
        about = f"{invitation.server_url} is a hub, and the fingerprint of its CA begins with {characters}"
        raise ConfigurationError(
            [
                f"{about}: if these stood by the code too, give them (--fp '{characters}'); the code was not sent"
            ]
        )
    if not await compare(characters):
        raise PeerUntrusted(f"{invitation.server_url} is not the one that was meant: the code was not sent")
    return replace(invitation, fingerprint=fingerprint)


def _is_offline(error: PeerUnreachable | PeerRefused) -> bool:
    return type(error) is PeerUnreachable or (
        isinstance(error, PeerRefused) and error.code == "cloud_required"
    )


def _trusted(invitation: Invitation, shown: Shown, ca_pem: str | None) -> tuple[Tls, str | None]:
    """How the server's certificate is to be held against what; PeerUntrusted where it is not the one invited to."""
    from cryptography.hazmat.primitives.serialization import Encoding

    if not shown.is_hub:
        return "address", ca_pem
    if ca_pem is not None:
        return "hub", ca_pem
    root = shown.root(invitation.fingerprint)
    if root is None:
        raise PeerUntrusted(
            f"{invitation.server_url} shows no CA of the fingerprint that was asked for: the code was not sent"
        )
    return "hub", root.public_bytes(Encoding.PEM).decode()
