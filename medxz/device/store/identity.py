"""Who this device is: its ids, its key, whom it talks to, and what the clinic's configuration asks of it."""

from __future__ import annotations

import base64
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Literal

import orjson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from medxz.device.store.file import Connection
from medxz.errors import StoreError
from medxz.have import Numbers

Tls = Literal["token", "hub", "address"]
Kind = Literal["hub", "cloud"]


@dataclass(frozen=True)
class Identity:
    """The row of the table `device`, as it stands."""

    clinic_id: str
    device_id: str
    user_id: str
    name: str
    private_key: bytes
    next_private_key: bytes | None
    server_url: str
    access_token: str
    ca_pem: str | None
    last_seq: int
    forgotten: str
    identity_taken: int
    cloud_through: int
    cloud_epoch: str | None
    keep_own_days: int
    require_signed_ops: int
    configured_ms: int | None
    site_id: str | None
    tls: Tls
    email: str | None
    refresh_token: str | None
    token_ends_ms: int | None
    roles: str | None

    @cached_property
    def key(self) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(self.private_key)

    @property
    def forgotten_numbers(self) -> Numbers:
        return read_numbers(self.forgotten)


_COLUMNS = ", ".join(field.name for field in fields(Identity))


def read_identity(connection: Connection) -> Identity:
    rows = connection.execute(f"SELECT {_COLUMNS} FROM device").fetchall()  # noqa: S608  the columns are ours
    if not rows:
        raise StoreError("this store was not finished: `medxz enroll` again, or `medxz init`")
    return Identity(*rows[0])


def change_identity(connection: Connection, **columns: object) -> None:
    names = ", ".join(f"{name} = ?" for name in columns)
    connection.execute(f"UPDATE device SET {names}", tuple(columns.values()))  # noqa: S608


def public_key_text(private_key: bytes) -> str:
    raw = Ed25519PrivateKey.from_private_bytes(private_key).public_key().public_bytes_raw()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def read_numbers(text: str) -> Numbers:
    return Numbers.from_wire(orjson.loads(text))


def write_numbers(numbers: Numbers) -> str:
    return orjson.dumps(numbers.to_wire()).decode()
