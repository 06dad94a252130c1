"""The cloud's directory as a hub keeps it: what has to be written so that the tables say what the cloud said.

Only what differs is written: a clinic of thousands does not write itself anew onto an SD card because one person came.
Whom the cloud no longer names may do nothing any more; that they were here is kept.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from typing import Final, TypeVar

from medxz.store.directory import ClinicConfig, DeviceEntry, Directory, HubEntry, User
from medxz.wire import ConfigAnswer, DirectoryAnswer, DirectoryDevice, DirectoryHub, DirectoryUser

Statement = tuple[str, tuple[object, ...]]
T = TypeVar("T")

_USER: Final = (
    "INSERT INTO user (user_id, roles, disabled, name, email) VALUES (?,?,?,?,?) ON CONFLICT DO UPDATE SET"
    " roles = excluded.roles, disabled = excluded.disabled, name = excluded.name, email = excluded.email"
)
_DEVICE: Final = (
    "INSERT INTO device (device_id, scope, revoked, name, site_id) VALUES (?,?,?,?,?) ON CONFLICT DO UPDATE SET"
    " scope = excluded.scope, revoked = excluded.revoked, name = excluded.name, site_id = excluded.site_id"
)
_HUB: Final = (
    "INSERT OR REPLACE INTO hub (hub_id, site_id, name, public_key, revoked, url) VALUES (?,?,?,?,?,?)"
)
_MIRROR: Final = "INSERT OR REPLACE INTO mirror (only_row, revision, keys, config) VALUES (1,?,?,?)"


def mirroring(known: Directory, told: DirectoryAnswer) -> Iterator[Statement]:
    """The statements after which the tables say what was told, where they say now what is known."""
    whole = Directory(
        users={user.user_id: _user(user) for user in told.users},
        devices={device.device_id: _device(device) for device in told.devices},
        sites={site.site_id: site.name for site in told.sites},
        revoked_sessions=frozenset(told.revoked_sessions),
    )
    yield from learning(known, whole)
    for user_id in sorted(known.users.keys() - whole.users.keys()):
        yield "UPDATE user SET disabled = 1 WHERE user_id = ?", (user_id,)
    for device_id in sorted(known.devices.keys() - whole.devices.keys()):
        yield "UPDATE device SET revoked = 1 WHERE device_id = ?", (device_id,)
    for site_id in sorted(known.sites.keys() - whole.sites.keys()):
        yield "DELETE FROM site WHERE site_id = ?", (site_id,)
    yield from _hubs(known.hubs, {hub.hub_id: _hub(hub) for hub in told.hubs})
    yield _MIRROR, (told.revision, told.keys.model_dump_json(), told.config.model_dump_json())


def learning(known: Directory, told: Directory) -> Iterator[Statement]:
    """The statements after which the tables have what was told, and go on having what was not."""
    yield from _users(known.users, told.users)
    yield from _devices(known.devices, told.devices)
    for session_id in sorted(told.revoked_sessions - known.revoked_sessions):
        yield "INSERT OR IGNORE INTO revoked_session (session_id) VALUES (?)", (session_id,)
    for site_id, name in _changed(known.sites, told.sites):
        yield "INSERT OR REPLACE INTO site (site_id, name) VALUES (?,?)", (site_id, name)


def config_of(told: ConfigAnswer) -> ClinicConfig:
    """What the clinic decided, out of what the cloud answers."""
    return ClinicConfig(
        keep_own_days=told.keep_own_days,
        offline_session_hours=told.offline_session_hours,
        require_signed_ops=told.require_signed_ops,
        routing=told.routing,
        targets=tuple(told.targets),
        ca_certificates=tuple(told.ca_certificates),
        name=told.name,
        hub_names=tuple(told.hub_names),
    )


def _users(known: Mapping[str, User], told: Mapping[str, User]) -> Iterator[Statement]:
    for user_id, user in _changed(known, told):
        roles = ",".join(sorted(user.roles))
        yield _USER, (user_id, roles, user.disabled, user.name, user.email)


def _devices(known: Mapping[str, DeviceEntry], told: Mapping[str, DeviceEntry]) -> Iterator[Statement]:
    for device_id, device in _changed(known, told):
        before = known.get(device_id)
        yield _DEVICE, (device_id, device.scope, device.revoked, device.name, device.site_id)
        for key in device.public_keys:
            if before is None or key not in before.public_keys:
                yield (
                    "INSERT OR IGNORE INTO device_key (device_id, public_key) VALUES (?,?)",
                    (device_id, key),
                )
        for key in before.public_keys if before is not None else ():
            if key not in device.public_keys:
                yield "DELETE FROM device_key WHERE device_id = ? AND public_key = ?", (device_id, key)
        for user_id in sorted(device.authors - (before.authors if before is not None else frozenset())):
            yield "INSERT OR IGNORE INTO author (device_id, user_id) VALUES (?,?)", (device_id, user_id)


def _hubs(known: Mapping[str, HubEntry], told: Mapping[str, HubEntry]) -> Iterator[Statement]:
    for hub_id, hub in _changed(known, told):
        yield _HUB, (hub_id, hub.site_id, hub.name, hub.public_key_pem, hub.revoked, hub.url)
    yield from (("DELETE FROM hub WHERE hub_id = ?", (gone,)) for gone in sorted(known.keys() - told.keys()))


def _changed(known: Mapping[str, T], told: Mapping[str, T]) -> Iterator[tuple[str, T]]:
    return ((name, value) for name, value in told.items() if known.get(name) != value)


def _user(told: DirectoryUser) -> User:
    return User(told.user_id, frozenset(told.roles), told.disabled, told.name, told.email)


def _device(told: DirectoryDevice) -> DeviceEntry:
    return DeviceEntry(
        told.device_id,
        told.scope,
        told.revoked,
        tuple(base64.urlsafe_b64decode(key + "=" * (-len(key) % 4)) for key in told.public_keys),
        frozenset(told.authors),
        told.name,
        told.site_id,
    )


def _hub(told: DirectoryHub) -> HubEntry:
    return HubEntry(told.hub_id, told.site_id, told.name, told.public_key.encode(), told.revoked, told.url)
