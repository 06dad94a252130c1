"""How worn disks are: what smartctl says of them, whoever asked it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from hub.care import disks
from hub.care.checks import check_wear
from hub.care.disks import LAID_DOWN, disks_worn, wear_of
from hub.care.machine import Wear
from tests.appliance.nspawn import UNITS

ABOUT = {"json_format_version": [1, 0], "smartctl": {"version": [7, 3], "exit_status": 0}}


def sata(*attributes: tuple[int, int], passed: bool = True) -> dict[str, Any]:
    """As an SSD is told of, shortened."""
    table = [
        {
            "id": number,
            "name": "x",
            "value": value,
            "worst": value,
            "thresh": 0,
            "raw": {"value": 0, "string": "0"},
        }
        for number, value in attributes
    ]
    about = {
        "device": {"name": "/dev/sda", "type": "sat", "protocol": "ATA"},
        "smart_status": {"passed": passed},
    }
    return ABOUT | about | {"ata_smart_attributes": {"revision": 16, "table": table}}


NVME = ABOUT | {
    "device": {"name": "/dev/nvme0n1", "type": "nvme", "protocol": "NVMe"},
    "smart_status": {"passed": True, "nvme": {"value": 0}},
    "nvme_smart_health_information_log": {
        "critical_warning": 0, "temperature": 38, "available_spare": 100, "percentage_used": 83, "media_errors": 0,
    },
}  # fmt: skip
DENIED = {
    "smartctl": {
        "exit_status": 2,
        "messages": [
            {"string": "Smartctl open device: /dev/sda failed: Permission denied", "severity": "error"}
        ],
    }
}


@pytest.mark.parametrize(
    ("told", "wear"),
    [
        (sata((5, 100), (177, 71)), Wear("d", 29, is_ending=False)),
        (sata((5, 100), (231, 94), (177, 71)), Wear("d", 6, is_ending=False)),
        (sata((5, 100)), Wear("d", None, is_ending=False)),
        (sata((5, 1), (233, 253), passed=False), Wear("d", None, is_ending=True)),
        (NVME, Wear("d", 83, is_ending=False)),
        (sata((177, 71)) | {"endurance_used": {"current_percent": 12}}, Wear("d", 12, is_ending=False)),
        (DENIED, None),
        ({"smart_status": "odd"}, None),
        ([], None),
    ],
)
def test_what_an_answer_comes_to(told: Any, wear: Wear | None) -> None:
    """SATA by the attribute that counts down, NVMe and newer tools by what is used; what tells nothing is not readable."""
    assert wear_of("d", json.dumps(told).encode()) == wear
    assert check_wear(wear).ok == (wear is None or (not wear.is_ending and (wear.percent or 0) < 80))
    for noise in (b"", b"{", b"\xff", json.dumps(told).encode()[:-1]):
        assert wear_of("d", noise) is None


def a_smartctl(folder: Path, body: str) -> None:
    """A program of that name, in front of the PATH."""
    folder.mkdir(exist_ok=True)
    program = folder / "smartctl"
    program.write_text(f"#!/bin/sh\n{body}\n")
    program.chmod(0o755)


def a_disk(root: Path, name: str, removable: str = "0") -> None:
    folder = root / "sys/block" / name
    folder.mkdir(parents=True)
    (folder / "removable").write_text(f"{removable}\n")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A machine with a SATA disk, an NVMe disk and a stick."""
    root = tmp_path / "root"
    for name, removable in (("sda", "0"), ("nvme0n1", "0"), ("sdb", "1"), ("loop0", "0"), ("mmcblk0", "0")):
        a_disk(root, name, removable)
    return root


def test_a_tool_on_the_path_is_asked(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each disk that is built in, whatever status the tool ends with; the one that is worn most is told."""
    bin_ = tmp_path / "bin"
    monkeypatch.setenv("PATH", f"{bin_}:{os.environ['PATH']}")
    for name, told in (("sda", sata((177, 71))), ("nvme0n1", NVME)):
        (tmp_path / name).write_text(json.dumps(told))
    a_smartctl(bin_, f'echo "$@" >>{tmp_path}/asked; cat "{tmp_path}/${{4##*/}}"; exit 4')
    assert disks_worn(root) == Wear("nvme0n1", 83, is_ending=False)
    asked = (tmp_path / "asked").read_text().splitlines()
    assert asked == [f"--json -A -H {root}/dev/{name}" for name in ("nvme0n1", "sda")]
    (tmp_path / "sda").write_text(json.dumps(sata((177, 71), passed=False)))
    assert disks_worn(root) == Wear("sda", 29, is_ending=True)


def test_a_tool_that_is_not_there_or_hangs(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the tool, or where it says nothing in time, disks do not tell, and nothing waits for it."""
    bin_ = tmp_path / "bin"
    monkeypatch.setenv("PATH", str(bin_))
    assert disks_worn(root) is None
    a_smartctl(bin_, "exec /bin/sleep 60")
    monkeypatch.setattr(disks, "ANSWER_S_MAX", 0.05)
    begun = time.monotonic()
    assert disks_worn(root) is None
    assert time.monotonic() - begun < 20
    a_smartctl(bin_, "echo nonsense; exit 1")
    assert disks_worn(root) is None


def test_what_the_nightly_check_laid_down_is_read(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The unit's own line asks each disk as root and lays the answers down, and the hub, which may not ask, reads them."""
    unit = (UNITS / "medxz-hub-check.service").read_text("utf-8")
    found = re.search(r"^ExecStartPre=\+-/bin/sh -c '(.*)'$", unit, re.MULTILINE)
    assert found is not None
    script = found[1].replace("$$", "$").replace("/sys/block", f"{root}/sys/block")
    script = script.replace("/run/medxz-wear", f"{root}/{LAID_DOWN}")
    (root / LAID_DOWN).mkdir(parents=True)
    bin_ = tmp_path / "bin"
    environment = {"PATH": f"{bin_}:{os.environ['PATH']}"}
    if shutil.which("smartctl") is None:
        subprocess.run(["/bin/sh", "-c", script], check=True, env=environment)
        assert list((root / LAID_DOWN).iterdir()) == [], "without the tool nothing is done"
    a_smartctl(bin_, f"echo '{json.dumps(NVME)}'; exit 64")
    subprocess.run(["/bin/sh", "-c", script], check=False, env=environment)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert disks_worn(root) == Wear("nvme0n1", 83, is_ending=False)
