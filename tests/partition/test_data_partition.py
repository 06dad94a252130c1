"""The data partition on a machine that is started, moved to another board and cut off: nothing that was in it is lost."""

from __future__ import annotations

import random
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.partition.machine import CannotBoot, Machine, has_tpm, kernel_in, make_initrd

pytestmark = [pytest.mark.proof, pytest.mark.timeout(3_000), pytest.mark.xdist_group("partition")]


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Kernel and initrd."""
    if shutil.which("qemu-system-x86_64") is None or shutil.which("cryptsetup") is None:
        pytest.skip("no QEMU or no cryptsetup on this machine: firmware/tools installs them")
    folder = tmp_path_factory.mktemp("parts")
    try:
        kernel = kernel_in(folder / "kernel")
        return kernel, make_initrd(kernel, folder)
    except CannotBoot as error:
        pytest.skip(str(error))


@pytest.fixture
def machine(parts: tuple[Path, Path], tmp_path: Path) -> Iterator[Machine]:
    made = Machine(*parts, tmp_path)
    yield made
    made.pull_the_plug()


def test_it_is_made_once_and_moves_with_its_recovery_key(machine: Machine) -> None:
    """As large as the card, encrypted, opened by the same board again; by another one with the recovery key alone, and
    then by that one without.
    """
    first = machine.run()
    assert (first["label"], first["files"]) == ("MEDXZ-DATA", "1")
    assert first["opened"].startswith("by=board mib=1")
    assert b"lost+found" not in machine.disk.read_bytes()
    second = machine.run()
    assert (second["files"], second["recovery"]) == ("2", first["recovery"])
    assert "is made" not in machine.said()

    machine.board = 2
    assert "belongs to another machine" in machine.run()["failed"]
    machine.toml = f'[data]\nrecovery_key = "{first["recovery"].upper()}"\n'
    moved = machine.run()
    assert (moved["opened"].partition(" ")[0], moved["files"]) == ("by=recovery-key", "3")
    machine.toml = ""
    assert machine.run()["files"] == "4"
    machine.board = 1
    assert "belongs to another machine" in machine.run()["failed"]


def test_a_tpm_opens_it_and_no_other_one(machine: Machine, tmp_path: Path) -> None:
    """On a machine with a TPM that one opens it, the board's number does not; another TPM needs the recovery key once."""
    if not has_tpm():
        pytest.skip("no TPM to be played here: apt install swtpm libtss2-esys-3.0.2-0 libtss2-tcti-device0")
    machine.tpm = tmp_path / "one"
    first = machine.run()
    assert first["opened"].startswith("by=tpm")
    assert machine.run()["files"] == "2"
    machine.tpm = None
    assert "belongs to another machine" in machine.run()["failed"]
    machine.tpm = tmp_path / "another"
    assert "belongs to another machine" in machine.run()["failed"]
    machine.toml = f'[data]\nrecovery_key = "{first["recovery"]}"\n'
    assert machine.run()["files"] == "3"
    machine.toml = ""
    last = machine.run()
    assert (last["opened"].partition(" ")[0], last["files"]) == ("by=tpm", "4")


def test_a_cut_while_it_is_made_goes_on(machine: Machine) -> None:
    """Wherever the power goes while it is made, the next start has it; once something is in it, that stays."""
    seed = random.randrange(1_000_000)
    drawn = random.Random(seed)
    for _ in range(5):
        machine.start()
        machine.wait_for("is made")
        time.sleep(drawn.uniform(0, 6))  # the moment at which somebody pulls the plug
        machine.pull_the_plug()
        if "@opened" in machine.said():
            break
    last = machine.run()
    assert last["label"] == "MEDXZ-DATA", seed
    assert int(last["files"]) >= 1, seed
    assert machine.run()["files"] == str(int(last["files"]) + 1), seed


def test_nothing_else_is_written_over(machine: Machine) -> None:
    """A partition in which something else lies is told of on the card, and stays to the byte."""
    with machine.disk.open("r+b") as disk:
        disk.seek(9 * 1024 * 1024 + 5_000_000)
        disk.write(b"somebody's only copy")
        begin = disk.seek(9 * 1024 * 1024)
    before = machine.disk.read_bytes()[begin:]
    assert "holds something that is not of this box" in machine.run()["failed"]
    assert machine.disk.read_bytes()[begin:] == before
    subprocess.run(["sfdisk", "--verify", machine.disk], check=True, capture_output=True)
