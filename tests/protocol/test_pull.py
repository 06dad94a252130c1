"""Protocol 4: pull, cursors, resume, stream."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from medxz import limits
from medxz.ids import RandomIds
from medxz.scope import FRONT_DESK_TYPES
from medxz.service.upstream import ServerKind
from medxz.store.cipher import open_database
from tests.making import CLINIC, DEVICE, OTHER_DEVICE, USER, fixed_id, make_op, run_of
from tests.protocol.conftest import SITE, Caller, Server

TYPES = ["Observation", "Patient", "Condition", "Appointment", "Coverage", "Composition", "RelatedPerson"]


async def test_following_the_cursor_reads_every_op_once(device: Caller) -> None:
    """Pages of any size put together are the log, in order, and the last page says there is no more."""
    ops = run_of(1, 23)
    await device.push(*ops)
    for limit in (1, 5, 23, 1_000):
        assert [op["op_id"] for op in await device.pull_all(limit)] == [op.op_id for op in ops]
    page = (await device.pull(limit=23)).body
    assert page["has_more"] is False
    assert (await device.pull(page["next_cursor"])).body["ops"] == []


async def test_a_cursor_outlives_a_restart(server: Server, device: Caller) -> None:
    """A reader goes on where it was, whatever the server did meanwhile."""
    await device.push(*run_of(1, 6))
    cursor = (await device.pull(limit=4)).body["next_cursor"]
    await server.restart()
    await device.push(make_op(7))
    assert [op["device_seq"] for op in (await device.pull(cursor)).body["ops"]] == [5, 6, 7]


@pytest.mark.parametrize(
    "query", [{"limit": 0}, {"limit": 1_001}, {"limit": "many"}, {"wait": 31}, {"wait": -1}, {"since": 1}]
)
async def test_parameters_have_limits(device: Caller, query: dict[str, Any]) -> None:
    """limit is 1 … 1,000 and wait 0 … 30; what is unknown is refused, by name."""
    answer = await device.pull(**query)
    assert (answer.status, answer.code, answer.body["field"]) == (422, "invalid", next(iter(query)))


async def test_a_waiting_pull_is_answered_by_the_next_op(server: Server, device: Caller) -> None:
    """With `wait` and nothing new the request is held until something is."""
    other = await server.caller(device_id=OTHER_DEVICE)
    waiting = asyncio.create_task(other.pull(wait=30))
    while not server.log._waiting._woken._waiters:  # the moment at which it waits
        await asyncio.sleep(0.005)
    assert not waiting.done()
    await device.push(make_op(1))
    page = (await asyncio.wait_for(waiting, 5)).body
    assert [op["device_seq"] for op in page["ops"]] == [1]


async def test_a_waiting_pull_ends_when_its_time_is_over(device: Caller) -> None:
    """Nothing new within `wait`: an empty page and the same place."""
    started = time.monotonic()
    answer = await device.pull(wait=0.3)
    assert answer.body["ops"] == []
    assert 0.25 <= time.monotonic() - started < 5


async def test_a_waiting_front_desk_is_not_woken_by_what_it_may_not_see(
    server: Server, device: Caller
) -> None:
    """A clinical op neither ends the wait nor shows in the page."""
    desk = await server.caller(
        "front_desk", device_id=OTHER_DEVICE, user_id=fixed_id(0xE7), scope="front_desk"
    )
    waiting = asyncio.create_task(desk.pull(wait=30))
    await device.push(make_op(1))
    await device.push(make_op(2, entity_type="Patient"))
    page = (await asyncio.wait_for(waiting, 5)).body
    assert [op["entity_type"] for op in page["ops"]] == ["Patient"]


async def copied(server: Server) -> bytes:
    """Its file, as a backup takes it from a server that is stopped."""
    await server.stop()
    copy = server.path.read_bytes()
    await server.start()
    return copy


async def put_back(server: Server, copy: bytes) -> None:
    """Its log goes back, and nobody is told."""
    await server.stop()
    server.path.write_bytes(copy)
    await server.start()


class TestCursors:
    """A cursor binds server, epoch, scope, position and the op there."""

    async def test_one_from_nowhere_is_bad(self, device: Caller) -> None:
        """Neither garbage nor a cursor with one changed byte is taken."""
        await device.push(*run_of(1, 3))
        good = (await device.pull(limit=2)).body["next_cursor"]
        raw = base64.urlsafe_b64decode(good + "==")
        moved = base64.urlsafe_b64encode(raw[:41] + bytes([raw[41] ^ 1]) + raw[42:]).rstrip(b"=").decode()
        for cursor in ("", "x", "0", "a" * 600, "é", good[:-2], moved):
            answer = await device.pull(cursor)
            assert (answer.status, answer.code) == (400, "bad_cursor"), cursor

    async def test_one_of_another_server_makes_the_device_resume(
        self, device: Caller, kind: ServerKind, tmp_path: Path
    ) -> None:
        """409 cursor_epoch_changed: the device asks for a cursor by what it has."""
        await device.push(make_op(1))
        cursor = (await device.pull()).body["next_cursor"]
        other = await Server(kind, tmp_path / "other.db", server_id=fixed_id(0xA2)).start()
        moved = await other.caller()
        answer = await moved.pull(cursor)
        assert (answer.status, answer.code) == (409, "cursor_epoch_changed")
        await other.stop()

    async def test_a_log_that_went_back_gets_a_new_epoch(self, server: Server, device: Caller) -> None:
        """A file restored from an older copy is noticed by the first cursor that points beyond it."""
        await device.push(*run_of(1, 3))
        copy = await copied(server)
        await device.push(*run_of(4, 6))
        cursor = (await device.pull()).body["next_cursor"]
        epoch = server.log.epoch
        await put_back(server, copy)
        answer = await device.pull(cursor)
        assert (answer.status, answer.code) == (409, "cursor_epoch_changed")
        assert server.log.epoch != epoch
        assert (await device.push(make_op(4))).body["epoch"] == server.log.epoch
        resumed = (await device.ask("POST", "/v1/sync/resume", json={"have": {DEVICE: 3}})).body["cursor"]
        assert [op["device_seq"] for op in (await device.pull(resumed)).body["ops"]] == [4]

    async def test_a_log_that_went_back_and_grew_again_is_noticed_too(
        self, server: Server, device: Caller
    ) -> None:
        """The same position, but another op there."""
        await device.push(*run_of(1, 3))
        copy = await copied(server)
        await device.push(make_op(4))
        cursor = (await device.pull()).body["next_cursor"]
        await put_back(server, copy)
        await (await server.caller(device_id=OTHER_DEVICE)).push(*run_of(1, 5, OTHER_DEVICE))
        assert (await device.pull(cursor)).code == "cursor_epoch_changed"

    async def test_a_log_that_went_back_twice_to_one_copy_gets_a_new_epoch(
        self, server: Server, device: Caller
    ) -> None:
        """Its old epoch is there again, and a cursor that fits in that one: one of the epoch between tells."""
        await device.push(*run_of(1, 3))
        copy = await copied(server)
        slept = (await device.pull(limit=2)).body["next_cursor"]
        await server.log.begin_epoch(RandomIds().uuid7())
        between = (await device.pull()).body["next_cursor"]
        await put_back(server, copy)
        assert (await device.pull(slept)).status == 200
        answer = await device.pull(between)
        assert (answer.status, answer.code) == (409, "cursor_epoch_changed")
        for cursor in (slept, between):
            assert (await device.pull(cursor)).code == "cursor_epoch_changed"
        epoch = (await device.push(make_op(4))).body["epoch"]
        assert (await device.pull(between)).code == "cursor_epoch_changed"
        assert server.log.epoch == epoch, "an older epoch begins nothing"

    async def test_many_readers_that_notice_make_one_epoch(self, server: Server, device: Caller) -> None:
        """Ten cursors beyond the end of the log begin one new epoch, not ten."""
        await device.push(*run_of(1, 3))
        copy = await copied(server)
        await device.push(make_op(4))
        cursor = (await device.pull()).body["next_cursor"]
        await put_back(server, copy)
        epochs = set()
        begin = server.log.begin_epoch

        async def counted(epoch: str) -> None:
            epochs.add(epoch)
            await begin(epoch)

        server.clinic.pull._begin_epoch = counted  # type: ignore[misc]  # to count, not to change
        answers = await asyncio.gather(*(device.pull(cursor) for _ in range(10)))
        assert {answer.code for answer in answers} == {"cursor_epoch_changed"}
        assert len(epochs) == 1

    async def test_a_wider_scope_begins_anew(self, server: Server) -> None:
        """A cursor of a front desk says nothing of what the device may see now; the other way round it holds."""
        desk = await server.caller("front_desk", scope="front_desk")
        await desk.push(make_op(1, entity_type="Patient"))
        cursor = (await desk.pull()).body["next_cursor"]
        full = await server.caller("clinician", scope="full")
        answer = await full.pull(cursor)
        assert (answer.status, answer.code) == (409, "cursor_scope_changed")
        wide = (await full.pull()).body["next_cursor"]
        desk = await server.caller("front_desk", scope="front_desk")
        assert (await desk.pull(wide)).status == 200


async def test_a_scope_shows_its_types_and_no_other(server: Server, device: Caller) -> None:
    """Pull, resume and stream follow the device's scope, whoever is logged in on it."""
    await device.push(*(make_op(n, entity_type=name) for n, name in enumerate(TYPES * 3, 1)))
    desk = await server.caller("admin", device_id=OTHER_DEVICE, scope="front_desk", user_id=fixed_id(0xAD))
    seen = [op["entity_type"] for op in await desk.pull_all(limit=2)]
    assert seen == [name for name in TYPES * 3 if name in FRONT_DESK_TYPES]
    async with streaming(desk) as events:
        kind, _, ops = await anext(events)
        assert kind == "ops"
        assert {op["entity_type"] for op in ops} <= FRONT_DESK_TYPES


class TestResume:
    """A move from server to server costs only what is missing."""

    @pytest.mark.parametrize(
        ("have", "first"),
        [
            ({}, 1),
            ({DEVICE: 3}, 4),
            ({DEVICE: [[1, 3], [5, 9]]}, 4),
            ({DEVICE: [[2, 9]]}, 1),
            ({DEVICE: 9}, None),
            ({DEVICE: 9, OTHER_DEVICE: 4}, None),
        ],
    )
    async def test_the_cursor_stands_before_the_first_missing_op(
        self, device: Caller, have: dict[str, Any], first: int | None
    ) -> None:
        """n means 1 … n; ranges may leave gaps; numbers that the server has not are no matter."""
        await device.push(*run_of(1, 9))
        answer = await device.ask("POST", "/v1/sync/resume", json={"have": have})
        ops = (await device.pull(answer.body["cursor"])).body["ops"]
        assert (ops[0]["device_seq"] if ops else None) == first

    @pytest.mark.parametrize(
        "have",
        [
            {"x": 1},
            {DEVICE: -1},
            {DEVICE: [[2, 1]]},
            {DEVICE: [[0, 1]]},
            {DEVICE: [[1]]},
            {DEVICE: "all"},
            [],
            None,
        ],
    )
    async def test_a_have_vector_has_a_form(self, device: Caller, have: object) -> None:
        """Anything else is invalid, and nothing breaks."""
        answer = await device.ask("POST", "/v1/sync/resume", json={"have": have})
        assert (answer.status, answer.code) == (422, "invalid")


@asynccontextmanager
async def streaming(
    caller: Caller, cursor: str | None = None, **headers: str
) -> AsyncIterator[AsyncIterator[Any]]:
    """The events of a stream as (event, id, data), pings left out unless they end it."""
    query = {"cursor": cursor} if cursor is not None else {}
    headers = {"Authorization": f"Bearer {caller.token}"} | headers
    async with caller.server.http.stream("GET", "/v1/sync/stream", params=query, headers=headers) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")

        async def events() -> AsyncIterator[Any]:
            fields: dict[str, str] = {}
            async for line in response.aiter_lines():
                if line:
                    name, _, value = line.partition(": ")
                    fields[name] = value
                elif fields.get("event") != "ping":
                    yield fields["event"], fields.get("id"), json.loads(fields["data"])
                    fields = {}
                else:
                    fields = {}

        yield events()


class TestStream:
    """The log as it grows."""

    async def test_what_is_there_then_what_comes(self, device: Caller) -> None:
        """A stream begins with the log and goes on with each push; its ids are cursors of a pull."""
        await device.push(*run_of(1, 3))
        async with streaming(device) as events:
            kind, cursor, ops = await anext(events)
            assert (kind, [op["device_seq"] for op in ops]) == ("ops", [1, 2, 3])
            await device.push(make_op(4))
            _, after, ops = await anext(events)
            assert [op["device_seq"] for op in ops] == [4]
        assert (await device.pull(cursor)).body["ops"] == ops
        assert (await device.pull(after)).body["ops"] == []

    async def test_it_resumes_by_the_last_event(self, device: Caller) -> None:
        """Last-Event-ID goes before ?cursor=, and both go on where they stand."""
        await device.push(*run_of(1, 3))
        first = (await device.pull(limit=1)).body["next_cursor"]
        second = (await device.pull(limit=2)).body["next_cursor"]
        async with streaming(device, first) as events:
            assert [op["device_seq"] for op in (await anext(events))[2]] == [2, 3]
        async with streaming(device, first, **{"Last-Event-ID": second}) as events:
            assert [op["device_seq"] for op in (await anext(events))[2]] == [3]

    async def test_a_bad_cursor_is_told_before_it_begins(self, device: Caller) -> None:
        """The answer is a problem, not an empty stream."""
        answer = await device.ask("GET", "/v1/sync/stream", params={"cursor": "nowhere"})
        assert (answer.status, answer.code) == (400, "bad_cursor")

    async def test_it_ends_when_the_session_is_revoked(self, server: Server, device: Caller) -> None:
        """At once, not at the next ping; the next request learns why."""
        async with streaming(device) as events:
            ended = asyncio.create_task(_collect(events))
            await server.registry.revoke_session(device.session_id)
            assert await asyncio.wait_for(ended, 5) == []
        assert (await device.pull()).code == "session_revoked"

    async def test_it_ends_when_the_token_ends(self, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
        """A stream lives no longer than the token that opened it."""
        monkeypatch.setattr("medxz.limits.TOKEN_LEEWAY_S", 0)
        brief = await server.caller(ttl_s=1)
        async with streaming(brief) as events:
            assert await asyncio.wait_for(_collect(events), 10) == []
        assert (await brief.pull()).code == "token_expired"

    async def test_it_pings(self, device: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
        """A silent stream shows that it lives."""
        monkeypatch.setattr("medxz.limits.STREAM_PING_S", 0.05)
        headers = {"Authorization": f"Bearer {device.token}"}
        async with device.server.http.stream("GET", "/v1/sync/stream", headers=headers) as response:
            pings = 0
            async for line in response.aiter_lines():
                pings += line == "event: ping"
                if pings == 3:
                    break

    async def test_it_pings_as_often_as_is_asked(self, device: Caller) -> None:
        """With `ping` a silent stream says that often that it lives; it is then as silent as that and no more."""
        headers = {"Authorization": f"Bearer {device.token}"}
        begun = asyncio.get_running_loop().time()
        async with device.server.http.stream(
            "GET", "/v1/sync/stream", params={"ping": "1"}, headers=headers
        ) as response:
            came = []
            async for line in response.aiter_lines():
                if line == "event: ping":
                    came.append(asyncio.get_running_loop().time() - begun)
                if len(came) == 3:
                    break
        assert 1.9 < came[-1] < limits.STREAM_PING_S

    @pytest.mark.parametrize("ping", ["0", "0.99", "20.1", "-1", "x", "", "1e3"])
    async def test_a_ping_that_is_none(self, device: Caller, ping: str) -> None:
        """Neither a flood of pings nor a stream that is silent for long can be asked for."""
        answer = await device.ask("GET", "/v1/sync/stream", params={"ping": ping})
        assert (answer.status, answer.code, answer.body["field"]) == (422, "invalid", "ping")

    async def test_a_hundred_streams_see_every_op(self, server: Server, device: Caller) -> None:
        """Each reader gets each op once, in order."""
        callers = [await server.caller(device_id=fixed_id(0xD00 + n)) for n in range(20)]

        async def read(caller: Caller) -> list[int]:
            seqs: list[int] = []
            async with streaming(caller) as events:
                while len(seqs) < 40:
                    seqs += [op["server_seq"] for op in (await anext(events))[2]]
            return seqs

        readers = [asyncio.create_task(read(caller)) for caller in callers for _ in range(5)]
        for number in range(1, 41):
            await device.push(make_op(number))
        for seqs in await asyncio.wait_for(asyncio.gather(*readers), 60):
            assert seqs == list(range(1, 41))


def _segment(token: str) -> bytes:
    """What a token says."""
    return base64.urlsafe_b64decode(token.split(".")[1] + "==")


async def _collect(events: AsyncIterator[Any]) -> list[Any]:
    return [event async for event in events]


class TestStatus:
    """How a device stands."""

    async def test_it_tells_what_is_settled(self, server: Server, device: Caller) -> None:
        """received_through counts settled numbers, and the moments are this device's."""
        before = await device.status()
        assert (before["received_through"], before["last_push_at"], before["last_pull_at"]) == (0, None, None)
        await device.push(*run_of(1, 3), make_op(5))
        await device.pull()
        after = await device.status()
        assert (after["received_through"], after["open_conflicts"]) == (3, 0)
        assert after["last_push_at"] is not None
        assert after["last_pull_at"] is not None
        if server.kind == "hub":
            assert (after["upstream"]["state"], after["upstream"]["backlog"]) == ("offline", 3)

    async def test_a_restored_device_can_see_that_it_is_one(self, device: Caller) -> None:
        """received_through above the device's own last number: it takes a new id before it pushes."""
        await device.push(*run_of(1, 7))
        assert (await device.status())["received_through"] == 7
        answer = await device.ask("POST", "/v1/enroll", json={"name": "tablet 3", "public_key": "A" * 43})
        assert answer.status == 200
        assert answer.body["device_id"] != DEVICE
        told = {"device_id", "clinic_id", "site_id", "scope", "ca_certificates", "targets", "access_token"}
        assert answer.body.keys() == told | {"refresh_token"}
        renewed = replace(device, token=answer.body["access_token"])
        assert (await renewed.status())["received_through"] == 0
        assert (await renewed.push(make_op(1, device_id=answer.body["device_id"]))).statuses == ["accepted"]

    async def test_a_new_id_is_no_new_session(self, server: Server) -> None:
        """A hub's token of the new id ends when the old one does, and with its session; a cloud's ends with its user."""
        tablet = await server.caller(ttl_s=60)
        request = {"name": "tablet 3", "public_key": "A" * 43}
        answer = await tablet.ask("POST", "/v1/enroll", json=request)
        renewed = replace(tablet, token=answer.body["access_token"])
        old, new = (json.loads(_segment(caller.token)) for caller in (tablet, renewed))
        if server.kind == "hub":
            assert new["exp"] <= old["exp"]
            await server.registry.revoke_session(tablet.session_id)
        else:  # which begins a session of that device's own
            assert new["sid"] != old["sid"]
            await server.registry.put_user(USER, ["clinician"], disabled=True)
        for caller in (tablet, renewed):
            assert (await caller.pull()).code == "session_revoked"

    async def test_an_unknown_user_gets_no_new_id(self, server: Server, device: Caller) -> None:
        """A token of a user whom this server has not heard of is forbidden that, and no device comes of it."""
        token = server.signer.issue(
            sub=fixed_id(0x99), cid=CLINIC, did=DEVICE, sid=fixed_id(0x5E), site=SITE,
            roles=frozenset({"clinician"}), ttl_s=60,
        )  # fmt: skip
        stranger = replace(device, token=token)
        request = {"name": "tablet 3", "public_key": "A" * 43}
        answer = await stranger.ask("POST", "/v1/enroll", json=request)
        assert (answer.status, answer.code) == (403, "forbidden")
        assert set(server.registry.directory.devices) == {DEVICE}

    async def test_watermarks_are_for_hubs_and_administrators(self, server: Server, device: Caller) -> None:
        """Every device's settled numbers, to who forwards them or answers for them."""
        await device.push(*run_of(1, 4))
        for role, user in (("hub", fixed_id(0xB1)), ("admin", fixed_id(0xAD))):
            body = (await (await server.caller(role, user_id=user)).ask("GET", "/v1/sync/watermarks")).body
            assert body["received"] == {DEVICE: 4}
            assert body["cloud"] == ({DEVICE: 4} if server.kind == "cloud" else {})
        answer = await device.ask("GET", "/v1/sync/watermarks")
        assert (answer.status, answer.code) == (403, "forbidden")


async def test_the_clinic_s_configuration(server: Server, device: Caller) -> None:
    """keep_own_days and the like reach the device."""
    config = (await device.ask("GET", "/v1/config")).body
    assert (config["keep_own_days"], config["offline_session_hours"], config["require_signed_ops"]) == (
        14,
        72,
        False,
    )
    assert config["routing"]["clinician"] == ["hub", "cloud"]


async def test_info_needs_no_token(server: Server) -> None:
    """Who the server is, what it speaks, how much it takes; and its dictionaries can be had."""
    info = (await server.http.get("/v1/info")).json()
    assert (info["server_id"], info["kind"], info["protocol"]) == (server.log.server_id, server.kind, ["1.0"])
    [dictionary] = info["dictionaries"]
    content = (await server.http.get(dictionary["url"])).content
    assert len(content) == dictionary["bytes"]
    assert (await server.http.get("/v1/dictionaries/none")).status_code == 404


async def test_a_damaged_row_is_not_handed_out(server: Server, device: Caller) -> None:
    """The pull fails and says so; what is before it can still be read."""
    await device.push(*run_of(1, 1_000))
    await server.stop()
    connection = open_database(server.path, b"k" * 32)
    connection.execute("UPDATE op SET body = zeroblob(60) WHERE seq = 150")
    connection.close()
    await server.start()
    assert (await device.pull(limit=100)).status == 200
    answer = await device.pull(limit=500)
    assert (answer.status, answer.code) == (500, "internal")
