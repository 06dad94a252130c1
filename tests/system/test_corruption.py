"""A hub whose files rot: found, told, set aside, begun anew, and everything that was acknowledged is there again."""

from __future__ import annotations

import random
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hub import ask
from medxz import Device
from medxz.device.keyfile import read_key
from medxz.program.errors import CommandFailed
from tests.system.cloud_process import Desk
from tests.system.flipping import flip, in_page, in_wal, make_free_pages, pages_of, pages_with_ops
from tests.system.hub_process import command, wait_until
from tests.system.world import NURSE, CloudProcess, EnrolledTablet, SiteHub

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("corruption")]

SEED = 20_251_121
# the same with constants of a test's patience: pages are looked at at once, and files may be set aside one by one
PROGRAM = (
    sys.executable,
    "-c",
    "from hub.recovery import watching as w; w.FIRST_AFTER_S = 0.5; w.APART_S = 0.0; from hub.cli import main; main()",
)


class Door:
    """The hub, as somebody sees it who is let in there by a code of the cloud's."""

    def __init__(self, hub: SiteHub) -> None:
        self.url = hub.url
        self._hub = hub

    def code(self, *more: object) -> str:
        return self._hub.cloud.code("device", self._hub.site, *more)


class Site:
    """A cloud, a hub of it, a tablet that keeps what it recorded, and somebody else who keeps nothing."""

    def __init__(self, folder: Path) -> None:
        self.cloud = CloudProcess(folder, "North").start()
        self.cloud.add_user(NURSE)
        self.hub = SiteHub(folder, self.cloud, "North")
        self.hub._program = PROGRAM
        self.hub.claim()
        self.hub.start()
        self.tablet = EnrolledTablet(folder / "tablet", self.hub, self.cloud, "North", NURSE)
        self.visitor = Desk(Door(self.hub))  # type: ignore[arg-type]  # all that it asks of a relay
        self.acknowledged: set[str] = set()
        self.key = bytes.fromhex(self.hub.key_file.read_text().strip())

    def end(self) -> None:
        self.hub.end()
        self.cloud.end()

    def path(self, name: str) -> Path:
        return self.hub.data / name

    async def write(self, count: int) -> None:
        """Ops of the tablet, at the hub when this returns: a few at a time, so that there are many transactions."""
        key = read_key(self.tablet.store, None)
        async with Device.open(self.tablet.store, key=key) as device:
            for number in range(count):
                note = {
                    "resourceType": "Patient",
                    "name": [{"family": f"F{number:05}"}],
                    "address": [{"text": "x" * 900}],
                }
                self.acknowledged.add((await device.record("Patient", note)).op_id)
                if number % max(1, count // 12) == 0:
                    await device.sync()
            assert (await device.sync()).status.here == 0

    async def sync(self) -> None:
        key = read_key(self.tablet.store, None)
        async with Device.open(self.tablet.store, key=key) as device:
            assert (await device.sync()).status.here == 0

    def recovery(self) -> dict[str, Any]:
        """What /health says of it."""
        [check] = [each for each in self.hub.health()["checks"] if each["name"] == "recovery"]
        return dict(check)

    def status(self) -> dict[str, Any]:
        return ask.ask(self.hub.data.with_name(self.hub.data.name + ".sock"), "status")

    def until_newer_than(self, known: str | None) -> None:
        """Wait until another file was set aside, and the hub serves again."""

        def has_begun_again() -> bool:
            try:
                return self.newest() != known
            except CommandFailed:
                return False

        wait_until(has_begun_again, "damage is found")

    def set_aside(self) -> list[dict[str, Any]]:
        return list(self.status()["damaged_files"])

    def newest(self) -> str | None:
        """Where the file lies that was set aside last; how many lie there is no mark, as the oldest are let go."""
        return max((str(told["lies_in"]) for told in self.set_aside()), default=None)

    def missing(self) -> set[str]:
        return self.acknowledged - set(self.visitor.pulled())


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    made = Site(tmp_path_factory.mktemp("site"))
    yield made
    made.end()


Where = Callable[[Site, random.Random], tuple[str, int]]


def the_salt(_site: Site, choose: random.Random) -> tuple[str, int]:
    return "hub.db", choose.randrange(16)


def the_first_page(_site: Site, choose: random.Random) -> tuple[str, int]:
    return "hub.db", in_page(1, choose)


def a_row(site: Site, choose: random.Random) -> tuple[str, int]:
    path = site.path("hub.db")
    others = set(pages_with_ops(path, site.key, site.visitor.device_id))
    in_file = range(1, pages_of(path) + 1)  # of what follows there is a write-ahead log alone
    mine = pages_with_ops(path, site.key, site.tablet.device_id)
    pages = [page for page in mine if page in in_file and page not in others]
    return "hub.db", in_page(pages[len(pages) // 2], choose)


def the_last_page(site: Site, choose: random.Random) -> tuple[str, int]:
    return "hub.db", in_page(pages_of(site.path("hub.db")), choose)


def any_page(site: Site, choose: random.Random) -> tuple[str, int]:
    return "hub.db", in_page(choose.randrange(2, pages_of(site.path("hub.db")) + 1), choose)


def a_free_page(site: Site, choose: random.Random) -> tuple[str, int]:
    return "hub.db", in_page(choose.choice(make_free_pages(site.path("hub.db"), site.key)), choose)


def a_frame(site: Site, _choose: random.Random) -> tuple[str, int]:
    return "hub.db-wal", in_wal(site.path("hub.db-wal"), last=False)


def the_logs_header(_site: Site, _choose: random.Random) -> tuple[str, int]:
    return "hub.db-wal", 21


@pytest.mark.parametrize(
    ("where", "ends_by"),
    [
        pytest.param(the_salt, signal.SIGTERM, id="salt"),
        pytest.param(the_first_page, signal.SIGTERM, marks=pytest.mark.proof, id="first page"),
        pytest.param(a_row, signal.SIGTERM, marks=pytest.mark.proof, id="row, clean stop"),
        pytest.param(a_row, signal.SIGKILL, id="row, unclean stop"),
        pytest.param(the_last_page, signal.SIGTERM, marks=pytest.mark.proof, id="last page"),
        pytest.param(a_free_page, signal.SIGTERM, marks=pytest.mark.proof, id="free page"),
        pytest.param(any_page, signal.SIGTERM, marks=pytest.mark.proof, id="any page"),
        pytest.param(a_frame, signal.SIGKILL, id="frame of the write-ahead log"),
        pytest.param(
            the_logs_header, signal.SIGKILL, marks=pytest.mark.proof, id="header of the write-ahead log"
        ),
    ],
)
async def test_the_log_is_damaged(
    site: Site, where: Where, ends_by: signal.Signals, request: pytest.FixtureRequest
) -> None:
    """Wherever a bit of the log is flipped, with no cloud: nothing that was acknowledged is missing in the new epoch."""
    choose = random.Random(f"{SEED} {request.node.callspec.id}")
    before, known = site.status(), site.newest()
    if before["ops"] == 0:
        await site.write(200)
    site.cloud.end(signal.SIGTERM)
    if ends_by is signal.SIGKILL:  # the file has something by then, and its write-ahead log will
        site.hub.end(signal.SIGTERM)
        site.hub.start()
    if where in {
        the_salt,
        the_first_page,
        a_row,
        a_free_page,
    }:  # nobody pushes these again, and they can be read
        site.acknowledged |= set(site.visitor.push(5))
    await site.write(30)
    site.hub.end(ends_by)
    name, at = where(site, choose)
    flip(site.path(name), at)
    begun = time.monotonic()
    site.hub.start()
    site.until_newer_than(known)
    found_s = time.monotonic() - begun
    told = site.recovery()
    assert not told["ok"], told
    assert "hub.db was found damaged at" in told["detail"]
    status = site.status()
    incident = status["damaged_files"][-1]
    assert status["epoch"] != before["epoch"]
    assert (status["server_id"], status["clinic_id"]) == (before["server_id"], before["clinic_id"])
    assert incident["epoch"] == status["epoch"]
    assert Path(incident["lies_in"]).joinpath("hub.db").is_file()
    wait_until(lambda: site.set_aside()[-1]["through"] > 0, "what can be read of it is read")
    await site.sync()
    assert not site.missing(), "the cloud is away: what it lacks comes out of the file and from the authors"
    site.cloud.start()
    wait_until(lambda: bool(site.recovery()["ok"]), "it is in step again")
    assert not site.missing()
    said = site.hub.said()
    assert "F000" not in said
    incident = site.set_aside()[-1]
    print(  # the table of docs/proof.md
        f"| {request.node.callspec.id} | {incident['found']} | {found_s:.1f} s | {incident['ops']} ops read,"
        f" {incident['pages_damaged']} pages lost |"
    )


async def test_a_torn_end_of_the_write_ahead_log(site: Site) -> None:
    """A flip in the last transaction may have been a power cut: the same file in a new epoch, and nothing is missing."""
    before, known = site.status(), site.newest()
    await site.write(12)
    site.hub.end(signal.SIGKILL)
    flip(site.path("hub.db-wal"), in_wal(site.path("hub.db-wal"), last=True))
    site.hub.start()
    assert site.newest() == known
    assert site.status()["epoch"] != before["epoch"]
    await site.sync()
    assert not site.missing()


async def test_it_is_found_while_the_hub_runs(site: Site) -> None:
    """A page that rots under a running hub: found by the look at every page, and the hub begins again by itself."""
    site.hub.end(signal.SIGTERM)
    site.hub.start()
    before, known = site.status(), site.newest()
    pages = pages_with_ops(site.path("hub.db"), site.key, site.tablet.device_id)
    assert site.hub._process is not None
    process = site.hub._process.pid
    flip(site.path("hub.db"), (pages[0] - 1) * 4_096 + 1_000)

    site.until_newer_than(known)
    assert site.hub._process.poll() is None
    assert site.hub._process.pid == process
    status = site.status()
    assert status["url"] == before["url"]
    assert status["epoch"] != before["epoch"]
    wait_until(lambda: bool(site.recovery()["ok"]), "it is in step again")
    await site.sync()
    assert not site.missing()


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(1, marks=pytest.mark.proof, id="first page"),
        pytest.param(3, id="early page"),
        pytest.param(None, marks=pytest.mark.proof, id="last page"),
    ],
)
async def test_the_audit_is_damaged(site: Site, page: int | None) -> None:
    """The audit's file is replaced row by row; the log keeps its epoch, and people go on."""
    before, known = site.status(), site.newest()
    site.hub.end(signal.SIGTERM)
    path = site.path("audit.db")
    flip(path, in_page(page or pages_of(path), random.Random(SEED)))
    site.hub.start()
    site.until_newer_than(known)
    incident = site.set_aside()[-1]
    assert (incident["file"], incident["state"]) == ("audit.db", "done")
    assert Path(incident["lies_in"]).joinpath("audit.db").is_file()
    assert incident["rows"] > 0
    assert site.status()["epoch"] == before["epoch"]
    await site.write(3)
    assert not site.missing()


async def test_the_views_are_damaged(site: Site) -> None:
    """What is derived is thrown away and made again: lists have everybody, and nothing is set aside."""
    known = site.newest()
    wanted = listed(site)
    site.hub.end(signal.SIGTERM)
    choose = random.Random(SEED)
    for page in {1, *choose.sample(range(2, pages_of(site.path("views.db")) + 1), 4)}:
        flip(site.path("views.db"), in_page(page, choose))
    site.hub.start()
    assert listed(site) == wanted
    assert site.newest() == known


def listed(site: Site) -> int:
    """How many patients the hub's lists have, once they know the log."""
    count, cursor = 0, ""
    while True:
        told = site.visitor.get("/v1/entities/Patient?limit=200" + (f"&cursor={cursor}" if cursor else ""))
        if told.status_code == 503:
            time.sleep(0.05)
            continue
        assert told.status_code == 200, told.text
        page = told.json()
        count += len(page["entities"])
        cursor = page["next_cursor"]
        if not cursor:
            return count


def test_who_it_was_is_lost(site: Site) -> None:
    """With the first page and the keepsake gone nothing is touched: the hub says in a line what to do."""
    site.hub.end(signal.SIGTERM)
    store, keepsake = site.path("hub.db"), site.path("keepsake")
    whole, kept = store.read_bytes(), keepsake.read_bytes()
    flip(store, 5)
    flip(keepsake, 40)
    asked = command("run", "--data", site.hub.data, "--plain-http", "--host", "127.0.0.1", "--json")
    assert asked.returncode == 1
    assert "--replaces" in asked.stderr
    assert store.read_bytes()[6:] == whole[6:]
    store.write_bytes(whole)
    keepsake.write_bytes(kept)
    site.hub.start()
    assert not site.missing()


def test_no_more_are_kept_than_so_many(site: Site) -> None:
    """Once the cloud has everything the oldest files are let go: three are left, the newest among them."""
    newest = site.set_aside()[-1]["lies_in"]
    site.hub.end(signal.SIGTERM)
    site.hub.start()
    wait_until(lambda: len(site.set_aside()) <= 3, "the oldest are let go")
    left = site.set_aside()
    assert len(left) == 3
    assert left[-1]["lies_in"] == newest
    assert all(Path(incident["lies_in"]).is_dir() for incident in left)
