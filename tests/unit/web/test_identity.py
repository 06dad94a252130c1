"""Sessions, codes, enrolment and hubs, as HTTP: what reaches the accounts, from whom, and what comes back."""

from __future__ import annotations

import pytest

from medxz import wire
from medxz.service.accounts import Origin
from tests.unit.web.fakes import CLINIC_ID, HUB_ID

LOGIN = {
    "email": "a@example.org",
    "password": "correct horse",
    "device_id": "0190c2f3-0000-7000-8000-000000000004",
}
ENROL = {"code": "ABCD2345", "name": "tablet", "public_key": "A" * 43}
NOBODY = {"Authorization": "Bearer "}


@pytest.fixture
def nobody(face):
    """A client without a token."""
    del face.client.headers["Authorization"]
    return face.client


@pytest.mark.parametrize(
    ("given", "counted"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::/64", "2001:db8:1:2::/64"),  # as a hub reports it
        ("fe80::1%eth0", "fe80::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("", ""),
        ("a proxy", ""),
    ],
)
def test_an_address_is_counted_by_what_its_owner_has(given, counted):
    """IPv4 addresses count one by one, IPv6 addresses by their /64, and what is no address is nobody's."""
    assert Origin.of(given).address == counted


async def test_where_a_login_comes_from(face, nobody):
    """It is the connection's address, whatever a header says; a hub's token makes the header count."""
    reported = {"Medxz-Client-Address": "2001:db8:1:2:3::9"}
    for headers in ({}, reported, reported | {"Authorization": "Bearer good"}):
        assert (await nobody.post("/v1/auth/login", json=LOGIN, headers=headers)).status_code == 200
        assert face.services.accounts.asked[-1][2] == Origin("127.0.0.1")
    hub = {"Authorization": "Bearer hub"}
    await nobody.post("/v1/auth/login", json=LOGIN, headers=reported | hub)
    assert face.services.accounts.asked[-1][2] == Origin("2001:db8:1:2::/64", HUB_ID, CLINIC_ID)
    await nobody.post("/v1/auth/login", json=LOGIN, headers=hub)
    assert face.services.accounts.asked[-1][2] == Origin("127.0.0.1", HUB_ID, CLINIC_ID)


async def test_a_token_that_is_shown_is_looked_at(face, nobody):
    """A request that could do without a token is refused for a bad one all the same."""
    headers = {"Authorization": "Bearer bad"}
    for path, body in (("/v1/auth/login", LOGIN), ("/v1/enroll", ENROL), ("/v1/auth/logout", {})):
        response = await nobody.post(path, json=body, headers=headers)
        assert (response.status_code, response.json()["code"]) == (401, "token_invalid")
    assert face.services.accounts.asked == []


async def test_a_refused_login(face, nobody):
    """It is 401, and speaks of no token."""
    response = await nobody.post("/v1/auth/login", json=LOGIN | {"password": "wrong"})
    assert (response.status_code, response.json()["code"]) == (401, "credentials_invalid")
    assert "invalid_token" not in response.headers["WWW-Authenticate"]
    assert "wrong" not in response.text


async def test_no_secret_is_shown():
    """A message that is printed by mistake shows no password, code or token."""
    messages = (
        wire.LoginRequest(**LOGIN),
        wire.EnrolRequest(**ENROL),
        wire.RefreshRequest(refresh_token="ABCD2345"),
        wire.LogoutRequest(refresh_token="ABCD2345"),
        wire.AssertionRequest(assertion="ABCD2345"),
    )
    for message in messages:
        assert "ABCD2345" not in repr(message)
        assert "horse" not in repr(message)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"refresh_token": "r"}, 200),
        ({"access_token": "a", "proof": "p"}, 200),
        ({"refresh_token": "r", "access_token": None}, 200),
        ({}, 422),
        ({"access_token": "a"}, 422),
        ({"refresh_token": "r", "proof": "p"}, 422),
    ],
)
async def test_a_session_is_renewed_in_one_way(nobody, body, status):
    """By the refresh token, or by the last access token with a proof; by nothing between."""
    assert (await nobody.post("/v1/auth/refresh", json=body)).status_code == status


async def test_logging_out(face, nobody):
    """The token's session ends, or the refresh token's; the answer is 204 and has no body; neither is 401."""
    response = await nobody.post("/v1/auth/logout", headers={"Authorization": "Bearer good"})
    assert (response.status_code, response.content) == (204, b"")
    assert not {"content-type", "content-length", "transfer-encoding"} & response.headers.keys()
    assert response.headers["X-Request-ID"]
    assert (await nobody.post("/v1/auth/logout", json={"refresh_token": "r"})).status_code == 204
    assert (await nobody.post("/v1/auth/logout")).json()["code"] == "token_missing"
    (_, caller, _), (_, none, message) = face.services.accounts.asked
    assert caller is not None
    assert none is None
    assert message.refresh_token == "r"


async def test_a_hub_logs_others_out(face, nobody):
    """With a hub's token the refresh token says whose session ends: never the hub's own."""
    hub = {"Authorization": "Bearer hub"}
    assert (await nobody.post("/v1/auth/logout", headers=hub)).json()["field"] == "refresh_token"
    assert (await nobody.post("/v1/auth/logout", headers=hub, json={"refresh_token": "r"})).status_code == 204
    assert face.services.accounts.asked == [("logout", None, wire.LogoutRequest(refresh_token="r"))]


async def test_enrolment_is_by_a_code_or_by_a_token(face, nobody):
    """Without a token, or with a hub's, it takes a code; with a device's, the device enrols again."""
    again = {"name": "tablet", "public_key": "A" * 43}
    for headers in ({}, {"Authorization": "Bearer hub"}):
        response = await nobody.post("/v1/enroll", json=ENROL, headers=headers)
        assert (response.status_code, "access_token" in response.json()) == (200, False)
        assert (await nobody.post("/v1/enroll", json=again, headers=headers)).status_code == 422
    device = {"Authorization": "Bearer good"}
    assert (await nobody.post("/v1/enroll", json=again, headers=device)).json()["access_token"] == "t"
    assert (await nobody.post("/v1/enroll", json=ENROL, headers=device)).status_code == 422
    assert [asked[0] for asked in face.services.accounts.asked] == ["enrol", "enrol", "reenrol"]


async def test_codes_are_for_administrators(face, nobody):
    """An administrator gets a code, by the names of the wire alone, and so may a hub; nobody else is heard."""
    body = {"for": "device", "site": "North", "scope": "full"}
    admin = {"Authorization": "Bearer admin"}
    assert (await nobody.post("/v1/codes", json=body, headers=admin)).json()["code"] == "ABCD2345"
    ours = {"kind": "device", "site": "North"}
    assert (await nobody.post("/v1/codes", json=ours, headers=admin)).status_code == 422
    hub = {"Authorization": "Bearer hub"}
    assert (await nobody.post("/v1/codes", json=body, headers=hub)).json()["code"] == "ABCD2345"
    response = await nobody.post("/v1/codes", json=body, headers={"Authorization": "Bearer good"})
    assert response.json()["code"] == "forbidden"
    assert len(face.services.accounts.asked) == 2


async def test_a_directory_comes_whole_or_not_at_all(face, nobody):
    """A hub gets the directory; 204 where it has that revision; others are refused."""
    hub = {"Authorization": "Bearer hub"}
    for query, status in (("", 200), ("?after=6", 200), ("?after=7", 204)):
        response = await nobody.get(f"/v1/hubs/directory{query}", headers=hub)
        assert (response.status_code, bool(response.content)) == (status, status == 200)
    refused = await nobody.get("/v1/hubs/directory", headers={"Authorization": "Bearer admin"})
    assert refused.json()["code"] == "forbidden"


async def test_the_audit_gets_what_was_asked(face, nobody):
    """Filters that were given reach the audit, and no others; a day and a time are both taken."""
    admin = {"Authorization": "Bearer admin"}
    query = {"user": HUB_ID, "from": "2026-01-01", "to": "2026-01-02T03:04:05.678Z", "limit": 5}
    assert (await nobody.get("/v1/audit", params=query, headers=admin)).json() == {
        "entries": [],
        "next_cursor": None,
    }
    told = {"user": HUB_ID, "from": "2026-01-01", "to": "2026-01-02T03:04:05.678Z"}
    assert face.services.audit.asked == [(told, None, 5)]
    assert (await nobody.get("/v1/audit?from=soon", headers=admin)).status_code == 422
    assert (await nobody.get("/v1/audit/verify", headers=admin)).json() == {"ok": True, "chains": []}
