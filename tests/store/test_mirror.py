"""What a hub keeps of its cloud: the directory, how far the exchange is, and the sessions that it passed on."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from medxz.store.exchange import Exchange
from medxz.store.files import LogFile
from medxz.store.passed import FORGOTTEN_AFTER_MS, PassedSession, PassedSessions
from medxz.store.registry import SqliteRegistry
from medxz.wire import DirectoryAnswer
from medxz.work import InlineWorker
from tests.making import CLINIC, DEVICE, NOON_MS, OTHER_DEVICE, USER, fixed_id
from tests.store.conftest import IDENTITY, KEY

SITE = fixed_id(0x51)
OTHER_USER = fixed_id(0xE2)
HUB = fixed_id(0xA2)


@pytest.fixture
async def file(tmp_path: Path) -> AsyncIterator[LogFile]:
    LogFile.create(tmp_path / "hub.db", KEY, IDENTITY)
    opened = LogFile.open(tmp_path / "hub.db", KEY)
    yield opened
    opened.close(clean=True)


def registry_of(file: LogFile, woken: list[int] | None = None) -> SqliteRegistry:
    counted: list[int] = [] if woken is None else woken
    return SqliteRegistry(file, InlineWorker(), lambda: counted.append(1))


def told(revision: int = 7, **changes: Any) -> DirectoryAnswer:
    whole: dict[str, Any] = {
        "revision": revision,
        "users": [a_user(USER, "clinician"), a_user(OTHER_USER)],
        "devices": [a_device(DEVICE, [b"1" * 32, b"2" * 32], [USER, OTHER_USER])],
        "revoked_sessions": [fixed_id(1)],
        "sites": [{"site_id": SITE, "name": "North"}],
        "hubs": [
            {"hub_id": HUB, "site_id": SITE, "name": "box", "public_key": "PEM", "revoked": False, "url": None}
        ],
        "keys": {"keys": [{"kty": "OKP", "crv": "Ed25519", "x": "x", "kid": "k", "use": "sig", "alg": "EdDSA"}]},
        "config": {
            "clinic_id": CLINIC, "name": "Clinic", "keep_own_days": 20, "offline_session_hours": 8,
            "require_signed_ops": True, "routing": {"admin": ["cloud"]}, "targets": [], "ca_certificates": ["CA"],
            "hub_names": ["hub.example"],
        },
    }  # fmt: skip
    return DirectoryAnswer.model_validate(whole | changes)


def a_user(user_id: str, *roles: str, disabled: bool = False) -> dict[str, Any]:
    return {"user_id": user_id, "name": "Ada", "email": "a@b.c", "roles": roles, "disabled": disabled}


def a_device(device_id: str, keys: list[bytes], authors: list[str], **changes: Any) -> dict[str, Any]:
    texts = [base64.urlsafe_b64encode(key).rstrip(b"=").decode() for key in keys]
    return {
        "device_id": device_id, "name": "tablet", "site_id": SITE, "scope": "full", "revoked": False,
        "public_keys": texts, "authors": authors,
    } | changes  # fmt: skip


async def test_the_whole_directory_is_kept(file: LogFile) -> None:
    """What the cloud told is known at once, and after the file was opened again; who waits is woken."""
    woken: list[int] = []
    registry = registry_of(file, woken)
    await registry.replace_directory(told())
    for seen in (registry, registry_of(file)):
        directory = seen.directory
        assert directory.revision == 7
        assert directory.users[USER].roles == {"clinician"}
        assert (directory.users[OTHER_USER].roles, directory.users[USER].name) == (frozenset(), "Ada")
        assert directory.devices[DEVICE].public_keys == (b"1" * 32, b"2" * 32)
        assert directory.devices[DEVICE].authors == {USER, OTHER_USER}
        assert (directory.revoked_sessions, directory.sites) == ({fixed_id(1)}, {SITE: "North"})
        assert (directory.hubs[HUB].public_key_pem, directory.hubs[HUB].url) == (b"PEM", None)
        assert (seen.config.offline_session_hours, seen.config.ca_certificates) == (8, ("CA",))
        assert seen.config.hub_names == ("hub.example",)
        assert (seen.config.require_signed_ops, seen.keys.keys[0].kid) == (True, "k")
    assert woken == [1]


async def test_the_next_directory_takes_its_place(file: LogFile) -> None:
    """What changed is as the cloud says it now; whom it no longer names may do nothing, and stays known."""
    registry = registry_of(file)
    await registry.replace_directory(told())
    await registry.put_device(OTHER_DEVICE, "full")
    await registry.replace_directory(
        told(
            8,
            users=[a_user(USER, "admin", disabled=True)],
            devices=[a_device(DEVICE, [b"2" * 32], [USER], revoked=True, scope="front_desk")],
            sites=[],
            hubs=[],
        )
    )
    for directory in (registry.directory, registry_of(file).directory):
        device = directory.devices[DEVICE]
        assert directory.users[USER].roles == {"admin"}
        assert directory.users[USER].disabled
        assert directory.users[OTHER_USER].disabled
        assert (device.public_keys, device.revoked, device.scope) == ((b"2" * 32,), True, "front_desk")
        assert device.authors == {USER, OTHER_USER}, "who once had a session there is an author for ever"
        assert directory.devices[OTHER_DEVICE].revoked
        assert (directory.sites, directory.hubs, directory.revision) == ({}, {}, 8)


async def test_what_began_here_outlives_the_mirror(file: LogFile) -> None:
    """Sessions that began on a hub before it was claimed keep their authors, and one revoked here stays revoked."""
    registry = registry_of(file)
    await registry.put_user(USER, ["clinician"])
    await registry.put_device(DEVICE, "full")
    await registry.put_session(fixed_id(2), USER, DEVICE)
    await registry.revoke_session(fixed_id(2))
    await registry.replace_directory(told(devices=[a_device(DEVICE, [], [])]))
    assert registry.directory.devices[DEVICE].authors == {USER}
    assert registry.directory.revoked_sessions == {fixed_id(1), fixed_id(2)}


async def test_how_far_the_exchange_is(file: LogFile) -> None:
    """Place, marks and refusals are kept together; those of another epoch take the place of the marks before."""
    woken: list[int] = []
    registry = registry_of(file, woken)
    assert await registry.exchange() is None
    first = Exchange(HUB, fixed_id(5), 12, 3, 1, (4, 9), "cursor")
    await registry.keep_exchange(first, {DEVICE: 4, OTHER_DEVICE: 2}, [(fixed_id(8), DEVICE, "invalid")])
    await registry.keep_exchange(first, {DEVICE: 6}, [(fixed_id(7), DEVICE, "bad_hash")])
    for seen in (registry, registry_of(file)):
        assert await seen.exchange() == first
        assert (seen.directory.cloud_epoch, seen.directory.cloud_marks) == (
            fixed_id(5),
            {DEVICE: 6, OTHER_DEVICE: 2},
        )
        assert list(map(tuple, seen.directory.cloud_refusals[DEVICE])) == [
            (fixed_id(7), "bad_hash"),
            (fixed_id(8), "invalid"),
        ]
    second = Exchange(HUB, fixed_id(6))
    await registry.keep_exchange(second, {DEVICE: 1})
    for seen in (registry, registry_of(file)):
        assert await seen.exchange() == second
        assert seen.directory.cloud_marks == {DEVICE: 1}
        assert len(seen.directory.cloud_refusals[DEVICE]) == 2
    assert woken == []


async def test_a_passed_session_is_known_by_its_two_newest_tokens(file: LogFile) -> None:
    """A successor and its predecessor find the session, an older token does not, and the tokens are not in the file."""
    sessions = PassedSessions(file, InlineWorker())
    session = PassedSession(fixed_id(2), USER, DEVICE, SITE, frozenset({"clinician"}), NOON_MS)
    passed = [replace(session, passed_ms=NOON_MS + number) for number in range(3)]
    for number, each in enumerate(passed):
        await sessions.keep(f"token-{number}", each)
    assert await sessions.find("token-0") is None
    assert await sessions.find("token-1") == passed[1]
    assert await sessions.find("token-2") == passed[2]
    [rows] = file.writing.execute("SELECT count(*) FROM passed_session").fetchall()
    assert rows == (2,)
    await sessions.forget(session.session_id)
    assert await sessions.find("token-2") is None


async def test_a_passed_session_that_nobody_uses_is_forgotten(file: LogFile) -> None:
    """What was last passed on longer ago than any session lasts takes no room."""
    sessions = PassedSessions(file, InlineWorker())
    old = PassedSession(fixed_id(2), USER, DEVICE, SITE, frozenset({"clinician"}), NOON_MS)
    new = PassedSession(fixed_id(3), USER, DEVICE, SITE, frozenset(), NOON_MS + FORGOTTEN_AFTER_MS + 1)
    await sessions.keep("old", old)
    await sessions.keep("new", new)
    assert (await sessions.find("old"), await sessions.find("new")) == (None, new)
