"""What a cloud tells its hubs to run, and how it hands that out."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cloud.releases import Description, Shelf
from medxz import limits
from tests.protocol.conftest import Server
from tests.protocol.two_clinics import Clinic, two_clinics

pytestmark = pytest.mark.slow

KIND = "medxz-hub-arm64"
CONTENT = bytes(range(256)) * 4_096


@pytest.fixture
async def clinic(tmp_path: Path) -> AsyncIterator[Clinic]:
    async with two_clinics(tmp_path / "cloud") as cloud:
        yield cloud.ours


def offered(data: Path, version: str, content: bytes = CONTENT) -> str:
    """Its SHA-256, once it stands on the shelf of the cloud in this directory."""
    bundle, sha256 = data.with_name(f"{version}.raucb"), hashlib.sha256(content).hexdigest()
    bundle.write_bytes(content)
    said = {"version": version, "compatible": KIND, "size": len(content), "sha256": sha256}
    bundle.with_name(bundle.name + ".json").write_text(json.dumps(said))
    Shelf(data).add(bundle, Description.beside(bundle), "2026-11-22T00:00:00.000Z", lambda _done, _size: None)
    return sha256


async def test_what_a_hub_is_to_run(clinic: Clinic, tmp_path: Path) -> None:
    """The newest for its kind of machine, as long as it runs an older one; a release counts from when it is added."""
    asked = f"/v1/hubs/update?compatible={KIND}"
    assert await clinic.good("hub", "GET", f"{asked}&version=0.1.0") is None
    sha256 = offered(tmp_path / "cloud", "0.2.0")
    told = await clinic.good("hub", "GET", f"{asked}&version=0.1.0")
    assert told == {
        "version": "0.2.0", "compatible": KIND, "size": len(CONTENT), "sha256": sha256,
        "added_at": "2026-11-22T00:00:00.000Z", "go_back": False,
    }  # fmt: skip
    assert await clinic.good("hub", "GET", asked) == told
    assert await clinic.good("hub", "GET", f"{asked}&version=0.2.0-rc.1") == told
    for version in ("0.2.0", "0.2.1", "1.0"):
        assert await clinic.good("hub", "GET", f"{asked}&version={version}") is None
    assert await clinic.good("hub", "GET", "/v1/hubs/update?compatible=medxz-hub-amd64") is None
    for wrong in ("/v1/hubs/update", f"{asked}&version=newest", "/v1/hubs/update?compatible=../x"):
        assert (await clinic.ask("hub", "GET", wrong)).status_code == 422
    assert (await clinic.ask("admin", "GET", asked)).status_code == 403


async def test_a_bundle_from_any_byte_on(clinic: Clinic, tmp_path: Path) -> None:
    """It comes whole, or the part that is asked for; a range that is none of it is refused, and so is who is no hub."""
    path = f"/v1/hubs/releases/{offered(tmp_path / 'cloud', '0.2.0')}"
    whole = await clinic.ask("hub", "GET", path)
    assert (whole.status_code, whole.content) == (200, CONTENT)
    assert whole.headers["Content-Type"] == "application/octet-stream"
    for asked, part in {"bytes=1000-": CONTENT[1_000:], "bytes=5-9": CONTENT[5:10]}.items():
        found = await clinic.ask("hub", "GET", path, headers={"Range": asked})
        assert (found.status_code, found.content) == (206, part)
    for asked in (
        f"bytes={len(CONTENT)}-",
        "bytes=9-5",
        "bytes=-5",
        "bytes=0-1,3-4",
        "lines=1-2",
        "bytes=x-",
    ):
        refused = await clinic.ask("hub", "GET", path, headers={"Range": asked})
        assert (refused.status_code, refused.json()["field"]) == (422, "Range")
    assert (await clinic.ask("hub", "HEAD", path)).headers["Content-Length"] == str(len(CONTENT))
    assert (await clinic.ask("clinician", "GET", path)).status_code == 403
    assert (await clinic.ask("hub", "GET", "/v1/hubs/releases/" + "0" * 64)).status_code == 404


async def test_so_many_at_once(clinic: Clinic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who comes when enough hubs are downloading waits, and is let in when one of them is done."""
    monkeypatch.setattr(limits, "RELEASE_DOWNLOADS_MAX", 1)
    path = f"/v1/hubs/releases/{offered(tmp_path / 'cloud', '0.2.0', CONTENT * 16)}"
    token = {"Authorization": f"Bearer {clinic.tokens['hub']}"}
    async with clinic.cloud.http.stream("GET", path, headers=token) as first:
        assert first.status_code == 200
        second = await clinic.ask("hub", "GET", path)
        assert (second.status_code, second.headers["Retry-After"]) == (503, str(limits.RELEASE_RETRY_S))
    async with asyncio.timeout(20):
        while (await clinic.ask("hub", "GET", path)).status_code != 200:
            await asyncio.sleep(0.01)


async def test_a_hub_hands_out_none(server: Server) -> None:
    """Neither a hub nor a cloud without releases has any, and a device is told nothing of them."""
    hub, device = await server.caller("hub"), await server.caller()
    for path in ("/v1/hubs/update?compatible=k", "/v1/hubs/releases/" + "0" * 64):
        assert (await device.ask("GET", path)).status == 403
        assert (await hub.ask("GET", path)).status == (
            403 if server.kind == "hub" else {"/v1/hubs/u": 204}.get(path[:10], 404)
        )
