"""The real .deb: built, installed, upgraded, removed and purged on a Debian with a systemd of its own."""

from __future__ import annotations

import json
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from firmware.deb.build import Build, epoch_of_tree
from firmware.deb.packages import CLOUD, HUB
from tests.appliance.conftest import started
from tests.appliance.debian import Debian, next_version
from tests.system.hub_process import CLINIC

pytestmark = [pytest.mark.xdist_group("nspawn"), pytest.mark.proof, pytest.mark.timeout(3600)]

UNIT = "medxz-hub.service"
DATA = "/var/lib/medxz/hub"
MACHINES = {"amd64": 62, "arm64": 183}  # e_machine of ELF
# what a system has that meets the package's Depends
GIVEN = {
    "libc.so.6", "libm.so.6", "libpthread.so.0", "libdl.so.2", "librt.so.1", "libutil.so.1", "libgcc_s.so.1",
    "libstdc++.so.6", "ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1",
}  # fmt: skip


def built(folder: Path, package=HUB, arch: str = "amd64") -> Build:
    folder.mkdir(parents=True, exist_ok=True)
    build = Build(package, arch, "1.0.0", folder, epoch_of_tree())
    build.run()
    return build


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Build:
    return built(tmp_path_factory.mktemp("hub"))


@pytest.fixture(scope="module")
def debian(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Debian]:
    with started(Debian(tmp_path_factory.mktemp("debian"))) as box:
        yield box


def test_the_life_of_a_package(hub: Build, debian: Debian, tmp_path: Path) -> None:
    """Installed, it waits for a hub; upgraded, the hub serves on; removed and purged, the records are still there."""
    installed(debian, hub.file)
    server_id = made(debian)
    upgraded(debian, hub.file, tmp_path, server_id)
    removed(debian, server_id, hub.file)
    purged(debian)


def installed(box: Debian, deb: Path) -> None:
    box.path("/srv/1.deb").write_bytes(deb.read_bytes())
    box.dpkg("--install", "/srv/1.deb")
    assert box.dpkg("--verify", "medxz-hub") == ""
    assert box.run("id", "-u", "medxz").stdout.strip() == "791"
    assert box.show(UNIT, "ActiveState") == "inactive"
    for unit in (UNIT, "medxz-hub-check.timer", "medxz-hub-renew.timer"):
        assert box.is_enabled(unit)
    assert box.show("medxz-hub-check.timer", "ActiveState") == "active"
    assert box.run("systemctl", "--failed", "--plain", "--no-legend").stdout == ""
    for program in ("medxz-hub", "medxz"):
        assert "1.0.0" in box.run("dpkg", "-s", "medxz-hub").stdout
        assert box.run(program, "--help").stdout
        assert "COMMANDS" in box.run("zcat", f"/usr/share/man/man1/{program}.1.gz").stdout
    # what a program of it compiles is there already, and every user may run it
    assert box.run("find", "/usr/lib/medxz-hub", "-newer", "/srv/1.deb", "-name", "*.pyc").stdout == ""


def made(box: Debian) -> str:
    box.run("medxz-hub", "init", "--data", DATA, "--clinic", CLINIC)
    box.run("systemctl", "start", UNIT)
    return status(box)


def status(box: Debian) -> str:
    """Whose hub it is that runs and is healthy."""
    told = json.loads(box.run("medxz-hub", "status", "--data", DATA, "--json").stdout)
    assert told["healthy"] is True
    return str(told["server_id"])


def upgraded(box: Debian, deb: Path, folder: Path, server_id: str) -> None:
    box.run("systemctl", "disable", "--now", "medxz-hub-check.timer")
    before = box.show(UNIT, "MainPID")
    box.path("/srv/2.deb").write_bytes(next_version(deb, "1.0.1", folder).read_bytes())
    box.dpkg("--install", "/srv/2.deb")
    assert status(box) == server_id
    assert box.show(UNIT, "MainPID") != before
    assert not box.is_enabled("medxz-hub-check.timer")
    assert box.show("medxz-hub-renew.timer", "ActiveState") == "active"


def removed(box: Debian, server_id: str, deb: Path) -> None:
    box.dpkg("--remove", "medxz-hub")
    assert box.show(UNIT, "ActiveState") == "inactive"
    assert not box.run("sh", "-c", "ls /usr/lib/medxz-hub", check=False).stdout
    assert box.path(f"{DATA}/hub.db").exists()
    box.dpkg("--install", "/srv/1.deb")
    assert status(box) == server_id
    box.path("/etc/medxz").mkdir()
    box.path("/etc/medxz/hub.toml").write_text("port = 8443\n")
    assert "are kept" in box.dpkg("--purge", "medxz-hub")
    assert not box.path("/etc/medxz").exists()
    assert box.path(f"{DATA}/hub.db").exists()
    assert box.path("/var/lib/medxz/hub.key").exists()
    box.dpkg("--install", "/srv/1.deb")
    assert status(box) == server_id


def purged(box: Debian) -> None:
    """Who says so has everything taken away."""
    box.dpkg("--purge", "medxz-hub", MEDXZ_PURGE_DATA="yes")
    assert box.left_behind() == []
    assert box.run("systemctl", "--failed", "--plain", "--no-legend").stdout == ""


@pytest.mark.parametrize(("package", "arch"), [(HUB, "arm64"), (CLOUD, "amd64")], ids=["arm64", "cloud"])
def test_the_other_packages(package, arch: str, tmp_path: Path) -> None:
    """The package for arm64 is made here too, and the cloud's: lintian finds nothing, libraries are of that machine."""
    build = built(tmp_path, package, arch)
    clean(build)


def test_a_package_is_clean(hub: Build) -> None:
    """lintian finds nothing; every library is of that machine, and needs what the package brings or asks for."""
    clean(hub)


def test_two_builds_are_the_same(hub: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is built of one commit is the same file, byte for byte."""
    monkeypatch.setenv("SOURCE_DATE_EPOCH", str(hub.epoch))  # somebody may have committed since
    assert built(tmp_path).file.read_bytes() == hub.file.read_bytes()


def clean(build: Build) -> None:
    told = subprocess.run(
        ["lintian", "--allow-root", "--fail-on", "error,warning", build.file],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (told.returncode, told.stdout) == (0, "")
    libraries = [path for path in build.site.rglob("*.so*") if path.is_file()]
    assert len(libraries) > 20
    brought = {path.name for path in libraries}
    for library in libraries:
        assert struct.unpack_from("<H", library.read_bytes(), 18)[0] == MACHINES[build.arch], library
        dynamic = subprocess.run(
            ["readelf", "-d", library], capture_output=True, text=True, check=True
        ).stdout
        needed = {line.partition("[")[2].rstrip("]") for line in dynamic.splitlines() if "(NEEDED)" in line}
        assert needed <= GIVEN | brought, library
