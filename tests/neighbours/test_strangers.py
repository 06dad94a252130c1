"""Who gets nothing: hubs of another site or clinic, hubs that were revoked, hubs alone, and who only says that it is one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import httpx

from hub.making import make_hub
from medxz.clock import SystemClock
from medxz.ids import RandomIds
from medxz.trust.proofs import sign_proof
from tests.making import as_json, fixed_id
from tests.neighbours.conftest import are_online, asked, assertion, id_of, ops_of, states
from tests.uplink.conftest import IDS, Box, Relay, Tablet, until


def said(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


async def read_with(token: str, box: Box) -> httpx.Response:
    return await box.http.get("/v1/sync/pull", headers={"Authorization": f"Bearer {token}"})


async def test_a_neighbour_s_token_is_good_at_the_hub_that_gave_it(
    relay: Relay, north: Box, second: Box, nora: Tablet
) -> None:
    """A hub that proves its key is let in as a hub, at that hub alone; each proof once, and only for that hub."""
    shown = assertion(second, north)
    given = await north.http.post("/v1/auth/hub", json=shown)
    assert given.status_code == 200, given.text
    token = given.json()["access_token"]
    assert (await read_with(token, north)).status_code == 200
    assert said(await read_with(token, second)) == (401, "token_invalid")
    async with httpx.AsyncClient(base_url=relay.url) as http:
        at_the_cloud = await http.get("/v1/sync/pull", headers={"Authorization": f"Bearer {token}"})
    assert said(at_the_cloud) == (401, "token_invalid")
    assert said(await north.http.post("/v1/auth/hub", json=shown)) == (401, "token_invalid")
    elsewhere = assertion(second, north, audience=relay.running.store.server.server_id)
    assert said(await north.http.post("/v1/auth/hub", json=elsewhere)) == (401, "token_invalid")
    itself = assertion(north, north)
    assert said(await north.http.post("/v1/auth/hub", json=itself)) == (401, "token_invalid")


async def test_a_neighbour_reads_alone(north: Box, second: Box, nora: Tablet) -> None:
    """It pushes nothing: its word on what a tablet wrote or may not write would be taken, and the tablet's own refused."""
    token = (await asked(second, north)).json()["access_token"]
    forged = {**as_json(nora.op()), "payload": "x"}
    answer = await north.http.post(
        "/v1/sync/push", json={"ops": [forged]}, headers={"Authorization": f"Bearer {token}"}
    )
    assert said(answer) == (403, "forbidden")
    nora.number = 0
    assert len(await nora.record()) == 1
    assert ops_of(north) == 1


async def test_a_revoked_hub_gets_nothing_more(relay: Relay, north: Box, second: Box, nora: Tablet) -> None:
    """With the next directory its stream ends, its token and its proofs are refused, and nobody looks for it."""
    token = (await asked(second, north)).json()["access_token"]
    await nora.record(3)
    await until(lambda: ops_of(second) == 3, "the ops at the second hub")
    await relay.admin.hubs.revoke(relay.clinic_id, id_of(second))
    await until(lambda: states(north) == [], "the first hub to hear of it")
    await until(lambda: not are_online(second), "the loss of the first hub")
    assert said(await read_with(token, north)) == (401, "session_revoked")
    assert said(await asked(second, north)) == (401, "session_revoked")
    await nora.record(2)
    await until(lambda: second.running.doors.link().last_error is not None, "the cloud to refuse it too")
    assert ops_of(second) == 3
    assert north.running.clinic.pull.streams_open == 0


async def test_a_hub_of_another_site_gets_nothing(relay: Relay, north: Box, south: Box, nora: Tablet) -> None:
    """It looks for none here, its proof is forbidden, and the token that the cloud gave it is for the cloud."""
    hubs = north.running.storage.registry
    await until(lambda: id_of(south) in hubs.directory.hubs, "the other site's hub in the directory")
    assert (states(north), states(south)) == ([], [])
    assert said(await asked(south, north)) == (403, "forbidden")
    audience = relay.running.store.server.server_id
    async with httpx.AsyncClient(base_url=relay.url) as http:
        given = await http.post("/v1/auth/hub", json=assertion(south, north, audience=audience))
    assert said(await read_with(given.json()["access_token"], north)) == (401, "token_invalid")


async def test_a_hub_of_another_clinic_gets_nothing(
    relay: Relay, north: Box, tmp_path: Path, make_box: Callable[[str], Box]
) -> None:
    """Whoever is not in the directory is answered like one whose key is wrong, and is not looked for."""
    other = Relay(tmp_path / "other-cloud")
    await other.make()
    await other.start()
    stranger = make_box("stranger")
    await stranger.claim(other, "North")
    await stranger.start()
    await until(lambda: stranger.is_online, "the stranger's cloud")
    refused = await asked(stranger, north)
    assert said(refused) == (401, "token_invalid")
    wrong_key = sign_proof(
        stranger.running.identity.claim.private_key,  # type: ignore[union-attr]
        id_of(north), id_of(stranger), SystemClock(), IDS,
    )  # fmt: skip
    again = await stranger.http.post("/v1/auth/hub", json={"assertion": wrong_key})
    assert again.json()["code"] == "token_invalid"
    assert (states(north), states(stranger)) == ([], [])
    await other.stop()


async def test_a_wrong_key_is_answered_like_an_unknown_hub(relay: Relay, north: Box, second: Box) -> None:
    """So that nobody learns which hubs there are; and the audit is not filled by who asks a thousand times."""
    claim = north.running.identity.claim
    assert claim is not None
    answers = []
    for hub_id in [id_of(second), fixed_id(0xABC), *[id_of(second)] * 20]:
        proof = sign_proof(claim.private_key, hub_id, id_of(north), SystemClock(), IDS)
        answers.append(await north.http.post("/v1/auth/hub", json={"assertion": proof}))
    assert {answer.json()["detail"] for answer in answers} == {answers[0].json()["detail"]}
    assert {said(answer) for answer in answers} == {(401, "token_invalid")}
    noted = await events_of(north)
    assert noted.count("hub_token_refused") == 1
    assert noted.count("hub_token") == 1


async def events_of(box: Box) -> list[str]:
    transactions = await box.running.storage.open_audit()
    try:
        rows = await transactions.read(lambda tx: tx.rows("SELECT event FROM audit"))
        return [event for (event,) in rows]
    finally:
        await transactions.close()


async def test_hubs_alone_never_talk(make_box: Callable[[str], Box]) -> None:
    """A hub that was never claimed lets no hub in, and looks for none."""
    boxes = [make_box(name) for name in ("one", "two")]
    clinic_id = RandomIds().uuid7()
    for box in boxes:
        await make_hub(box.settings.places, clinic_id, SystemClock(), RandomIds(), None)
        await box.start()
        assert box.running.doors.neighbours is None
    one, two = boxes
    shown = sign_proof(one.running.identity.token_key, id_of(one), id_of(two), SystemClock(), IDS)
    assert said(await two.http.post("/v1/auth/hub", json={"assertion": shown})) == (403, "forbidden")
    await asyncio.gather(*(box.stop() for box in boxes))
