"""A running cloud with two clinics in it, and what each has: people, a device, a hub, entities, cursors, a session."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from cloud.app import open_cloud
from cloud.config import load_settings
from cloud.office import Founding, Office, make_cloud, open_office
from medxz.clock import SystemClock
from medxz.ids import RandomIds
from medxz.trust.clinic_ca import make_request
from medxz.trust.proofs import sign_proof
from medxz.web import make_log
from tests.making import as_json, make_op

PASSWORD = "a long enough walk by the river"
IDS = RandomIds()


@dataclass(frozen=True, slots=True)
class Names:
    """What belongs to somebody and may be named by somebody else: ids, cursors, words. Or to nobody at all."""

    clinic_id: str
    site_id: str
    site_name: str
    device_id: str
    device_key: str
    user_id: str
    email: str
    word: str
    hub_id: str
    patient_id: str
    observation_id: str
    op_id: str
    conflict_id: str
    refresh_token: str
    cursors: dict[str, str]

    def strings(self) -> set[str]:
        """Everything that nobody else may be told."""
        own = {getattr(self, name) for name in self.__slots__ if name != "cursors"}
        return own | set(self.cursors.values())


@dataclass(slots=True)
class Clinic:
    """One of the two. `tokens` are access tokens, by role."""

    cloud: Cloud
    clinic_id: str
    site_id: str
    site_name: str
    word: str
    tokens: dict[str, str] = field(default_factory=dict)
    refresh_token: str = ""
    hub_key: ec.EllipticCurvePrivateKey = field(
        default_factory=lambda: ec.generate_private_key(ec.SECP256R1())
    )
    device_key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    device_id: str = ""
    hub_id: str = ""
    users: dict[str, str] = field(default_factory=dict)
    next_seq: int = 1
    names: Names = field(init=False)

    @property
    def email(self) -> str:
        return f"{self.word.lower()}@example.org"

    async def ask(self, role: str | None, method: str, path: str, **request: Any) -> httpx.Response:
        token = {} if role is None else {"Authorization": f"Bearer {self.tokens[role]}"}
        headers = token | request.pop("headers", {})
        return await self.cloud.http.request(method, path, headers=headers, **request)

    async def good(self, role: str | None, method: str, path: str, **request: Any) -> Any:
        response = await self.ask(role, method, path, **request)
        assert response.status_code in {200, 204}, (path, response.text)
        return response.json() if response.content else None

    def op(self, payload: dict[str, Any], **changes: Any) -> dict[str, Any]:
        """One of the clinic's device and its clinician, with the next number."""
        fields = {
            "clinic_id": self.clinic_id,
            "device_id": self.device_id,
            "user_id": self.users["clinician"],
        }
        op = make_op(self.next_seq, payload=json.dumps(payload), **(fields | changes))
        self.next_seq += 1
        return as_json(op)

    async def push(self, *ops: dict[str, Any], role: str = "clinician") -> list[dict[str, Any]]:
        told = await self.good(role, "POST", "/v1/sync/push", json={"ops": list(ops)})
        return list(told["results"])


@dataclass(slots=True)
class Cloud:
    """The server, and both."""

    http: httpx.AsyncClient
    office: Office
    server_id: str
    said: BytesIO
    ours: Clinic = field(init=False)
    theirs: Clinic = field(init=False)


@asynccontextmanager
async def two_clinics(data: Path, database: str | None = None) -> AsyncIterator[Cloud]:
    """`ours` is the one that asks, `theirs` the one that nothing may be told of."""
    flags: dict[str, object] = {"data": data, "plain_http": True, "port": 0, "log_level": "debug"}
    settings = load_settings(flags | ({"database": database} if database else {}), {})
    said, clock = BytesIO(), SystemClock()
    foundings = [_founding("Owino", "North"), _founding("Wanjiru", "South")]
    made = [await make_cloud(settings, {}, foundings[0])]
    async with (
        open_cloud(settings, {}, log=make_log(said, clock, "debug")) as cloud,
        open_office(settings, {}) as office,
        httpx.AsyncClient(base_url=cloud.url, timeout=30) as http,
    ):
        made.append(await office.found(foundings[1]))
        server = Cloud(http, office, cloud.store.server.server_id, said)
        server.ours, server.theirs = [
            await _furnish(server, office, told, founding)
            for told, founding in zip(made, foundings, strict=True)
        ]
        yield server


def nobodys(theirs: Names) -> Names:
    """The same names in form, of nobody: whoever is told of one what it is told of the other is told nothing."""
    ids = {
        name: IDS.uuid7()
        for name in ("clinic_id", "site_id", "device_id", "user_id", "hub_id", "patient_id", "observation_id",
                     "op_id", "conflict_id")
    }  # fmt: skip
    return replace(
        theirs,
        **ids,
        site_name="Nowhere",
        email="nobody@example.org",
        word="Nobody",
        device_key=_base64url(Ed25519PrivateKey.generate().public_key().public_bytes_raw()),
        refresh_token=_forged(ids["clinic_id"], IDS.uuid7()),
        cursors={name: _broken(name, cursor) for name, cursor in theirs.cursors.items()},
    )


def _founding(word: str, site: str) -> Founding:
    return Founding(f"{word} Clinic", [site], f"{word.lower()}@example.org", f"Admin {word}", PASSWORD)


async def _furnish(cloud: Cloud, office: Office, told: dict[str, Any], founding: Founding) -> Clinic:
    word = founding.name.split()[0]
    site = told["sites"][0]
    clinic = Clinic(cloud, told["clinic_id"], site["site_id"], site["name"], word)
    clinic.users["admin"] = told["admin_user_id"]
    clinic.users["clinician"] = await office.admin.users.add(
        clinic.clinic_id, f"dr.{clinic.email}", f"Dr {word}", ["clinician"], PASSWORD
    )
    await _enrol(clinic, office)
    await _claim(clinic, office)
    for role, email in (("admin", clinic.email), ("clinician", f"dr.{clinic.email}")):
        body = {"email": email, "password": PASSWORD, "device_id": clinic.device_id}
        session = await clinic.good(None, "POST", "/v1/auth/login", json=body)
        clinic.tokens[role], clinic.refresh_token = session["access_token"], session["refresh_token"]
    clinic.names = await _write(clinic)
    return clinic


async def _enrol(clinic: Clinic, office: Office) -> None:
    [code] = await office.admin.codes.make(clinic.clinic_id, "device", clinic.site_name)
    key = _base64url(clinic.device_key.public_key().public_bytes_raw())
    body = {"code": code.code, "name": f"{clinic.word}'s tablet", "public_key": key}
    clinic.device_id = (await clinic.good(None, "POST", "/v1/enroll", json=body))["device_id"]


async def _claim(clinic: Clinic, office: Office) -> None:
    [code] = await office.admin.codes.make(clinic.clinic_id, "hub", clinic.site_name)
    body = {"code": code.code, "csr": request_of(clinic, IDS.uuid7()), "name": f"{clinic.word}'s hub"}
    clinic.hub_id = (await clinic.good(None, "POST", "/v1/hubs/claim", json=body))["hub_id"]
    token = await clinic.good(
        None, "POST", "/v1/auth/hub", json={"assertion": assertion_of(clinic, clinic.hub_id)}
    )
    clinic.tokens["hub"] = token["access_token"]


def request_of(clinic: Clinic, server_id: str) -> str:
    """A request of the clinic's hub for a certificate of that name."""
    pem = clinic.hub_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return make_request(pem, server_id)


def assertion_of(clinic: Clinic, hub_id: str) -> str:
    """The clinic's hub says that it is that one."""
    return sign_proof(clinic.hub_key, hub_id, clinic.cloud.server_id, SystemClock(), IDS)


async def _write(clinic: Clinic) -> Names:
    """A patient who is told of in two ways, another one, an observation; and a cursor of every list there is."""
    named = {"resourceType": "Patient", "name": [{"family": clinic.word}]}
    first = clinic.op(named, entity_type="Patient")
    beside = {"entity_type": "Patient", "entity_id": first["entity_id"], "parents": [first["op_id"]]}
    ops = [
        first,
        clinic.op({"birthDate": "1980-02-28"}, op_type="update", **beside),
        clinic.op({"birthDate": "1980-02-29"}, op_type="update", **beside),
        clinic.op(named | {"birthDate": "1990-01-01"}, entity_type="Patient"),
        clinic.op({"status": "final", "subject": {"reference": f"Patient/{first['entity_id']}"}}),
    ]
    results = await clinic.push(*ops)
    assert {result["status"] for result in results} == {"accepted", "conflict"}, results
    # numbers that its hub has for it: for a person to look at
    stranger = clinic.op({"status": "final"}, user_id=IDS.uuid7()), clinic.op({}, user_id=IDS.uuid7())
    await clinic.push(*stranger, role="hub")
    return Names(
        clinic_id=clinic.clinic_id,
        site_id=clinic.site_id,
        site_name=clinic.site_name,
        device_id=clinic.device_id,
        device_key=_base64url(clinic.device_key.public_key().public_bytes_raw()),
        user_id=clinic.users["clinician"],
        email=clinic.email,
        word=clinic.word,
        hub_id=clinic.hub_id,
        patient_id=first["entity_id"],
        observation_id=ops[-1]["entity_id"],
        op_id=first["op_id"],
        conflict_id=next(result["conflict_id"] for result in results if result["status"] == "conflict"),
        refresh_token=_forged(clinic.clinic_id, _session_of(clinic.tokens["clinician"])),
        cursors=await _cursors(clinic, first["entity_id"]),
    )


async def _cursors(clinic: Clinic, patient_id: str) -> dict[str, str]:
    patient = f"/v1/entities/Patient/{patient_id}"
    lists = {
        "pull": "/v1/sync/pull", "entities": "/v1/entities/Patient", "entity_ops": f"{patient}/ops",
        "history": f"{patient}/history", "reviews": "/v1/reviews", "audit": "/v1/audit",
    }  # fmt: skip
    async with asyncio.timeout(10):
        while len((await clinic.good("admin", "GET", "/v1/audit"))["entries"]) < 2:
            await asyncio.sleep(0.05)  # notes are written a moment later
    told = {
        name: await clinic.good("admin", "GET", path, params={"limit": 1}) for name, path in lists.items()
    }
    return {name: page["next_cursor"] for name, page in told.items() if page["next_cursor"] is not None}


def _session_of(token: str) -> str:
    body = token.split(".")[1]
    return str(json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))["sid"])


def _forged(clinic_id: str, session_id: str) -> str:
    """A refresh token that names a session and does not have its secret."""
    ids = (bytes.fromhex(text.replace("-", "")) for text in (clinic_id, session_id))
    return ".".join(map(_base64url, (*ids, bytes(32))))


def _broken(name: str, cursor: str) -> str:
    """One of the same form that nobody made: its seal, at the end of a log's cursor and the beginning of a list's."""
    at = len(cursor) - 9 if name == "pull" else 9
    return cursor[:at] + ("B" if cursor[at] == "A" else "A") + cursor[at + 1 :]


def _base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
