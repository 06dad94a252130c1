"""What a device sees follows its scope as it is now, and a stream that shows it nothing still shows that it lives."""

from __future__ import annotations

import asyncio

import pytest

from tests.making import OTHER_DEVICE, fixed_id, make_op
from tests.protocol.conftest import Caller, Server

CLERK = fixed_id(0xE7)


async def desk_at(server: Server) -> Caller:
    return await server.caller("front_desk", device_id=OTHER_DEVICE, user_id=CLERK, scope="front_desk")


async def test_a_narrower_scope_holds_at_once(server: Server, device: Caller) -> None:
    """A tablet that becomes the front desk's is sent nothing clinical from then on, whatever its token's age."""
    tablet = await server.caller(device_id=OTHER_DEVICE)
    assert (await tablet.pull()).body["ops"] == []
    await server.registry.put_device(OTHER_DEVICE, "front_desk")
    await device.push(make_op(1), make_op(2, entity_type="Patient"))
    assert [op["entity_type"] for op in (await tablet.pull()).body["ops"]] == ["Patient"]


async def test_a_wider_scope_makes_the_device_start_again(server: Server, device: Caller) -> None:
    """A cursor made while it saw less is cursor_scope_changed at once, with the token that it had."""
    desk = await desk_at(server)
    await device.push(make_op(1), make_op(2, entity_type="Patient"))
    cursor = (await desk.pull()).body["next_cursor"]
    assert (await desk.status())["scope"] == "front_desk"
    await server.registry.put_device(OTHER_DEVICE, "full")
    assert (await desk.status())["scope"] == "full"
    answer = await desk.pull(cursor)
    assert (answer.status, answer.code) == (409, "cursor_scope_changed")
    assert len((await desk.pull()).body["ops"]) == 2


@pytest.mark.parametrize("path", ["/v1/sync/pull?wait=30", "/v1/sync/stream"])
async def test_what_lasts_does_not_outlive_the_scope(server: Server, device: Caller, path: str) -> None:
    """A waiting pull and a stream end when the scope changes, before anything else is sent."""
    tablet = await server.caller(device_id=OTHER_DEVICE)
    waiting = asyncio.create_task(tablet.ask("GET", path))
    while not server.log._waiting._woken._waiters:  # the moment at which it waits
        await asyncio.sleep(0.005)
    await server.registry.put_device(OTHER_DEVICE, "front_desk")
    await device.push(make_op(1))
    answer = await asyncio.wait_for(waiting, 5)
    if path.endswith("stream"):
        assert answer.status == 200
        assert b"event: ops" not in answer.body
    else:
        assert (answer.status, answer.code) == (409, "cursor_scope_changed")


async def test_a_stream_pings_while_others_write(
    server: Server, device: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a front desk may not see keeps coming: its stream says all the same, and as often, that it lives."""
    monkeypatch.setattr("medxz.limits.STREAM_PING_S", 0.2)
    desk = await desk_at(server)

    async def write() -> None:
        for number in range(1, 10_000):
            await device.push(make_op(number))
            await asyncio.sleep(0.02)

    async def three_pings() -> None:
        headers = {"Authorization": f"Bearer {desk.token}"}
        async with server.http.stream("GET", "/v1/sync/stream", headers=headers) as response:
            pings = 0
            async for line in response.aiter_lines():
                pings += line == "event: ping"
                if pings == 4:  # the first comes as the stream begins
                    return

    writing = asyncio.create_task(write())
    try:
        await asyncio.wait_for(three_pings(), 5)
    finally:
        writing.cancel()
        await asyncio.wait([writing])
