"""What a cloud gives back of the backups that its hubs laid down: to whom, in pages, from any byte on."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from tests.protocol.conftest import Server
from tests.protocol.two_clinics import IDS, Clinic, Cloud, assertion_of, request_of, two_clinics

pytestmark = pytest.mark.slow

CONTENT = bytes(range(256)) * 2_000
LIST = "/v1/hubs/backups"


@pytest.fixture
async def cloud(tmp_path: Path) -> AsyncIterator[Cloud]:
    async with two_clinics(tmp_path / "cloud") as cloud:
        yield cloud


async def laid_down(clinic: Clinic, stamp: str) -> str:
    """A backup of the clinic's hub; its id."""
    told = {"name": "hub.db", "bytes": len(CONTENT), "sha256": hashlib.sha256(CONTENT).hexdigest()}
    manifest = json.dumps({"hub_id": clinic.hub_id, "files": [told]}).encode()
    for file, content in (("hub.db", CONTENT), ("manifest.json", manifest)):
        text = base64.urlsafe_b64encode(content).rstrip(b"=").decode()
        piece = {"backup": stamp, "file": file, "offset": 0, "content": text}
        await clinic.good("hub", "POST", LIST, json=piece)
    return f"{stamp}-{clinic.hub_id}"


async def successor(clinic: Clinic, site: str) -> Clinic:
    """Another box of the clinic, claimed by a code that replaces its hub, as whom it asks."""
    [code] = await clinic.cloud.office.admin.codes.make(clinic.clinic_id, "hub", site, replaces=clinic.hub_id)
    box = replace_of(clinic)
    body = {"code": code.code, "csr": request_of(box, IDS.uuid7()), "name": "new"}
    box.hub_id = (await box.good(None, "POST", "/v1/hubs/claim", json=body))["hub_id"]
    asked = {"assertion": assertion_of(box, box.hub_id)}
    box.tokens["hub"] = (await box.good(None, "POST", "/v1/auth/hub", json=asked))["access_token"]
    return box


def replace_of(clinic: Clinic) -> Clinic:
    box = Clinic(clinic.cloud, clinic.clinic_id, clinic.site_id, clinic.site_name, clinic.word)
    box.hub_key = ec.generate_private_key(ec.SECP256R1())
    return box


async def ids_of(clinic: Clinic) -> list[str]:
    return [told["id"] for told in (await clinic.good("hub", "GET", LIST))["backups"]]


async def audited(clinic: Clinic) -> list[dict[str, Any]]:
    entries = (await clinic.good("admin", "GET", "/v1/audit"))["entries"]
    return [entry["detail"] for entry in entries if entry["event"] == "backup_fetched"]


async def test_a_hub_gets_its_own_back(cloud: Cloud) -> None:
    """The newest first, page by page, and each file whole or from a byte on; that it was fetched is in the audit."""
    ours = cloud.ours
    ids = [
        await laid_down(ours, stamp) for stamp in ("20260901T010000Z", "20261001T010000Z", "20261101T010000Z")
    ]
    assert await ids_of(ours) == ids[::-1]
    first = await ours.good("hub", "GET", f"{LIST}?limit=2")
    assert first["backups"][0] == {
        "id": ids[2], "hub_id": ours.hub_id, "made_at": "2026-11-01T01:00:00.000Z",
        "files": [{"name": "hub.db", "bytes": len(CONTENT), "sha256": hashlib.sha256(CONTENT).hexdigest()}],
    }  # fmt: skip
    second = await ours.good("hub", "GET", LIST, params={"limit": 2, "cursor": first["next_cursor"]})
    assert [told["id"] for told in second["backups"]] == ids[:1]
    assert second["next_cursor"] is None
    assert (await ours.ask("hub", "GET", f"{LIST}?cursor=x")).json()["code"] == "bad_cursor"
    path = f"{LIST}/{ids[0]}?file=hub.db"
    assert (await ours.ask("hub", "GET", path)).content == CONTENT
    part = await ours.ask("hub", "GET", path, headers={"Range": "bytes=1000-"})
    assert (part.status_code, part.content) == (206, CONTENT[1_000:])
    assert await audited(ours) == []
    await ours.good("hub", "GET", f"{LIST}/{ids[0]}?file=manifest.json")
    assert await audited(ours) == [{"backup": ids[0]}]
    for wrong, status in (("?file=audit.db", 404), ("?file=../x", 422), ("", 422)):
        assert (await ours.ask("hub", "GET", f"{LIST}/{ids[0]}{wrong}")).status_code == status
    assert (await ours.ask("admin", "GET", LIST)).status_code == 403


async def test_nobody_elses(cloud: Cloud) -> None:
    """Neither a hub of another clinic nor one beside it of its own is told of a backup, or that there is one."""
    theirs = await laid_down(cloud.theirs, "20261101T010000Z")
    ours = cloud.ours
    beside = replace_of(cloud.theirs)
    [code] = await cloud.office.admin.codes.make(beside.clinic_id, "hub", beside.site_name)
    body = {"code": code.code, "csr": request_of(beside, IDS.uuid7()), "name": "beside"}
    beside.hub_id = (await beside.good(None, "POST", "/v1/hubs/claim", json=body))["hub_id"]
    asked = {"assertion": assertion_of(beside, beside.hub_id)}
    beside.tokens["hub"] = (await beside.good(None, "POST", "/v1/auth/hub", json=asked))["access_token"]
    nobodys = f"{theirs[:17]}{IDS.uuid7()}"
    for stranger in (ours, beside):
        assert await ids_of(stranger) == []
        told = [
            (await stranger.ask("hub", "GET", f"{LIST}/{backup}?file=manifest.json")).json()
            for backup in (theirs, nobodys)
        ]
        assert [answer.pop("request_id") and answer for answer in told] == [told[0], told[0]]
        assert told[0]["code"] == "not_found"


async def test_who_took_its_place_gets_them(cloud: Cloud) -> None:
    """A hub that replaces another of its site, and whoever replaces that one, has its backups too; at another site not."""
    old = cloud.ours
    of_old = await laid_down(old, "20261101T010000Z")
    new = await successor(old, old.site_name)
    assert (await old.ask("hub", "GET", LIST)).status_code == 401
    assert await ids_of(new) == [of_old]
    of_new = await laid_down(new, "20261102T010000Z")
    newest = await successor(new, old.site_name)
    assert await ids_of(newest) == [of_new, of_old]
    assert (await newest.ask("hub", "GET", f"{LIST}/{of_old}?file=hub.db")).content == CONTENT
    await cloud.office.admin.sites.add(old.clinic_id, "Elsewhere")
    assert await ids_of(await successor(newest, "Elsewhere")) == []


async def test_a_hub_gives_none_back(server: Server) -> None:
    """A hub has nobody's backups, and a device is told nothing of them."""
    hub, device = await server.caller("hub"), await server.caller()
    path = f"{LIST}/20261101T010000Z-{IDS.uuid7()}?file=hub.db"
    for asked, of_cloud in ((LIST, 200), (path, 404)):
        assert (await device.ask("GET", asked)).status == 403
        assert (await hub.ask("GET", asked)).status == (403 if server.kind == "hub" else of_cloud)
