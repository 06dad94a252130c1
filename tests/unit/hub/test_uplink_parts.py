"""What the connection to the cloud is made of: tokens, a breaker, waits that can be cut short, the mirror, passing on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from hub.uplink.breaker import FAILURES_MAX, OPEN_S, OPEN_S_MAX, Breaker
from hub.uplink.mirror import Mirror
from hub.uplink.passing import Passing
from hub.uplink.patience import CutShort
from hub.uplink.settled import Settled
from hub.uplink.tokens import HubTokens, Signing
from medxz import wire
from medxz.clock import SystemClock, format_time
from medxz.errors import (
    CloudRequired,
    CredentialsInvalid,
    PeerRefused,
    PeerUnreachable,
    RateLimited,
    SessionRevoked,
)
from medxz.have import Numbers
from medxz.ids import RandomIds
from medxz.replicate import LogId
from medxz.trust.proofs import verify_proof
from tests.making import CLINIC, DEVICE, OTHER_DEVICE, USER, HandClock, fixed_id
from tests.store.test_mirror import told
from tests.unit.hub.scripted_cloud import Box, opened, unreachable

HUB, CLOUD = fixed_id(0xA1), fixed_id(0xB1)


@dataclass
class Doorkeeper:
    """A cloud that lets hubs in, on a clock of its own."""

    clock: HandClock
    expires_in: int = 900
    asked: list[wire.AssertionRequest] = field(default_factory=list)
    is_away: bool = False

    async def info(self) -> wire.InfoAnswer:
        if self.is_away:
            raise PeerUnreachable("away")
        return wire.InfoAnswer(
            server_id=CLOUD, kind="cloud", epoch=fixed_id(1), protocol=["1.0"], version="0",
            time=format_time(self.clock.now_ms()), limits=wire.InfoLimits(), dictionaries=[],
        )  # fmt: skip

    async def hub_token(self, request: wire.AssertionRequest) -> wire.HubTokenAnswer:
        self.asked.append(request)
        return wire.HubTokenAnswer(access_token=f"token-{len(self.asked)}", expires_in=self.expires_in)


def tokens_of(cloud: Doorkeeper, clock: HandClock) -> tuple[HubTokens, ec.EllipticCurvePublicKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    signing = Signing(key, HUB, CLOUD)
    return HubTokens(cloud, signing, clock, RandomIds(), url="https://hub.local:8443"), key.public_key()


@pytest.mark.parametrize("off_ms", [0, -3_600_000, 40 * 365 * 86_400_000])
async def test_an_assertion_is_of_the_cloud_s_time(off_ms: int) -> None:
    """However wrong the box's clock is, the cloud finds the proof to be of now, for itself, by the hub's key."""
    cloud = Doorkeeper(HandClock())
    own = HandClock()
    own.time_ms += off_ms
    tokens, key = tokens_of(cloud, own)
    assert await tokens.token() == "token-1"
    proof = verify_proof(cloud.asked[0].assertion, [key], CLOUD, cloud.clock)
    assert (proof.issuer, cloud.asked[0].url) == (HUB, "https://hub.local:8443")


async def test_a_token_is_exchanged_before_it_ends() -> None:
    """One request for many uses; another once two thirds of its life are over, or when a server says that it ended."""
    clock = HandClock()
    cloud = Doorkeeper(clock)
    tokens, _ = tokens_of(cloud, clock)
    assert {await tokens.token() for _ in range(5)} == {"token-1"}
    clock.time_ms += 599_000
    assert await tokens.token() == "token-1"
    clock.time_ms += 2_000
    assert await tokens.token() == "token-2"
    assert await tokens.ended("token-1"), "somebody still had the old one"
    assert await tokens.token() == "token-2"
    assert await tokens.ended("token-2")
    assert list(await asyncio.gather(tokens.token(), tokens.token())) == ["token-3", "token-3"]


async def test_a_good_token_outlives_a_cloud_that_gives_no_other() -> None:
    """While it is good it is used; after that nobody can be asked."""
    clock = HandClock()
    cloud = Doorkeeper(clock)
    tokens, _ = tokens_of(cloud, clock)
    await tokens.token()
    cloud.is_away = True
    clock.time_ms += 800_000
    assert await tokens.token() == "token-1"
    clock.time_ms += 101_000
    with pytest.raises(PeerUnreachable):
        await tokens.token()


def test_a_breaker_opens_after_some_failures() -> None:
    """It leaves the server alone for longer each time, up to a ceiling; one at a time tries; a success closes it."""
    clock, recovered = HandClock(), []
    breaker = Breaker(clock, lambda: recovered.append(1))
    for _ in range(FAILURES_MAX - 1):
        breaker.failed()
    opened_by = [breaker.is_open]
    breaker.failed()
    assert [*opened_by, breaker.is_open] == [False, True]
    clock.time_ms += int(OPEN_S * 1_000)
    assert [breaker.is_open, breaker.is_open] == [False, True]
    for _ in range(20):
        breaker.failed()
    clock.time_ms += int(OPEN_S_MAX * 1_000) - 1
    at_the_ceiling = [breaker.is_open]
    clock.time_ms += 1
    assert [*at_the_ceiling, breaker.is_open] == [True, False]
    breaker.succeeded()
    breaker.succeeded()
    assert (breaker.is_open, recovered) == (False, [1])


async def test_a_wait_is_cut_short() -> None:
    """Who waits to try again goes on when it is worth it, and a wait that nobody cuts lasts as long as it says."""
    clock = CutShort(SystemClock())
    waiting = asyncio.create_task(clock.sleep(600))
    await asyncio.sleep(0.01)
    clock.hurry()
    await asyncio.wait_for(waiting, 5)
    begun = clock.monotonic()
    await clock.sleep(0.05)
    assert clock.monotonic() - begun >= 0.05


async def answered(answer: object) -> object:
    if isinstance(answer, BaseException):
        raise answer
    return answer


@pytest.mark.parametrize(
    ("refused", "said"),
    [
        (PeerRefused(401, "credentials_invalid", "no"), CredentialsInvalid),
        (PeerRefused(429, "rate_limited", "wait", 17.5), RateLimited),
        (PeerRefused(401, "session_revoked", "this hub was revoked"), CloudRequired),
        (PeerRefused(403, "forbidden", "no hub"), CloudRequired),
        (PeerRefused(503, "overloaded", "later"), CloudRequired),
        (PeerRefused(418, "teapot", "no"), CloudRequired),
        (PeerUnreachable("gone"), CloudRequired),
        (TimeoutError(), CloudRequired),
    ],
)
async def test_what_the_cloud_says_is_said_again(refused: Exception, said: type[Exception]) -> None:
    """A refusal of the person's is the hub's too; one of the hub's own, or none, needs the cloud."""
    with pytest.raises(said) as raised:
        await Passing(Breaker(HandClock())).pass_on(answered(refused))
    if isinstance(raised.value, RateLimited):
        assert raised.value.retry_after_s == 18


async def test_what_concerns_the_request_s_own_token_is_its_own() -> None:
    """A session that the cloud has revoked is told as revoked, where it was the session that was shown."""
    with pytest.raises(SessionRevoked):
        await Passing(Breaker(HandClock())).pass_on(
            answered(PeerRefused(401, "session_revoked", "no")), with_token=True
        )


async def test_a_cloud_that_was_just_away_is_not_waited_for() -> None:
    """With the breaker open nothing is asked."""
    breaker = Breaker(HandClock())
    passing = Passing(breaker)
    for _ in range(FAILURES_MAX):
        with pytest.raises(CloudRequired):
            await passing.pass_on(answered(PeerUnreachable("gone")))
    with pytest.raises(CloudRequired):
        await passing.pass_on(answered("never asked"))


def test_marks_move_with_what_is_known() -> None:
    """A watermark is how far numbers are known without a gap, whether by word of the cloud or by what was read there."""
    known = Settled({DEVICE: 3})
    assert known.take_moved() == {DEVICE: 3}
    assert known.take(DEVICE, 5)
    assert known.take_moved() == {}
    assert [known.take(DEVICE, 4), known.take(DEVICE, 4), known.has(DEVICE, 6)] == [True, False, False]
    assert known.take_through({DEVICE: 2, OTHER_DEVICE: 1})
    moved = known.take_moved()
    assert moved == {DEVICE: 5, OTHER_DEVICE: 1}
    known.take(DEVICE, 6)
    known.give_back(moved)
    assert known.take_moved() == {DEVICE: 6, OTHER_DEVICE: 1}
    assert known.copy() == {DEVICE: Numbers([(1, 6)]), OTHER_DEVICE: Numbers([(1, 1)])}


@dataclass
class Teller:
    """A cloud that tells a directory."""

    revision: int = 3
    clinic_id: str = CLINIC
    asked: list[int | None] = field(default_factory=list)
    gone: dict[str, list[object]] = field(default_factory=dict)
    meanwhile: Callable[[], None] = lambda: None

    async def directory(self, after: int | None = None) -> wire.DirectoryAnswer | None:
        self.asked.append(after)
        self.meanwhile()
        if after == self.revision:
            return None
        answer = told(self.revision, **self.gone)
        config = answer.config.model_copy(update={"clinic_id": self.clinic_id})
        return answer.model_copy(update={"config": config})


@pytest.fixture
async def box(tmp_path: Path) -> AsyncIterator[Box]:
    async with opened(tmp_path / "hub.db") as made:
        yield made


async def test_the_directory_is_fetched_when_it_is_another(box: Box) -> None:
    """The whole at first, then only what is newer; hearing of the revision that is here asks for nothing."""
    cloud = Teller()
    mirror = Mirror(cloud, box.registry)
    assert [await mirror.refresh(), await mirror.refresh()] == [True, False]
    mirror.heard(3)
    assert not mirror.wanted.is_set()
    mirror.heard(4)
    assert mirror.wanted.is_set()
    cloud.revision = 4
    assert await mirror.refresh()
    assert (cloud.asked, box.registry.directory.revision) == ([None, 3, 3], 4)


async def test_a_restored_cloud_that_counts_to_the_same_number_is_heard(box: Box) -> None:
    """Behind another epoch, or another connection, an equal revision means nothing: the directory is fetched whole."""
    cloud, noted = Teller(), list[tuple[int, int]]()

    async def note(before: int, revision: int) -> None:
        noted.append((before, revision))

    mirror = Mirror(cloud, box.registry, note)
    await mirror.met(LogId(CLOUD, fixed_id(1)))
    cloud.gone = {"users": []}
    await mirror.met(LogId(CLOUD, fixed_id(1)))
    assert not box.registry.directory.users[USER].disabled
    await mirror.met(LogId(CLOUD, fixed_id(2)))
    assert box.registry.directory.users[USER].disabled
    cloud.gone = {}
    mirror.doubt()
    assert [await mirror.refresh(), await mirror.refresh()] == [True, False]
    assert not box.registry.directory.users[USER].disabled
    mirror.doubt()
    assert not await mirror.refresh(), "fetched whole, and the same"
    assert cloud.asked == [None, 3, None, None, 3, None]
    assert noted == [(0, 3), (3, 3), (3, 3)]


async def test_a_doubt_outlives_a_request_under_way(box: Box) -> None:
    """What was asked before the connection ended does not settle what is asked after; nor does what failed."""
    cloud = Teller()
    mirror = Mirror(cloud, box.registry)
    cloud.meanwhile = mirror.doubt
    await mirror.refresh()
    cloud.meanwhile = unreachable
    with pytest.raises(PeerUnreachable):
        await mirror.refresh()
    cloud.meanwhile = lambda: None
    await mirror.refresh()
    await mirror.refresh()
    assert cloud.asked == [None, None, None, 3]
    await Mirror(cloud, box.registry).refresh()
    assert cloud.asked[-1] is None, "a hub that starts again has no connection to go by"


async def test_another_clinic_s_directory_is_not_taken(box: Box) -> None:
    """A cloud that mixes clinics up changes nothing here."""
    with pytest.raises(PeerUnreachable, match="another clinic"):
        await Mirror(Teller(clinic_id=fixed_id(0xC9)), box.registry).refresh()
    assert box.registry.directory.revision == 0
