"""Becoming a device by a code, and whose session it syncs by: that of who logged in last.

A key is durable before it is sent, and a session's successor before it is used: whatever stops the device between two
steps, the same question asked again gives the same device, and the session goes on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from medxz import limits
from medxz.device.person import read_roles, roles_text
from medxz.device.store import audit, locks, targets
from medxz.device.store.file import Connection
from medxz.device.store.identity import Tls, change_identity, read_identity
from medxz.errors import ConfigurationError

NOBODY: Final = ""


@dataclass(frozen=True, slots=True)
class Enrolled:
    """What an enrolment gave, and how the server it came from is reached."""

    clinic_id: str
    device_id: str
    site_id: str
    name: str
    server_url: str
    tls: Tls
    ca_pem: str | None
    hub_cas: str | None = None
    told: Sequence[targets.Told] = ()


@dataclass(frozen=True, slots=True)
class Session:
    """Who is logged in, and the tokens. `ends_ms` is by the device's clock; without a refresh token it just ends."""

    user_id: str
    email: str | None
    access_token: str = field(repr=False)
    refresh_token: str | None = field(repr=False)
    ends_ms: int | None
    roles: tuple[str, ...] | None = None


def key_to_enrol(connection: Connection) -> bytes:
    """The key of a device that is being enrolled, made once. ConfigurationError where this is a device already."""
    held = connection.execute("SELECT device_id FROM device").fetchall()
    if held:
        raise ConfigurationError(
            [f"this store is device {held[0][0]} already: log in, or enrol another --store"]
        )
    keys = connection.execute("SELECT private_key FROM enrolment").fetchall()
    if keys:
        return bytes(keys[0][0])
    key = Ed25519PrivateKey.generate().private_bytes_raw()
    connection.execute("INSERT INTO enrolment (only_row, private_key) VALUES (1, ?)", (key,))
    return key


def enrolled(connection: Connection, new: Enrolled, now_ms: int) -> None:
    """Be this device. Nobody is logged in yet."""
    connection.execute(
        "INSERT INTO device (only_row, clinic_id, device_id, user_id, name, private_key, server_url, access_token,"
        " ca_pem, keep_own_days, site_id, tls, hub_cas) VALUES (1, ?, ?, ?, ?, ?, ?, '', ?, ?, ?, ?, ?)",
        (
            new.clinic_id, new.device_id, NOBODY, new.name, key_to_enrol(connection), new.server_url, new.ca_pem,
            limits.KEEP_OWN_DAYS, new.site_id, new.tls, new.hub_cas,
        ),
    )  # fmt: skip
    if new.tls == "address":
        change_identity(connection, cloud_cas=new.ca_pem, cloud_cas_given=int(new.ca_pem is not None))
    targets.begin_at(connection, new.server_url, "hub" if new.tls == "hub" else None, now_ms)
    for told in new.told:
        targets.put_told(connection, told, now_ms)
    connection.execute("DELETE FROM enrolment")
    audit.append(
        connection, now_ms, "enrolled", clinic_id=new.clinic_id, device_id=new.device_id, site_id=new.site_id
    )


def read_session(connection: Connection) -> Session:
    identity = read_identity(connection)
    return Session(
        identity.user_id,
        identity.email,
        identity.access_token,
        identity.refresh_token,
        identity.token_ends_ms,
        read_roles(identity.roles),
    )


def log_in(connection: Connection, session: Session, password_hash: str, now_ms: int) -> None:
    """This user's session and password, in place of the last one's. What others have recorded stays theirs."""
    _put(connection, session)
    change_identity(connection, user_id=session.user_id, email=session.email)
    locks.put_password(connection, password_hash, now_ms)
    if read_identity(connection).tls == "token":
        # from now on tokens are a cloud's, whichever hub of the clinic they are shown to
        change_identity(connection, tls="hub", hub_cas=read_identity(connection).ca_pem)
    audit.append(connection, now_ms, "logged_in", user_id=session.user_id)


def go_on(connection: Connection, before: Session, after: Session, now_ms: int) -> Session:
    """The session's new tokens; returns what holds now, which is another's where somebody has logged in meanwhile."""
    held = read_session(connection)
    if (held.user_id, held.refresh_token) != (before.user_id, before.refresh_token):
        return held
    _put(connection, after)
    if held.roles != after.roles:
        audit.append(connection, now_ms, "roles", user_id=after.user_id, roles=after.roles)
    return after


def has_ended(connection: Connection, before: Session, now_ms: int) -> None:
    """A server has ended it. Its user stays the author of what is recorded here."""
    if read_session(connection) != before:
        return
    change_identity(connection, access_token="", refresh_token=None, token_ends_ms=None)
    audit.append(connection, now_ms, "session_ended", user_id=before.user_id)


def log_out(connection: Connection, now_ms: int) -> None:
    user_id = read_identity(connection).user_id
    change_identity(
        connection,
        user_id=NOBODY,
        email=None,
        access_token="",
        refresh_token=None,
        token_ends_ms=None,
        roles=None,
    )
    locks.put_password(connection, None, now_ms)
    audit.append(connection, now_ms, "logged_out", user_id=user_id)


def _put(connection: Connection, session: Session) -> None:
    change_identity(
        connection, access_token=session.access_token, refresh_token=session.refresh_token,
        token_ends_ms=session.ends_ms, roles=roles_text(session.roles),
    )  # fmt: skip
