"""A site with two hubs, in real processes over TLS: the loss of the cloud, and then of one of them, stops nobody."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from hub.ask import ask
from hub.config import HubPlaces
from medxz.op import Operation
from medxz.trust.certificates import client_context
from tests.making import as_json, make_op
from tests.system.hub_process import DEADLINE_S, wait_until
from tests.system.world import NURSE, PASSWORD, CloudProcess, SiteHub, free_port
from tests.system.wrong_clock import Machine

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("two-hubs")]

OPS = 200


class SecureHub(SiteHub):
    """A hub as a clinic has it: with TLS, at an address of its own."""

    def __init__(self, folder: Path, cloud: CloudProcess, site: str, name: str, host: str) -> None:
        super().__init__(folder, cloud, site, name)
        self.host = host
        self.flags: list[object] = ["--no-mdns"]
        self.hub_id = str(self.claim()["hub_id"])

    def start(self) -> SecureHub:
        self.url = f"https://{self.host}:{self.port}"
        self.run("--host", self.host, *self.flags, plain=False)
        return self

    def status(self) -> dict[str, Any]:
        return ask(HubPlaces(self.data).socket, "status")

    def neighbours(self) -> dict[str, str]:
        return {told["hub_id"]: told["state"] for told in self.status()["neighbours"]}

    def reads(self, other: SecureHub) -> bool:
        return self.neighbours() == {other.hub_id: "online"}


class Tablet:
    """A device that was enrolled at the cloud, at whichever hub it is."""

    def __init__(self, cloud: CloudProcess, site: str) -> None:
        self.clinic_id = cloud.clinic_id
        key = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
        public = base64.urlsafe_b64encode(key).rstrip(b"=").decode()
        enrolling = {"code": cloud.code("device", site), "name": "tablet", "public_key": public}
        told = httpx.post(f"{cloud.url}/v1/enroll", json=enrolling, timeout=30).json()
        self.device_id, self.roots = told["device_id"], "\n".join(told["ca_certificates"])
        login = {"email": NURSE, "password": PASSWORD, "device_id": self.device_id}
        session = httpx.post(f"{cloud.url}/v1/auth/login", json=login, timeout=30).json()
        self.user_id, self.token = session["user"]["user_id"], session["access_token"]
        self._number = 0

    @asynccontextmanager
    async def at(self, hub: SecureHub) -> AsyncIterator[httpx.AsyncClient]:
        context = client_context(self.roots.encode(), hub.hub_id)
        headers = {"Authorization": f"Bearer {self.token}"}
        async with httpx.AsyncClient(base_url=hub.url, verify=context, headers=headers, timeout=60) as http:
            yield http

    async def push(self, http: httpx.AsyncClient, count: int) -> list[str]:
        """New ops; offered again while that hub has not heard of who is at this tablet."""
        ops = [
            make_op(number, device_id=self.device_id, clinic_id=self.clinic_id, user_id=self.user_id)
            for number in range(self._number + 1, self._number + count + 1)
        ]
        self._number += count
        async with asyncio.timeout(DEADLINE_S):
            while (told := await self._offer(http, ops)) == {"unknown_author"}:
                await asyncio.sleep(0.02)
        assert told == {"accepted"}
        return [op.op_id for op in ops]

    async def _offer(self, http: httpx.AsyncClient, ops: list[Operation]) -> set[str]:
        answer = await http.post("/v1/sync/push", json={"ops": list(map(as_json, ops))})
        return {result.get("code", result["status"]) for result in answer.json()["results"]}


async def pulled(http: httpx.AsyncClient) -> list[str]:
    return [op["op_id"] for op in (await http.get("/v1/sync/pull", params={"limit": 1000})).json()["ops"]]


@asynccontextmanager
async def streaming(http: httpx.AsyncClient) -> AsyncIterator[dict[str, float]]:
    """What comes on the stream there, and when."""
    arrived: dict[str, float] = {}
    stands = asyncio.Event()

    async def read() -> None:
        async with http.stream("GET", "/v1/sync/stream") as answer:
            async for line in answer.aiter_lines():
                stands.set()
                if line.startswith("data:") and "op_id" in line:
                    for op in orjson.loads(line.removeprefix("data:")):
                        arrived[op["op_id"]] = time.monotonic()

    reading = asyncio.create_task(read())
    async with asyncio.timeout(DEADLINE_S):
        await stands.wait()
    try:
        yield arrived
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)


@pytest.fixture(scope="module")
def hubs(folder: Path, cloud: CloudProcess) -> Iterator[list[SecureHub]]:
    made = [
        SecureHub(folder, cloud, "North", "first", "127.0.0.1"),
        SecureHub(folder, cloud, "North", "second", "127.0.0.2"),
        SecureHub(folder, cloud, "South", "elsewhere", "127.0.0.3"),
    ]
    for hub in made:
        hub.start()
    yield made
    for hub in made:
        hub.end()


@pytest.fixture(scope="module")
def tablet(cloud: CloudProcess, hubs: list[SecureHub]) -> Tablet:
    return Tablet(cloud, "North")


async def test_a_site_survives_the_loss_of_the_cloud_and_of_a_hub(
    cloud: CloudProcess, hubs: list[SecureHub], tablet: Tablet
) -> None:
    """Ops pushed to one are on the other's stream at once; with the first one killed the tablet goes on with all of them."""
    first, second, elsewhere = hubs
    wait_until(lambda: first.reads(second) and second.reads(first), "the two hubs of the site")
    async with tablet.at(first) as there, tablet.at(second) as http:
        ids = [*await tablet.push(there, 1), *await tablet.push(http, 1)]
        wait_until(lambda: all(hub.status()["ops"] == 2 for hub in hubs), "both ops at every site")
        cloud.end()
        async with streaming(http) as arrived:
            ids += await tablet.push(there, OPS)
            ids += await tablet.push(there, 1)
            pushed_at = time.monotonic()
            while ids[-1] not in arrived:
                assert time.monotonic() < pushed_at + DEADLINE_S, second.said()
                await asyncio.sleep(0.005)
            assert sorted(arrived) == sorted(ids)
            first.end()
            ids += await tablet.push(http, 20)
        assert sorted(await pulled(http)) == sorted(ids)
        assert elsewhere.status()["ops"] == 2
        wait_until(lambda: second.neighbours() == {first.hub_id: "offline"}, "the loss of the first hub")
        first.start()
        wait_until(
            lambda: first.reads(second) and first.status()["ops"] == len(ids), "the first hub to come up"
        )
    async with tablet.at(first) as http:
        assert sorted(await pulled(http)) == sorted(ids)
    cloud.start()
    wait_until(lambda: all(hub.status()["ops"] == len(ids) for hub in hubs), "the ops at every site")
    wait_until(lambda: all(hub.status()["backlog"] == 0 for hub in hubs), "the ops in the cloud")
    headers = {"Authorization": f"Bearer {tablet.token}"}
    async with httpx.AsyncClient(base_url=cloud.url, headers=headers) as http:
        assert sorted(await pulled(http)) == sorted(ids), "each once"


async def test_hubs_that_moved_find_each_other_by_mdns(
    cloud: CloudProcess, hubs: list[SecureHub], tablet: Tablet
) -> None:
    """With other addresses than the cloud has written down, and no cloud to tell it the new ones."""
    first, second, _ = hubs
    cloud.end()
    for hub in (first, second):
        hub.end()
        hub.host, hub.port, hub.flags = "127.0.0.1", free_port(), []
        hub.start()
    wait_until(lambda: first.reads(second) and second.reads(first), "the two hubs, where they are now")
    async with tablet.at(first) as http:
        [op_id] = await tablet.push(http, 1)
    async with tablet.at(second) as http:
        await until_there(http, op_id)


async def test_hubs_that_boot_in_1970_read_each_other(
    folder: Path, cloud: CloudProcess, hubs: list[SecureHub], tablet: Tablet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a power cut at a site whose internet is gone: neither box knows what time it is, and both go on."""
    first, second, _ = hubs
    cloud.end()
    with monkeypatch.context() as set_back:
        for number, hub in enumerate((first, second)):
            machine = Machine(folder, f"machine-{number}")
            machine.boot_in_1970()
            for name, value in machine.environment.items():
                set_back.setenv(name, value)
            hub.end()
            hub.start()
    wait_until(lambda: first.reads(second) and second.reads(first), "the two hubs, with wrong clocks")
    assert not first.status()["clock"]["trusted"]
    async with tablet.at(second) as http:
        [op_id] = await tablet.push(http, 1)
    async with tablet.at(first) as http:
        await until_there(http, op_id)


async def until_there(http: httpx.AsyncClient, op_id: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while op_id not in await pulled(http):
        assert time.monotonic() < deadline, "the op at the other hub"
        await asyncio.sleep(0.02)
