"""A flashed box with a real cloud: by its card or by its page it becomes a hub, whatever is missing at first."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.system.first_box import FirstBox, told
from tests.system.hub_process import DEADLINE_S
from tests.system.world import CloudProcess

pytestmark = pytest.mark.xdist_group("first-boot")


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CloudProcess]:
    made = CloudProcess(tmp_path_factory.mktemp("cloud"), "North").start()
    yield made
    made.end()


@pytest.fixture
def box(tmp_path: Path) -> Iterator[FirstBox]:
    made = FirstBox(tmp_path / "box")
    yield made
    made.switch_off()


def card(cloud: CloudProcess, code: str | None) -> str:
    line = f'code = "{code}"\nname = "Reception"\n' if code else ""
    return f'# a card\n[cloud]\nurl = "{cloud.url}"\n{line}'


def test_a_box_claims_itself_by_its_card(cloud: CloudProcess, box: FirstBox) -> None:
    """Without the cloud it waits and says so; once that is there it is a hub, and the code is off the card."""
    code = cloud.code("hub", "North")
    box.write(card(cloud, code))
    cloud.end(signal.SIGTERM)
    box.switch_on().wait_for("waiting")
    assert told("first-boot", "report", "--root", box.root)[1]["written"]
    assert "can't be reached" in box.places.report.read_text()
    assert "goes on trying by itself" in httpx.get(box.url).text
    cloud.start()
    ids = box.ended()
    assert (ids["claimed"], ids["clinic_id"]) == (True, cloud.clinic_id)
    [hub] = cloud.command("hub", "list")["hubs"]
    assert (hub["hub_id"], hub["name"]) == (ids["hub_id"], "Reception")
    assert told("first-boot", "done", "--root", box.root) == (0, {"removed": True})
    assert "code: used on" in box.places.file.read_text()
    assert code not in box.places.file.read_text()
    told("first-boot", "report", "--root", box.root)
    assert "is a hub of its clinic" in box.places.report.read_text()
    assert code not in box.everything_left()
    # at the next start there is nothing to wait for, and no page
    assert box.switch_on().ended() == {"claimed": False, "is_hub": True}


def test_a_box_is_claimed_by_its_page(cloud: CloudProcess, box: FirstBox) -> None:
    """A wrong code is refused in words, the right one makes a hub, and the page ends with it."""
    box.switch_on().wait_for("no_code")
    wrong, right = "2" * 20, cloud.code("hub", "North")
    page = box.typed(cloud=cloud.url, code=wrong, name="Lab")
    assert (page.status_code, "The pairing code was refused" in page.text) == (200, True)
    url = box.url
    page = box.typed(cloud="", code=f"{cloud.url}/#c={right}&fp={'0' * 64}", name="Lab")
    assert "is a hub of its clinic" in page.text
    assert box.ended()["clinic_id"] == cloud.clinic_id
    with pytest.raises(httpx.ConnectError):
        httpx.get(url)
    assert wrong not in box.everything_left()
    assert right not in box.everything_left()


def test_a_typed_code_outlives_a_power_cut(cloud: CloudProcess, box: FirstBox) -> None:
    """Typed while the cloud was away, the plug pulled, the cloud back: nobody has to type it again."""
    box.write(card(cloud, None))
    box.switch_on().wait_for("no_code")
    code = cloud.code("hub", "North")
    cloud.end(signal.SIGTERM)
    page = box.typed(code=code, name="Lab")
    assert "can&#x27;t be reached" in page.text or "looks again by itself" in page.text
    box.pull_the_plug()
    cloud.start()
    assert box.switch_on().ended()["clinic_id"] == cloud.clinic_id
    assert not list(box.data.parent.glob("*.claim"))


def test_a_box_that_is_told_to_stop_stops(box: FirstBox) -> None:
    """A unit that is stopped ends in time and with status 0, claimed or not."""
    box.switch_on().wait_for("no_code")
    assert box.process is not None
    box.process.terminate()
    assert box.process.wait(DEADLINE_S) == 0


@pytest.mark.proof
def test_a_box_without_its_page_claims_itself(cloud: CloudProcess, box: FirstBox) -> None:
    """A port that somebody else has keeps no box from its claim."""
    box.write(card(cloud, cloud.code("hub", "North")))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert box.switch_on(taken.getsockname()[1]).ended()["claimed"]
    assert box.state()["port"] is None


def test_what_is_a_hub_waits_for_nothing(tmp_path: Path) -> None:
    """`first-boot --data DIR` is `first-boot wait`; where there is a hub, or what is left of one, it ends at once."""
    for name in ("hub.db", "keepsake"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / name).touch()
        assert told("first-boot", "--data", folder) == (0, {"claimed": False, "is_hub": True})


def test_the_card_is_checked_at_any_computer(tmp_path: Path) -> None:
    """`check` tells each mistake with its line and ends with 1; the template is right and ends with 0."""
    file = tmp_path / "medxz-hub.toml"
    file.write_text(told("first-boot", "template")[1]["template"])
    assert told("first-boot", "check", file) == (0, {"ok": True, "problems": []})
    file.write_text("[wifi]\ncountry = DE\n")
    status, answer = told("first-boot", "check", file)
    assert (status, [problem["line"] for problem in answer["problems"]]) == (1, [2])
