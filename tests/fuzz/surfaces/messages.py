"""Messages: what a server reads (enrol, claim, log in, resume, …), what a client is answered, and certificates in them.

An input's first byte chooses the message, the rest is its JSON.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from typing import Any, Final, cast

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import BaseModel

from medxz import wire
from medxz.accounts.adopting import Adopting
from medxz.endpoints import ENDPOINTS
from medxz.errors import BadJson, Invalid, PeerRefused, PeerUnreachable
from medxz.have import Numbers
from medxz.peer.answers import Answered, granted, read_struct
from medxz.peer.answers import read_model as read_answer
from medxz.trust.certificates import Credential, key_text, make_root
from medxz.trust.clinic_ca import (
    issue_requested,
    make_clinic_root,
    make_intermediate,
    make_request,
    read_request,
)
from medxz.web.body import read_model
from tests.fuzz.surface import Surface, documented, holds
from tests.making import CLINIC, DEVICE, NOON_MS, USER, fixed_id

HUB: Final = fixed_id(0xB1)
SECRET: Final = "correct horse battery"
REQUESTS: Final = cast(
    "tuple[type[BaseModel], ...]",
    tuple(
        dict.fromkeys(
            kind for endpoint in ENDPOINTS for kind in endpoint.requests if issubclass(kind, BaseModel)
        )
    ),
)
ANSWERS: Final = tuple(
    dict.fromkeys(kind for endpoint in ENDPOINTS for kind in endpoint.answers if kind is not bytes)
)


@cache
def credentials() -> tuple[Credential, Credential, str]:
    """A clinic's intermediate, the root of a hub that began alone, and that hub's request."""
    root = make_clinic_root(CLINIC, NOON_MS)
    key = key_text(ec.derive_private_key(77, ec.SECP256R1()))
    request = make_request(key, HUB, names=["clinic-pi"], addresses=["192.168.7.9", "fd00::9"])
    return make_intermediate(root, CLINIC, NOON_MS), make_root(HUB, NOON_MS), request


@cache
def request_seeds() -> Sequence[bytes]:
    adopt = {
        "clinic_id": CLINIC, "ca_certificate": credentials()[1].certificate_pem.decode(),
        "devices": [{"device_id": DEVICE, "site_id": fixed_id(5), "scope": "full", "public_keys": ["A" * 43], "authors": [USER]}],
        "users": [{"user_id": USER, "roles": ["admin"], "name": "N", "email": "n@example.org",
                   "password_hash": "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}],
        "sites": [{"site_id": fixed_id(5), "name": "here"}],
        "sessions": [{"session_id": fixed_id(6), "user_id": USER, "device_id": DEVICE, "fresh": ["ab" * 32]}],
    }  # fmt: skip
    told: dict[str, list[dict[str, Any]]] = {
        "LoginRequest": [
            {"email": "n@example.org", "password": SECRET, "device_id": DEVICE, "totp": "123456"},
            {"email": "n@example.org", "password": SECRET, "device_id": DEVICE},
        ],
        "RefreshRequest": [{"refresh_token": "t"}, {"access_token": "a", "proof": "p"}],
        "LogoutRequest": [{}, {"refresh_token": "t"}],
        "EnrolRequest": [{"code": "ABCD2345", "name": "tablet", "public_key": "A" * 43}],
        "ReenrolRequest": [{"name": "tablet", "public_key": "A" * 43}],
        "CodeRequest": [{"for": "device", "site": "here", "scope": "full"}, {"for": "hub", "site": fixed_id(5), "name": "x"}],
        "ClaimRequest": [
            {"code": "ABCD2345", "csr": credentials()[2], "name": "hub"},
            {"code": "ABCD2345", "csr": credentials()[2], "name": "hub", "adopt": adopt},
        ],
        "RenewRequest": [{"csr": credentials()[2]}],
        "AssertionRequest": [{"assertion": "a.b.c", "url": "https://127.0.0.1:8443"}],
        "ResumeRequest": [{"have": {DEVICE: 7, USER: [[1, 3], [9, 9]]}}, {"have": {}}],
    }  # fmt: skip
    made = [
        bytes([at]) + json.dumps(message).encode()
        for at, kind in enumerate(REQUESTS)
        for message in told.get(kind.__name__, [{}])
    ]
    return [*made, *(bytes([0]) + text for text in documented())]


def take_request(data: bytes) -> str:
    """A message of the protocol, that says the same when it is written and read again; or bad_json, or invalid."""
    if not data:
        return "nothing"
    kind, body = REQUESTS[data[0] % len(REQUESTS)], data[1:]
    try:
        message = read_model(kind, body)
    except (BadJson, Invalid) as refusal:
        holds(
            "no refusal quotes a password", SECRET not in f"{refusal.message}{refusal.field}", refusal.message
        )
        refusal.message.encode()
        return f"{kind.__name__} {refusal.code} {(refusal.field or '')[:12]}"
    holds("it does not show secrets", SECRET not in repr(message))
    again = read_model(kind, message.model_dump_json(by_alias=True).encode())
    holds("a message round-trips", again == message, again)
    return f"{kind.__name__} {_acted(message)}"


def _acted(message: BaseModel) -> str:
    """What is looked at before anything is decided: certificates, and what somebody has."""
    try:
        match message:
            case wire.ResumeRequest():
                for numbers in message.have.values():
                    held = Numbers.from_wire(numbers)
                    holds("numbers round-trip", Numbers.from_wire(held.to_wire()) == held)
            case wire.ClaimRequest() | wire.RenewRequest():
                asked = read_request(message.csr)
                issue_requested(credentials()[0], asked, NOON_MS)
                adopt = getattr(message, "adopt", None)
                if adopt is not None:
                    Adopting(cast(Any, None)).check(adopt, asked.server_id)
                    return "adopted"
    except Invalid as refusal:
        return f"invalid {refusal.field}"
    except ValueError as error:
        holds("only numbers are refused so", isinstance(message, wire.ResumeRequest), error)
        return "invalid have"
    return "read"


@cache
def answer_seeds() -> Sequence[bytes]:
    told = [
        {"server_id": HUB, "epoch": HUB, "cloud_epoch": None, "results": [{"op_id": None, "status": "rejected", "code": "x"}],
         "cloud_through": {DEVICE: 4}, "refused_upstream": []},
        {"server_id": HUB, "epoch": HUB, "ops": [], "next_cursor": "c", "has_more": False},
        {"code": "forbidden", "title": "t", "status": 403, "detail": "d", "type": "about:blank", "request_id": "r"},
        {"cursor": "c"}, {"access_token": "t", "expires_in": 5}, {"keys": []},
        {"access_token": "t", "refresh_token": None, "expires_in": 900, "roles": ["clinician"],
         "user": {"user_id": USER, "name": "N", "email": "n"}, "clinic": {"clinic_id": CLINIC, "name": "C"}},
    ]  # fmt: skip
    bodies = [json.dumps(one).encode() for one in told] + list(documented())
    return [bytes([at]) + body for body in bodies for at in range(0, len(ANSWERS) + 1, 3)][:60] + [
        bytes([at]) + bodies[at % len(bodies)] for at in range(len(ANSWERS) + 1)
    ]


def take_answer(data: bytes) -> str:
    """What a server says to a client: of this protocol, or it was no server of ours. Nothing else comes out of it."""
    if not data:
        return "nothing"
    at, body = data[0] % (len(ANSWERS) + 1), data[1:]
    if at == len(ANSWERS):
        try:
            granted(Answered(403, {"Retry-After": body[:8].decode("latin-1")}, body))
        except (PeerRefused, PeerUnreachable) as refusal:
            str(refusal).encode()
            return type(refusal).__name__
    kind = ANSWERS[at % len(ANSWERS)]
    try:
        if issubclass(kind, BaseModel):
            read_answer(Answered(200, {}, body), kind)
        else:
            read = read_struct(Answered(200, {}, body), cast("type[msgspec.Struct]", kind))
            holds("an answer round-trips", msgspec.json.decode(msgspec.json.encode(read), type=kind) == read)
    except PeerUnreachable as refusal:
        str(refusal).encode()
        return f"{kind.__name__} unreachable"
    return f"{kind.__name__} read"


SURFACES: Final = (
    Surface(
        "request", "read_model of each message, CSR, CA, have", take_request, request_seeds, bytes_max=8_192
    ),
    Surface("answer", "read_model, read_struct, problem_of at a client", take_answer, answer_seeds),
)
