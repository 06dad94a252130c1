"""A scripted server that lets devices in and has sessions; and the device that it let in."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

from medxz import wire
from medxz.device.device import Device, Machine
from medxz.errors import PeerRefused, PeerUnreachable
from medxz.ids import SeededIds
from medxz.work import InlineWorker
from tests.making import CLINIC, DEVICE, USER, HandClock, fixed_id
from tests.unit.device.scripted import KEY, URL, ScriptedServer

TTL_S = 900
OTHER_USER = fixed_id(0xE2)
USERS = {"nora@clinic.example": USER, "dan@clinic.example": OTHER_USER}


@dataclass
class Door(ScriptedServer):
    """A scripted server that has the protocol's sessions too: a predecessor works until its successor is used."""

    clock: HandClock = field(default_factory=HandClock)
    codes: dict[str, str] = field(default_factory=lambda: {"CODE": ""})
    ca: str = ""
    family: list[str] = field(default_factory=list)  # refresh tokens, oldest first
    used: set[str] = field(default_factory=set)
    access: str = ""
    ends_ms: int = 0
    revoked: bool = False
    has_cloud: bool = True
    asked: list[str] = field(default_factory=list)
    proofs: list[str] = field(default_factory=list)
    lose_answers: int = 0
    reachable: bool = True
    roles: tuple[str, ...] = ("clinician",)

    def connect(self, url: str, *, token: object, ssl_context: object, ear: object = None) -> Door:
        return self

    async def enrol(self, request: wire.EnrolRequest) -> wire.EnrolAnswer:
        if self.codes.get(request.code) not in {"", request.public_key}:
            raise PeerRefused(403, "code_invalid", "no such code")
        self.codes[request.code] = request.public_key
        self._lose()
        return wire.EnrolAnswer(
            device_id=DEVICE, clinic_id=CLINIC, site_id=fixed_id(5), scope="full",
            ca_certificates=[self.ca] if self.ca else [], targets=[],
        )  # fmt: skip

    async def login(self, request: wire.LoginRequest) -> wire.SessionAnswer:
        if not self.reachable:
            raise PeerUnreachable("nobody there")
        if not self.has_cloud:
            raise PeerRefused(503, "cloud_required", "no cloud")
        if request.password != "right" or request.email not in USERS:
            raise PeerRefused(401, "credentials_invalid", "no")
        self.family, self.used, self.revoked = [], set(), False
        return self._next(USERS[request.email])

    async def refresh(self, request: wire.RefreshRequest) -> wire.SessionAnswer:
        self.asked.append(request.refresh_token or "proof")
        await asyncio.sleep(0)
        if not self.reachable:
            raise PeerUnreachable("nobody there")
        if self.revoked:
            raise PeerRefused(401, "session_revoked", "ended")
        if request.refresh_token is None:
            assert request.proof is not None
            self.proofs.append(request.proof)
            return self._next(USER, offline=True)
        if not self.has_cloud:
            raise PeerRefused(503, "cloud_required", "no cloud")
        token = request.refresh_token
        place = self.family.index(token)
        if set(self.family[place + 1 :]) & self.used:
            self.revoked = True
            raise PeerRefused(401, "session_revoked", "used twice")
        self.used.add(token)
        answer = self._next(USER)
        self._lose()
        return answer

    async def logout(self, request: wire.LogoutRequest) -> None:
        if not self.reachable:
            raise PeerUnreachable("nobody there")
        self.asked.append(f"logout {request.refresh_token}")

    def _next(self, user_id: str, *, offline: bool = False) -> wire.SessionAnswer:
        self.access = f"access {len(self.asked)} of {user_id}"
        self.ends_ms = self.clock.now_ms() + TTL_S * 1_000
        if not offline:
            self.family.append(f"refresh {len(self.family)}")
        email = next(email for email, held in USERS.items() if held == user_id)
        return wire.SessionAnswer(
            access_token=self.access, refresh_token=None if offline else self.family[-1], expires_in=TTL_S,
            user=wire.SessionUser(user_id=user_id, name="", email=email),
            clinic=wire.SessionClinic(clinic_id=CLINIC, name="Riverside"), roles=list(self.roles),
        )  # fmt: skip

    def _lose(self) -> None:
        if self.lose_answers:
            self.lose_answers -= 1
            raise PeerUnreachable("the answer was lost")


def machine(door: Door) -> Machine:
    return Machine(
        clock=door.clock, ids=SeededIds(door.clock, 5), worker=InlineWorker(), connect=door.connect
    )


async def enrolled(folder: Path, door: Door) -> Device:
    return await Device.enrol(folder, key=KEY, code="CODE", server=URL, name="Room 2", machine=machine(door))
