"""Letting devices and hubs in: pairing codes, enrolment, and the claim of a hub."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from medxz import limits
from medxz.scope import Scope
from medxz.wire.configuration import ConfigAnswer, Target
from medxz.wire.forms import Answer, Message, Uuid
from medxz.wire.sessions import JwksAnswer

Name = Annotated[str, Field(min_length=1, max_length=limits.NAME_CHARS_MAX)]
Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
PublicKey = Annotated[str, Field(pattern="^[A-Za-z0-9_-]{43}$")]
Code = Annotated[str, Field(min_length=1, max_length=limits.CODE_CHARS_MAX, repr=False)]
Csr = Annotated[str, Field(min_length=1, max_length=limits.CSR_CHARS_MAX)]
Certificate = Annotated[str, Field(min_length=1, max_length=limits.CERTIFICATE_CHARS_MAX)]


class CodeRequest(Message):
    """An administrator asks for a pairing code, or a hub for a device of its own site.

    `site` is a site's name or its id; `name` what the device will be called.
    """

    model_config = ConfigDict(validate_by_name=True)

    kind: Annotated[Literal["device", "hub"], Field(alias="for")]
    site: Name
    scope: Scope | None = None
    replaces: Uuid | None = None
    name: Name | None = None


class CodeAnswer(Answer):
    """A code that works once, and what the QR needs beside it."""

    code: Annotated[str, Field(repr=False)]
    expires_at: str
    url: str
    fp: str


class EnrolRequest(Message):
    """A device with a pairing code, and the key that it made."""

    code: Code
    name: Name
    public_key: PublicKey


class EnrolAnswer(Answer):
    device_id: str
    clinic_id: str
    site_id: str
    scope: Scope
    ca_certificates: list[str]
    targets: list[Target]


class ReenrolRequest(Message):
    """A device that finds itself restored from a copy, or cloned, asks for an id of its own."""

    name: Name
    public_key: PublicKey


class ReenrolAnswer(EnrolAnswer):
    """The new device has a session of its own; `refresh_token` is null where the server keeps none."""

    access_token: Annotated[str, Field(repr=False)]
    refresh_token: Annotated[str | None, Field(repr=False)] = None


class AdoptedUser(Message):
    """`password_hash`: Argon2id as text, so that the person logs in as before."""

    user_id: Uuid
    name: Annotated[str, Field(max_length=limits.NAME_CHARS_MAX)] = ""
    email: Annotated[str, Field(max_length=limits.EMAIL_CHARS_MAX)] = ""
    roles: Annotated[list[Literal["admin", "clinician", "front_desk"]], Field(max_length=3)]
    disabled: bool = False
    password_hash: Annotated[str | None, Field(max_length=limits.PASSWORD_HASH_CHARS_MAX, repr=False)] = None


class AdoptedDevice(Message):
    device_id: Uuid
    name: Annotated[str, Field(max_length=limits.NAME_CHARS_MAX)] = ""
    site_id: Uuid
    scope: Scope
    revoked: bool = False
    public_keys: Annotated[list[PublicKey], Field(max_length=limits.DEVICE_KEYS_MAX)]
    authors: Annotated[list[Uuid], Field(max_length=limits.ADOPTED_MAX)]


class AdoptedSite(Message):
    site_id: Uuid
    name: Name


class AdoptedSession(Message):
    """A session that goes on: by the tokens of which none was used yet, and the one that these came of.

    Tokens are told by their SHA-256.
    """

    session_id: Uuid
    user_id: Uuid
    device_id: Uuid
    fresh: Annotated[list[Digest], Field(min_length=1, max_length=limits.ADOPTED_TOKENS_MAX)]
    used: Digest | None = None


class Adopt(Message):
    """What a hub brings that began alone."""

    clinic_id: Uuid
    ca_certificate: Certificate
    devices: Annotated[list[AdoptedDevice], Field(max_length=limits.ADOPTED_MAX)]
    users: Annotated[list[AdoptedUser], Field(max_length=limits.ADOPTED_MAX)]
    sites: Annotated[list[AdoptedSite], Field(max_length=limits.ADOPTED_MAX)]
    sessions: Annotated[list[AdoptedSession], Field(max_length=limits.ADOPTED_MAX, default_factory=list)]


class ClaimRequest(Message):
    """A hub with a pairing code, and the key that it made."""

    code: Code
    csr: Csr
    name: Name
    adopt: Adopt | None = None


class CloudPlace(Answer):
    server_id: str
    url: str


class ClaimAnswer(Answer):
    """`certificate` is a chain in PEM: the hub's own, then the intermediate. `sessions`: which of those it brought go on."""

    hub_id: str
    clinic_id: str
    site_id: str
    certificate: str
    ca_certificates: list[str]
    keys: JwksAnswer
    config: ConfigAnswer
    cloud: CloudPlace
    sessions: Annotated[list[str], Field(default_factory=list)]


class RenewRequest(Message):
    csr: Csr


class RenewAnswer(Answer):
    certificate: str
    ca_certificates: list[str]
