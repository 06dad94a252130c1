"""Protocol 3: push."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from medxz import limits
from medxz.op import sign
from medxz.service import ClinicConfig
from medxz.service.upstream import ServerKind
from tests.making import DEVICE, OTHER_DEVICE, USER, as_json, fixed_id, make_op, run_of
from tests.protocol.conftest import Caller, Server


async def test_what_is_stored_is_answered_in_order(server: Server, device: Caller) -> None:
    """Results stand in the order of the request, with the server's id and epoch beside them."""
    ops = run_of(1, 3)
    answer = await device.push(ops[2], ops[0], ops[1])
    assert answer.status == 200
    assert [result["op_id"] for result in answer.body["results"]] == [
        ops[2].op_id,
        ops[0].op_id,
        ops[1].op_id,
    ]
    assert [result["server_seq"] for result in answer.body["results"]] == [1, 2, 3]
    assert set(answer.statuses) == {"accepted"}
    assert (answer.body["server_id"], answer.body["epoch"]) == (server.log.server_id, server.log.epoch)


async def test_a_replay_answers_with_the_first_seq(device: Caller) -> None:
    """Pushing again is harmless and says where the ops are."""
    ops = run_of(1, 3)
    await device.push(*ops)
    answer = await device.push(*reversed(ops))
    assert [(result["status"], result["server_seq"]) for result in answer.body["results"]] == [
        ("duplicate", 3),
        ("duplicate", 2),
        ("duplicate", 1),
    ]


async def test_a_payload_travels_byte_for_byte(server: Server, device: Caller) -> None:
    """From a push's text to a pull's text, through the store, nothing of a payload changes."""
    text = '{"z":120.50,"n":12345678901234567890123,"a":{"é":"\\u00e9\\u0000","list":[1E+2, -0.0 ]},"":null}'
    answer = await device.push_raw(
        json.dumps({"ops": [as_json(make_op(1)) | {"payload": 0}]})
        .replace('"payload": 0', f'"payload": {text}')
        .encode()
    )
    assert answer.statuses == ["accepted"]
    page = await server.http.get("/v1/sync/pull", headers={"Authorization": f"Bearer {device.token}"})
    assert text.encode() in page.content
    await server.restart()
    page = await server.http.get("/v1/sync/pull", headers={"Authorization": f"Bearer {device.token}"})
    assert text.encode() in page.content


BAD_FIELDS = {
    "op_id": "not-a-uuid",
    "clinic_id": 7,
    "device_id": None,
    "user_id": fixed_id(0xABC).upper(),
    "entity_type": "patient",
    "entity_id": "{" + fixed_id(1) + "}",
    "op_type": "delete",
    "parents": [fixed_id(2), fixed_id(1)],
    "device_time": "2026-02-30T10:00:00.000Z",
    "device_seq": 0,
    "schema_version": 1.5,
    "payload": [],
    "colour": "blue",
    "hash": "ABC",
    "signature": "short",
}


@pytest.mark.parametrize("field", BAD_FIELDS)
async def test_a_field_that_breaks_its_rule_is_named(device: Caller, field: str) -> None:
    """`invalid` says which field, and its neighbours in the push are stored all the same."""
    good, bad, last = run_of(1, 3)
    answer = await device.push(good, as_json(bad) | {field: BAD_FIELDS[field]}, last)
    assert answer.statuses == ["accepted", "invalid", "accepted"]
    assert answer.body["results"][1]["field"] == field


@pytest.mark.parametrize("field", ["op_id", "parents", "payload", "device_seq"])
async def test_a_field_that_is_missing_is_named(device: Caller, field: str) -> None:
    """Every field but hash and signature has to be there."""
    op = as_json(make_op(1))
    del op[field]
    answer = await device.push(op)
    assert (answer.statuses, answer.body["results"][0]["field"]) == (["invalid"], field)


@pytest.mark.parametrize(
    "changes",
    [
        {"op_type": "create", "parents": (fixed_id(5),)},
        {"op_id": fixed_id(5), "op_type": "update", "parents": (fixed_id(5),)},
        {"op_type": "amend", "parents": (fixed_id(5), fixed_id(5))},
        {"op_type": "amend", "parents": tuple(fixed_id(n) for n in range(limits.PARENTS_MAX + 1))},
    ],
    ids=["a create with parents", "its own parent", "a parent twice", "too many"],
)
async def test_parents_have_rules(device: Caller, changes: dict[str, Any]) -> None:
    """Sorted, each once, none of its own, none for a create."""
    answer = await device.push(make_op(1, **changes))
    assert (answer.statuses, answer.body["results"][0]["field"]) == (["invalid"], "parents")


PAYLOADS = {
    "a repeated key": '{"a":1,"a":1}',
    "a repeated key below": '{"a":[{"b":1,"\\u0062":2}]}',
    "a lone surrogate": '{"a":"\\ud800"}',
    "a surrogate key": '{"\\udfff":1}',
    "a raw control byte": '{"a":"x\x01y"}',
    "a raw NUL": '{"a":"x\x00y"}',
    "a line break": '{"a":\n1}',
    "too deep": '{"a":' + "[" * 70 + "]" * 70 + "}",
    "not an object": "[1]",
    "a text": '"x"',
}


@pytest.mark.parametrize("name", PAYLOADS)
async def test_a_payload_that_is_none_is_invalid(device: Caller, name: str) -> None:
    """Repeated keys, lone surrogates, control bytes and the like reject that op alone."""
    good, bad = make_op(1), make_op(2)
    text = json.dumps({"ops": [as_json(good), as_json(bad) | {"payload": "HERE"}]})
    answer = await device.push_raw(text.replace('"HERE"', PAYLOADS[name]).encode())
    assert answer.statuses == ["accepted", "invalid"], answer.body
    assert answer.body["results"][1]["field"] == "payload"


async def test_an_escaped_nul_is_lawful(device: Caller) -> None:
    """What JSON may say, a payload may say."""
    assert (await device.push(make_op(1, payload='{"a":"\\u0000"}'))).statuses == ["accepted"]


async def test_provenance_is_checked(server: Server, device: Caller) -> None:
    """wrong_clinic, wrong_device: final; unknown_author: not stored, to be offered again."""
    await server.caller(device_id=OTHER_DEVICE)
    answer = await device.push(
        make_op(1, clinic_id=fixed_id(0xBAD)),
        make_op(2, device_id=OTHER_DEVICE),
        make_op(3, user_id=fixed_id(0xE9)),
    )
    assert answer.statuses == ["wrong_clinic", "wrong_device", "unknown_author"]
    assert [result["status"] for result in answer.body["results"]] == ["rejected", "rejected", "retry"]
    assert server.log.last_seq == 0


async def test_an_unknown_author_is_taken_once_known(server: Server, device: Caller) -> None:
    """`retry` settles nothing: the same op goes through later."""
    newcomer = fixed_id(0xE9)
    op = make_op(1, user_id=newcomer)
    assert (await device.push(op)).statuses == ["unknown_author"]
    await server.caller(user_id=newcomer)
    assert (await device.push(op)).statuses == ["accepted"]


async def test_the_author_s_role_counts(server: Server) -> None:
    """A front desk writes its types alone, whoever is logged in when the op is pushed."""
    clerk = fixed_id(0xE7)
    await server.caller("front_desk", user_id=clerk)
    doctor = await server.caller()
    answer = await doctor.push(
        make_op(1, user_id=clerk, entity_type="Observation"),
        make_op(2, user_id=clerk, entity_type="Patient"),
        make_op(3, user_id=USER),
    )
    assert answer.statuses == ["forbidden", "accepted", "accepted"]


async def test_a_hash_is_checked_when_present(device: Caller) -> None:
    """The right one passes and comes back; a wrong one is bad_hash."""
    first, second = run_of(1, 2)
    good = as_json(first) | {"hash": first.digest().hex()}
    answer = await device.push(good, as_json(second) | {"hash": "0" * 64})
    assert answer.statuses == ["accepted", "bad_hash"]
    [op] = await device.pull_all()
    assert op["hash"] == first.digest().hex()


async def test_a_signature_is_checked_when_present(server: Server) -> None:
    """Known key: accepted and relayed, or bad_signature. No key known: retry, unknown_key."""
    key = Ed25519PrivateKey.generate()
    ops = [msgspec.structs.replace(op, signature=sign(op.digest(), key)) for op in run_of(1, 2)]
    device = await server.caller()
    assert (await device.push(ops[0])).statuses == ["unknown_key"]
    device = await server.caller(public_key=key.public_key().public_bytes_raw())
    forged = msgspec.structs.replace(ops[1], signature=ops[0].signature)
    assert (await device.push(ops[0], forged)).statuses == ["accepted", "bad_signature"]
    [op] = await device.pull_all()
    assert op["signature"] == ops[0].signature


async def test_ids_and_numbers_are_used_once(device: Caller) -> None:
    """op_id_reused and device_seq_reused are final, and the first op stands."""
    first = make_op(1)
    await device.push(first)
    answer = await device.push(make_op(2, op_id=first.op_id), make_op(1))
    assert answer.statuses == ["op_id_reused", "device_seq_reused"]
    assert [op["op_id"] for op in await device.pull_all()] == [first.op_id]


@pytest.mark.parametrize("change", ["disabled", "no role"])
async def test_a_replay_is_a_duplicate_whatever_was_decided_since(
    server: Server, device: Caller, change: str
) -> None:
    """An op that is stored stays stored: its author's later fate rejects what is new, not what is here already."""
    author = fixed_id(0xE8)
    await server.caller(user_id=author)
    op = make_op(1, user_id=author)
    assert (await device.push(op)).statuses == ["accepted"]
    await server.registry.put_user(author, ["front_desk"], disabled=change == "disabled")
    answer = await device.push(op, make_op(2, user_id=author))
    assert answer.statuses == ["duplicate", "forbidden"]
    assert answer.body["results"][0]["server_seq"] == 1
    assert (await device.push(make_op(1, user_id=author, op_id=op.op_id))).statuses != ["duplicate"]


async def test_a_rejected_number_is_settled(device: Caller) -> None:
    """A dead letter settles its number, so that watermarks never wait for an op that will not come."""
    one, two, three = run_of(1, 3)
    await device.push(one, as_json(two) | {"op_type": "delete"}, three)
    assert (await device.status())["received_through"] == 3
    assert (await device.push(two)).statuses == ["invalid"]


async def test_nobody_settles_another_device_s_number(server: Server, device: Caller) -> None:
    """An op of another device is rejected, and that device's number stays free."""
    other = await server.caller(device_id=OTHER_DEVICE)
    op = make_op(1, device_id=OTHER_DEVICE)
    assert (await device.push(op)).statuses == ["wrong_device"]
    assert (await other.push(op)).statuses == ["accepted"]


async def test_gaps_and_absent_parents_are_stored(device: Caller) -> None:
    """A device that moved between servers is never refused for it."""
    answer = await device.push(make_op(9, op_type="amend", parents=(fixed_id(77),)))
    assert answer.statuses == ["accepted"]
    assert (await device.status())["received_through"] == 0


async def test_a_server_sets_its_own_fields(device: Caller) -> None:
    """server_seq and server_received_at of another server are neither kept nor relayed."""
    op = as_json(make_op(1)) | {"server_seq": 99, "server_received_at": "2001-01-01T00:00:00.000Z"}
    assert (await device.push(op)).statuses == ["accepted"]
    [stored] = await device.pull_all()
    assert stored["server_seq"] == 1
    assert not stored["server_received_at"].startswith("2001")


async def test_an_unknown_schema_version_is_relayed(device: Caller) -> None:
    """A newer payload passes through an older server untouched."""
    assert (await device.push(make_op(1, schema_version=4711))).statuses == ["accepted"]
    [op] = await device.pull_all()
    assert op["schema_version"] == 4711


async def test_an_op_of_256_kib_is_the_largest(device: Caller) -> None:
    """One byte more is too_large, for that op alone, and final."""
    room = limits.OP_BYTES_MAX - len(make_op(1, payload='{"a":""}').json())
    fits, over = (make_op(n, payload=f'{{"a":"{"x" * (room + n - 1)}"}}') for n in (1, 2))
    answer = await device.push(fits, over)
    assert answer.statuses == ["accepted", "too_large"]
    assert (await device.status())["received_through"] == 2


async def test_unsigned_ops_are_refused_where_the_clinic_asks_for_signatures(
    tmp_path: Path, kind: ServerKind
) -> None:
    """require_signed_ops: an op without a signature is bad_signature."""
    server = await Server(kind, tmp_path / "signed.db", ClinicConfig(require_signed_ops=True)).start()
    key = Ed25519PrivateKey.generate()
    device = await server.caller(public_key=key.public_key().public_bytes_raw())
    plain, signed = run_of(1, 2)
    signed = msgspec.structs.replace(signed, signature=sign(signed.digest(), key))
    assert (await device.push(plain, signed)).statuses == ["bad_signature", "accepted"]
    await server.stop()


class TestFromAHub:
    """What a hub has acknowledged is never dropped further up."""

    async def test_four_reasons_alone_refuse(self, server: Server) -> None:
        """invalid, wrong_clinic, bad_hash and op_id_reused; each settles the number, or the watermark would wait."""
        hub = await server.caller("hub", user_id=fixed_id(0xB1))
        await server.caller()
        first = make_op(1)
        answer = await hub.push(
            first,
            as_json(make_op(2)) | {"op_type": "delete"},
            as_json(make_op(3)) | {"hash": "0" * 64},
            make_op(4, op_id=first.op_id),
            make_op(5, clinic_id=fixed_id(0xBAD)),
        )
        assert answer.statuses == ["accepted", "invalid", "bad_hash", "op_id_reused", "wrong_clinic"]
        watermarks = (await hub.ask("GET", "/v1/sync/watermarks")).body
        assert watermarks["received"] == {DEVICE: 4}

    async def test_what_the_server_knows_better_is_kept_for_review(self, server: Server) -> None:
        """An author unknown or without the role, a device revoked, a number used twice: stored, and listed."""
        hub = await server.caller("hub", user_id=fixed_id(0xB1))
        clerk, revoked = fixed_id(0xE7), fixed_id(0xD9)
        await server.caller("front_desk", user_id=clerk)
        await server.caller(device_id=revoked)
        await server.registry.revoke_device(revoked)
        ops = [
            make_op(1, user_id=fixed_id(0x99)),
            make_op(2, user_id=clerk, entity_type="Condition"),
            make_op(1, device_id=revoked),
            make_op(2, user_id=clerk, entity_type="Patient"),
        ]
        answer = await hub.push(*ops)
        assert set(answer.statuses) == {"accepted"}
        admin = await server.caller("admin", user_id=fixed_id(0xAD))
        listed = (await admin.ask("GET", "/v1/reviews")).body["reviews"]
        assert [(review["op_id"], review["code"]) for review in listed] == [
            (ops[3].op_id, "device_seq_reused"),
            (ops[0].op_id, "unknown_author"),
            (ops[1].op_id, "forbidden"),
            (ops[2].op_id, "forbidden"),
        ]

    async def test_reviews_are_paged_and_for_administrators(self, server: Server, device: Caller) -> None:
        """Every list pages; a clinician is refused."""
        hub = await server.caller("hub", user_id=fixed_id(0xB1))
        await hub.push(*run_of(1, 5, user_id=fixed_id(0x99)))
        admin = await server.caller("admin", user_id=fixed_id(0xAD))
        seen, cursor = [], None
        while True:
            query = {"limit": 2} | ({"cursor": cursor} if cursor else {})
            page = (await admin.ask("GET", "/v1/reviews", params=query)).body
            seen += [review["review_id"] for review in page["reviews"]]
            cursor = page["next_cursor"]
            if cursor is None:
                break
        assert len(seen) == len(set(seen)) == 5
        assert (await device.ask("GET", "/v1/reviews")).status == 403
        assert (await admin.ask("GET", "/v1/reviews", params={"cursor": "x"})).code == "bad_cursor"

    async def test_dead_letters_travel_up(self, server: Server) -> None:
        """A hub's rejection settles the number here too; a device cannot do that."""
        hub = await server.caller("hub", user_id=fixed_id(0xB1))
        device = await server.caller()
        letter = {"device_id": DEVICE, "device_seq": 1, "op_id": fixed_id(9), "code": "forbidden"}
        assert (
            await hub.ask("POST", "/v1/sync/push", json={"ops": [], "dead_letters": [letter]})
        ).status == 200
        answer = await hub.push(make_op(2))
        assert (await device.status())["received_through"] == 2
        if server.kind == "cloud":
            assert answer.body["cloud_through"] == {DEVICE: 2}
            assert answer.body["cloud_epoch"] == server.log.epoch
        refused = await device.push(make_op(3), dead_letters=[letter | {"device_seq": 9}])
        assert (refused.status, refused.code) == (403, "forbidden")

    async def test_a_hub_hears_of_every_device_in_its_push(self, server: Server) -> None:
        """cloud_through is an object, with the devices of that push."""
        hub = await server.caller("hub", user_id=fixed_id(0xB1))
        await hub.push(*run_of(1, 3))
        answer = await hub.push(make_op(4), make_op(1, device_id=OTHER_DEVICE))
        expected = {DEVICE: 4, OTHER_DEVICE: 1} if server.kind == "cloud" else {DEVICE: 0, OTHER_DEVICE: 0}
        assert answer.body["cloud_through"] == expected

    async def test_what_is_no_device_settles_nothing(self, server: Server) -> None:
        """A device_id that is none appears in no watermark, however the op beside it is read."""
        hub = await server.caller("hub", user_id=fixed_id(0xB1))
        answer = await hub.push(make_op(1, device_id="Wanjiru"))
        assert (answer.statuses, answer.body["cloud_through"]) == (["invalid"], {})
        assert (await hub.ask("GET", "/v1/sync/watermarks")).body["received"] == {}

    async def test_a_hub_hears_of_devices_beside_something_broken(self, server: Server) -> None:
        """What cannot be read as an op hides neither the devices of the others nor its own, nor a dead letter's."""
        hub = await server.caller("hub", user_id=fixed_id(0xB1))
        third = fixed_id(0xD3)
        letter = {"device_id": third, "device_seq": 1, "op_id": fixed_id(9), "code": "forbidden"}
        broken = as_json(make_op(1, device_id=OTHER_DEVICE)) | {"op_type": "delete"}
        answer = await hub.push(make_op(1), broken, {"op_id": "x"}, dead_letters=[letter])
        assert answer.statuses == ["accepted", "invalid", "invalid"]
        through = 1 if server.kind == "cloud" else 0
        assert answer.body["cloud_through"] == dict.fromkeys((DEVICE, OTHER_DEVICE, third), through)


async def test_how_far_the_cloud_is(server: Server, device: Caller) -> None:
    """The cloud counts its own log; a hub says what the cloud said last, and it may fall with a new epoch."""
    await device.push(*run_of(1, 3))
    answer = await device.push(make_op(4))
    if server.kind == "cloud":
        assert (answer.body["cloud_through"], answer.body["cloud_epoch"]) == (4, server.log.epoch)
        return
    assert (answer.body["cloud_through"], answer.body["cloud_epoch"]) == (0, None)
    await server.registry.set_cloud(fixed_id(0xEE1), {DEVICE: 3})
    await server.registry.add_cloud_refusal(fixed_id(7), DEVICE, "bad_hash")
    answer = await device.push(make_op(5))
    assert (answer.body["cloud_through"], answer.body["cloud_epoch"]) == (3, fixed_id(0xEE1))
    assert answer.body["refused_upstream"] == [{"op_id": fixed_id(7), "code": "bad_hash"}]
    await server.registry.set_cloud(fixed_id(0xEE2), {})
    status = await device.status()
    assert (status["cloud_through"], status["cloud_epoch"]) == (0, fixed_id(0xEE2))
    assert status["refused_upstream"] == answer.body["refused_upstream"]
