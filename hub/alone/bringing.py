"""What a hub that began alone brings to the clinic of its cloud: everybody who came in, so that nobody comes in anew.

Passwords and refresh tokens are brought as the hashes that the hub has of them. Refused: more than a claim may carry.
Sessions beyond that are left behind, those that were used longest ago.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from pydantic import ValidationError

from medxz import limits
from medxz.program.errors import CommandFailed
from medxz.store.passed import PassedSession
from medxz.wire import Adopt

if TYPE_CHECKING:
    from hub.alone.office import Office
    from hub.identity import HubIdentity
    from medxz.clock import Clock
    from medxz.store.authority.base import Tx
    from medxz.store.authority.sessions import SessionRow, Tokens
    from medxz.store.directory import DeviceEntry, Directory, User
    from medxz.store.passed import PassedSessions

_ROLES: Final = frozenset({"admin", "clinician", "front_desk"})


@dataclass(frozen=True, slots=True)
class _Held:
    """What the accounts have beside the directory."""

    hashes: dict[str, str | None] = field(default_factory=dict)
    sessions: list[tuple[SessionRow, Tokens]] = field(default_factory=list)


async def brought(identity: HubIdentity, directory: Directory, office: Office) -> Adopt:
    """What a claim takes along; CommandFailed where that is more than it may."""
    held, is_known = await _held(office), directory.devices.keys()
    going_on = [
        (session, tokens)
        for session, tokens in held.sessions
        if session.user_id in directory.users
        and session.device_id in is_known
        and not directory.devices[session.device_id].revoked
        and not directory.users[session.user_id].disabled
        and session.session_id not in directory.revoked_sessions
    ]
    going_on.sort(key=lambda one: one[0].last_used_ms, reverse=True)
    try:
        return Adopt.model_validate(
            {
                "clinic_id": identity.clinic_id,
                "ca_certificate": identity.root.certificate_pem.decode(),
                "devices": [_device(device, identity.site_id) for device in directory.devices.values()],
                "users": [_user(user, held.hashes.get(user.user_id)) for user in directory.users.values()],
                "sites": [{"site_id": identity.site_id, "name": f"Site of hub {identity.server_id[-8:]}"}],
                "sessions": [_session(*one) for one in going_on[: limits.ADOPTED_MAX]],
            }
        )
    except ValidationError as error:
        raise _too_much(directory, error) from None


async def keep_sessions(
    passed: PassedSessions, adopt: Adopt, going_on: AbstractSet[str], clock: Clock
) -> None:
    """The cloud has just stood for these: they are renewed here too when it can't be reached, as any that went through."""
    for session in adopt.sessions:
        if session.session_id not in going_on:
            continue
        known = PassedSession(
            session.session_id,
            session.user_id,
            session.device_id,
            adopt.sites[0].site_id,
            frozenset(),
            clock.now_ms(),
        )
        for digest in (session.used, session.fresh[0]):
            if digest is not None:
                await passed.keep_hash(bytes.fromhex(digest), known)


async def _held(office: Office) -> _Held:
    accounts = await office.if_founded()
    if accounts is None:
        return _Held()

    from medxz.store.authority import sessions, users

    async def read(tx: Tx) -> _Held:
        tokens = await sessions.tokens_of_all(tx, office.clinic_id)
        rows = await sessions.everyone(tx, office.clinic_id)
        return _Held(
            {user.user_id: user.password_hash for user in await users.everyone(tx, office.clinic_id)},
            [(row, tokens[row.session_id]) for row in rows if row.session_id in tokens and not row.revoked],
        )

    return await accounts.authority.transactions.read(read)


def _device(device: DeviceEntry, site_id: str) -> dict[str, Any]:
    from medxz.accounts.base import wire_bytes

    return {
        "device_id": device.device_id,
        "name": device.name,
        "site_id": site_id,
        "scope": device.scope,
        "revoked": device.revoked,
        "public_keys": [wire_bytes(key) for key in device.public_keys],
        "authors": sorted(device.authors),
    }


def _user(user: User, password_hash: str | None) -> dict[str, Any]:
    return {
        "user_id": user.user_id,
        "name": user.name,
        "email": user.email,
        "roles": sorted(user.roles & _ROLES),
        "disabled": user.disabled,
        "password_hash": password_hash,
    }


def _session(session: SessionRow, tokens: Tokens) -> dict[str, Any]:
    return {
        "session_id": session.session_id,
        "user_id": session.user_id,
        "device_id": session.device_id,
        "fresh": [token.hex() for token in tokens.fresh[: limits.ADOPTED_TOKENS_MAX]],
        "used": tokens.used.hex() if tokens.used is not None else None,
    }


def _too_much(directory: Directory, error: ValidationError) -> CommandFailed:
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(map(str, first["loc"]))
    counts = f"{len(directory.devices):,} devices and {len(directory.users):,} people"
    return CommandFailed(
        f"this hub has {counts}; a claim takes {limits.ADOPTED_MAX:,} of each, with up to"
        f" {limits.DEVICE_KEYS_MAX} keys a device ({where}: {first['msg']})",
        "it goes on alone as it is; claim another hub in a directory of its own, and enrol its devices there",
        "too_much",
    )
