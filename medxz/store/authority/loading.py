"""A clinic's directory and configuration, read whole as of one moment."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cryptography import x509

from medxz.store.authority import clinics, config, devices, hubs, sessions, users
from medxz.store.authority.clinics import Certificate
from medxz.store.directory import ClinicConfig, DeviceEntry, Directory, HubEntry, User
from medxz.trust.certificates import root_of_hub
from medxz.wire import Target

if TYPE_CHECKING:
    from medxz.store.authority.base import Tx

CONFIG_NAMES: Final = ("keep_own_days", "offline_session_hours", "require_signed_ops", "routing", "hub_names")
"""What a clinic decides; the rest of its configuration follows from what it has."""


@dataclass(frozen=True, slots=True)
class Loaded:
    directory: Directory
    config: ClinicConfig
    nonce: int | None
    """Of the directory's revision; None where the clinic is not here."""


async def load(tx: Tx, clinic_id: str, known: int | None, cloud: Target | None) -> Loaded | None:
    """None where `known` is its nonce still. A clinic that is not here has a directory with nobody in it, of revision 0."""
    clinic = await clinics.get(tx, clinic_id)
    if clinic is None:
        return Loaded(Directory(), ClinicConfig(), None) if known is not None else None
    if clinic.nonce == known:
        return None
    directory = Directory(
        users={user.user_id: _user(user) for user in await users.everyone(tx, clinic_id)},
        devices=await _devices(tx, clinic_id),
        sites={site.site_id: site.name for site in await clinics.sites(tx, clinic_id)},
        hubs={hub.hub_id: _hub(hub) for hub in await hubs.everyone(tx, clinic_id)},
        revoked_sessions=frozenset(await sessions.revoked(tx, clinic_id)),
        revision=clinic.revision,
    )
    decided = await config.everything(tx, clinic_id)
    return Loaded(
        directory,
        ClinicConfig(
            **{name: decided[name] for name in CONFIG_NAMES if name in decided},
            name=clinic.name,
            ca_certificates=tuple(
                found.pem
                for found in await clinics.certificates(tx, clinic_id)
                if _is_anchor(found, directory)
            ),
            targets=_targets(directory, cloud),
        ),
        clinic.nonce,
    )


def _is_anchor(held: Certificate, directory: Directory) -> bool:
    """The clinic's root, and the root of a hub that began alone, for as long as that hub is not revoked."""
    if held.kind != "adopted":
        return held.kind == "root"
    hub = directory.hubs.get(root_of_hub(x509.load_pem_x509_certificate(held.pem.encode())) or "")
    return hub is not None and not hub.revoked


def _targets(directory: Directory, cloud: Target | None) -> tuple[Target, ...]:
    found = [
        Target(kind="hub", url=hub.url, server_id=hub.hub_id)
        for hub in directory.hubs.values()
        if hub.url is not None and not hub.revoked
    ]
    return (*found, cloud) if cloud is not None else tuple(found)


async def _devices(tx: Tx, clinic_id: str) -> dict[str, DeviceEntry]:
    keys: defaultdict[str, list[bytes]] = defaultdict(list)
    for device_id, key in await devices.keys_of_all(tx, clinic_id):
        keys[device_id].append(key)
    authors: defaultdict[str, set[str]] = defaultdict(set)
    for device_id, user_id in await devices.authors_of_all(tx, clinic_id):
        authors[device_id].add(user_id)
    return {
        device.device_id: DeviceEntry(
            device_id=device.device_id,
            scope=device.scope,
            revoked=device.revoked,
            public_keys=tuple(keys.get(device.device_id, ())),
            authors=frozenset(authors.get(device.device_id, ())),
            name=device.name,
            site_id=device.site_id,
        )
        for device in await devices.everyone(tx, clinic_id)
    }


def _user(user: users.UserRow) -> User:
    return User(user.user_id, user.roles, disabled=user.disabled, name=user.name, email=user.email)


def _hub(hub: hubs.HubRow) -> HubEntry:
    return HubEntry(
        hub.hub_id, hub.site_id, hub.name, hub.public_key.encode(), revoked=hub.revoked, url=hub.url
    )
