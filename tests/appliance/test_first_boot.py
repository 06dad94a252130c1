"""The first start under a real systemd: who may do what, what waits for what, and what root writes of it."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.appliance.conftest import started
from tests.appliance.nspawn import TREE, Container

pytestmark = [pytest.mark.xdist_group("nspawn"), pytest.mark.proof]

UNIT, HUB = "medxz-first-boot.service", "medxz-hub.service"
CARD, REPORT = "/boot/firmware/medxz-hub.toml", "/boot/firmware/medxz-hub-report.txt"
CLOUD = "http://127.0.0.1:8000"
OF_THE_IMAGE = TREE / "firmware/image/overlay/usr/lib/systemd/system"


class Flashed(Container):
    """With the units that only an image has, and a card."""

    def make(self) -> Container:
        super().make()
        for unit in OF_THE_IMAGE.glob("medxz-first-*"):
            shutil.copy(unit, self.overlay / "lib/systemd/system")
        (self.root / "boot/firmware").mkdir(parents=True)
        return self


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flashed]:
    with started(Flashed(tmp_path_factory.mktemp("flashed"))) as box:
        yield box


@pytest.fixture(scope="module")
def code(box: Flashed) -> str:
    """Of a cloud that is on this machine too, and is not running yet."""
    Path(box.root, "var/lib/medxz-cloud").mkdir(parents=True, exist_ok=True)
    Path(box.root, "var/lib/medxz-cloud/password").write_text("a long walk by the river\n")
    data = ("--data", "/var/lib/medxz-cloud/data")
    made = json.loads(box.run(
        "medxz-cloud", "init", *data, "--clinic", "Riverside", "--site", "North", "--admin-email", "a@clinic.example",
        "--admin-password-file", "/var/lib/medxz-cloud/password", "--json",
    ).stdout)  # fmt: skip
    told = box.run(
        "medxz-cloud",
        "code",
        *data,
        "--clinic",
        made["clinic_id"],
        "--for",
        "hub",
        "--site",
        "North",
        "--json",
    )
    return str(json.loads(told.stdout)["code"])


def page(box: Flashed) -> str:
    get = "import urllib.request as u; print(u.urlopen('http://127.0.0.1/', timeout=20).read().decode())"
    return box.run("python3", "-c", get, check=False).stdout


def test_a_flashed_box_becomes_a_hub(box: Flashed, code: str) -> None:
    """It waits with next to no rights, serves its page, tells the card; the cloud comes, it is a hub, and the page is gone."""
    card = f'[cloud]\nurl = "{CLOUD}"\ncode = "{code}"\nname = "Reception"\n[sistem]\n[system]\nhostname = "front-desk"\n'
    box.path(CARD).write_text(card)
    box.run("systemctl", "start", "medxz-first-apply.service")
    assert "[sistem] is no section" in box.path(REPORT).read_text()
    assert box.run("uname", "-n").stdout.strip() == "front-desk"
    told = box.run("stat", "-c", "%a %U %G", "/run/medxz-boot/claim.json", "/run/medxz-boot").stdout.split(
        "\n"
    )
    assert told[:2] == ["640 root medxz", "755 root root"]

    box.run("systemctl", "start", "--no-block", UNIT, HUB)
    box.until(lambda: "Claim this box" in page(box) or "goes on trying" in page(box), "the page")
    pid = box.show(UNIT, "MainPID")
    status = box.run("cat", f"/proc/{pid}/status").stdout
    assert re.search(r"Uid:\s791\s", status)
    assert re.search(r"CapBnd:\s0+400\n", status), status  # CAP_NET_BIND_SERVICE
    assert box.show(HUB, "ActiveState") == "inactive"
    box.until(lambda: "can't be reached" in box.path(REPORT).read_text(), "the report on the card")
    assert code not in box.path(REPORT).read_text()
    assert code in box.path(CARD).read_text()

    # it dies, and begins again; the hub, which waited for it, was passed over by then
    box.run("systemctl", "kill", "--signal=KILL", UNIT)
    box.until(lambda: box.show(UNIT, "MainPID") not in {"0", pid}, "another one that waits")
    assert box.show(HUB, "ActiveState") == "inactive"

    run = ("medxz-cloud", "run", "--data", "/var/lib/medxz-cloud/data", "--plain-http", "--port", "8000")
    box.run("systemd-run", "--quiet", "--unit=cloud", *run)
    box.until(lambda: box.show(HUB, "ActiveState") == "active", "a hub that serves")
    assert (box.show(UNIT, "ActiveState"), box.show(UNIT, "Result")) == ("inactive", "success")
    assert code not in box.path(CARD).read_text()
    assert "code: used on" in box.path(CARD).read_text()
    box.until(lambda: "is a hub of its clinic" in box.path(REPORT).read_text(), "the last report")
    assert page(box) == ""
    journal = box.run("journalctl", "--no-pager").stdout
    assert code not in journal
    assert code.replace("-", "") not in journal

    # the next start has nothing to wait for
    box.run("systemctl", "start", UNIT)
    assert box.show(UNIT, "ConditionResult") == "no"
