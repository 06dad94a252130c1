"""What a hub mirrors of its cloud: the clinic's people, devices, sites and hubs, whole each time that it changed."""

from __future__ import annotations

from medxz.scope import Scope
from medxz.wire.configuration import ConfigAnswer
from medxz.wire.forms import Answer
from medxz.wire.sessions import JwksAnswer


class DirectoryUser(Answer):
    user_id: str
    name: str
    email: str
    roles: list[str]
    disabled: bool


class DirectoryDevice(Answer):
    """`public_keys` are raw Ed25519 keys in base64url; `authors` the users who have had a session on it."""

    device_id: str
    name: str
    site_id: str
    scope: Scope
    revoked: bool
    public_keys: list[str]
    authors: list[str]


class DirectorySite(Answer):
    site_id: str
    name: str


class DirectoryHub(Answer):
    """`public_key` is that of its certificate, in PEM."""

    hub_id: str
    site_id: str
    name: str
    public_key: str
    revoked: bool
    url: str | None


class DirectoryAnswer(Answer):
    revision: int
    users: list[DirectoryUser]
    devices: list[DirectoryDevice]
    revoked_sessions: list[str]
    sites: list[DirectorySite]
    hubs: list[DirectoryHub]
    keys: JwksAnswer
    config: ConfigAnswer
