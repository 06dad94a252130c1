"""A hub that is a package: who made the next one, and which of two is installed."""

from __future__ import annotations

import json
import shutil
import ssl
import subprocess
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from hub.update.backend import BundleRefused
from hub.update.debian import KEYRING, Debian
from hub.update.machine import Machine
from hub.update.package import is_signed, read_signed, sign
from medxz.program.errors import CommandFailed

EXCHANGE = Path(__file__).resolve().parents[4] / "firmware/deb/exchange"
NOW = datetime(2026, 11, 22, tzinfo=UTC)
pytestmark = pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="no dpkg-deb on this machine")


class Fleet:
    """Keys like those of firmware/rauc/make-keys, and packages of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        authority, self.key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
        issued = partial(_certificate, issuer=authority, days=30)
        self.keyring = folder / "keyring.pem"
        self.keyring.write_bytes(issued("ca", authority.public_key()))
        self.certificate = issued("bundles", self.key.public_key(), uses=ExtendedKeyUsageOID.CODE_SIGNING)
        self.other_use = issued("mails", self.key.public_key(), uses=ExtendedKeyUsageOID.EMAIL_PROTECTION)
        self.no_use = issued("nothing", self.key.public_key())

    def deb(self, version: str) -> Path:
        """A package with nothing in it."""
        control = self.folder / "made/DEBIAN/control"
        control.parent.mkdir(parents=True, exist_ok=True)
        control.write_text(
            f"Package: medxz-hub\nVersion: {version}\nArchitecture: all\nMaintainer: nobody <n@x.invalid>\nDescription: none\n"
        )
        file = self.folder / f"{version}.deb"
        subprocess.run(["dpkg-deb", "--build", self.folder / "made", file], check=True, capture_output=True)
        return file

    def signed(self, version: str, *, at: datetime = NOW, certificate: bytes | None = None) -> Path:
        file = self.deb(version)
        said = {
            "version": version,
            "compatible": "medxz-hub-deb-amd64",
            "build": "log=1/1",
            "at": at.isoformat(),
        }
        sign(file, said, certificate or self.certificate, self.key)
        return file


def _certificate(name: str, key, *, issuer, days: int, uses=None) -> bytes:
    def called(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    made = (
        x509.CertificateBuilder()
        .subject_name(called(name)).issuer_name(called("ca")).public_key(key).serial_number(7)
        .not_valid_before(NOW - timedelta(days)).not_valid_after(NOW + timedelta(days))
        .add_extension(x509.BasicConstraints(ca=uses is None, path_length=None), critical=True)
    )  # fmt: skip
    if uses is not None:
        made = made.add_extension(x509.ExtendedKeyUsage([uses]), critical=False)
    return made.sign(issuer, SHA256()).public_bytes(Encoding.PEM)


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return Fleet(tmp_path / "fleet")


@pytest.fixture
def box(tmp_path: Path, fleet: Fleet) -> Path:
    """The root of a Debian on which 0.1.0 is installed, and lies to be gone back to."""
    root = tmp_path / "box"
    runs(root, "0.1.0")
    (root / KEYRING).parent.mkdir(parents=True)
    (root / KEYRING).write_bytes(fleet.keyring.read_bytes())
    Machine(root).make_folder()
    shutil.copy(fleet.deb("0.1.0"), Machine(root).folder / "A.deb")
    return root


def runs(root: Path, version: str) -> None:
    file = root / "usr/lib/medxz-hub/package.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"version": version, "arch": "amd64", "is_package": True}))


def test_a_signed_package_is_one_still(fleet: Fleet) -> None:
    """With its signature a package is what dpkg takes it for without, and says what it is to who knows the CA."""
    file = fleet.signed("0.2.0")
    told = subprocess.run(
        ["dpkg-deb", "--field", file, "Version"], capture_output=True, text=True, check=True
    )
    assert told.stdout.strip() == "0.2.0"
    assert is_signed(file)
    info = read_signed(file, fleet.keyring)
    assert (info.version, info.compatible, info.build) == ("0.2.0", "medxz-hub-deb-amd64", "log=1/1")


def test_what_nobody_of_ours_made_is_refused(fleet: Fleet, tmp_path: Path) -> None:
    """Unsigned, by another fleet, by a key for something else, from after its key's time: none of it is taken."""
    stranger = Fleet(tmp_path / "stranger")
    late = fleet.signed("0.2.1", at=NOW + timedelta(days=31))
    for file in (fleet.deb("0.2.0"), stranger.signed("0.2.0"), late):
        with pytest.raises(BundleRefused):
            read_signed(file, fleet.keyring)
    with pytest.raises(BundleRefused):
        read_signed(fleet.signed("0.2.2", certificate=fleet.other_use), fleet.keyring)
    with pytest.raises(BundleRefused):
        read_signed(fleet.signed("0.2.2", certificate=fleet.no_use), fleet.keyring)
    with pytest.raises(BundleRefused, match="not told whose"):
        read_signed(fleet.signed("0.2.3"), tmp_path / "none.pem")


def test_what_says_it_is_of_no_kind_that_there_is(fleet: Fleet) -> None:
    """A certificate of an unknown version, a time of no zone: refused like any other, and nothing breaks."""
    der = ssl.PEM_cert_to_DER_cert(fleet.certificate.decode())
    version = bytes.fromhex("a003020102")
    assert version in der
    changed = ssl.DER_cert_to_PEM_cert(der.replace(version, version[:-1] + b"\x06"))
    for file in (
        fleet.signed("0.2.0", certificate=changed.encode()),
        fleet.signed("0.2.1", at=NOW.replace(tzinfo=None)),
    ):
        with pytest.raises(BundleRefused):
            read_signed(file, fleet.keyring)


def test_one_bit_is_another(fleet: Fleet) -> None:
    """Whichever byte of a package is changed, cut off or put behind it, it is taken no more."""
    whole = fleet.signed("0.2.0").read_bytes()
    file = fleet.folder / "changed.deb"
    for place in range(0, len(whole), 37):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        try:
            info = read_signed(file, fleet.keyring)
        except BundleRefused:
            continue
        # a certificate's text in PEM and the member's header have bytes that say nothing
        assert place > whole.index(b"_medxz-sig"), place
        assert info.version == "0.2.0"
    for changed in (whole[:-1], whole[:-100], whole + b"\n", whole + whole[8:]):
        file.write_bytes(changed)
        with pytest.raises(BundleRefused):
            read_signed(file, fleet.keyring)


def test_two_packages_are_two_slots(box: Path, fleet: Fleet) -> None:
    """The next package lies beside the one that runs, starts next once it is installed, and no more once it was given back."""
    backend = Debian(box)
    assert (backend.slots().booted.name, backend.slots().next, backend.slots().other.version) == (
        "A",
        "A",
        None,
    )
    backend.install(fleet.signed("0.2.0"), lambda _done, _total: None)
    slots = backend.slots()
    assert (slots.booted.version, slots.other.version, slots.other.starts, slots.next) == (
        "0.1.0",
        "0.2.0",
        True,
        "B",
    )
    backend.confirm()
    assert backend.slots().next == "B"  # what waits for its exchange goes on waiting
    backend.disown()
    slots = backend.slots()
    assert (slots.other.starts, slots.next) == (False, "A")


def test_without_a_way_back_nothing_is_installed(box: Path, fleet: Fleet) -> None:
    """Where the package that runs does not lie there, or is another one by now, an update is refused with what to do."""
    runs(box, "0.1.1")
    with pytest.raises(CommandFailed, match="to go back to"):
        Debian(box).install(fleet.signed("0.2.0"), lambda _done, _total: None)
    (Machine(box).folder / "A.deb").unlink()
    runs(box, "0.1.0")
    with pytest.raises(CommandFailed, match="to go back to"):
        Debian(box).install(fleet.signed("0.2.0"), lambda _done, _total: None)


def test_the_exchange(box: Path, fleet: Fleet, tmp_path: Path) -> None:
    """What is next is installed, what ran is installed again where dpkg refuses, and each counts as another run."""
    Debian(box).install(fleet.signed("0.2.0"), lambda _done, _total: None)
    before = Machine(box).boot_id()
    assert exchanged(box, tmp_path) == ["dpkg --install B.deb"]
    assert Debian(box).slots().booted.name == "B"
    assert Machine(box).boot_id() != before
    Debian(box).reject()
    assert exchanged(box, tmp_path, "B.deb") == ["dpkg --install A.deb"]
    folder = Machine(box).folder
    (folder / "next").write_text("B\n")
    assert exchanged(box, tmp_path, "B.deb") == ["dpkg --install B.deb", "dpkg --install A.deb"]
    slots = Debian(box).slots()
    assert (slots.booted.name, slots.other.starts, slots.next) == ("A", False, "A")


def test_a_version_that_can_not_say_how_it_is(box: Path, fleet: Fleet, tmp_path: Path) -> None:
    """`exchange back` makes the one before next while a version is tried, and does nothing after a version that was kept."""
    Debian(box).install(fleet.signed("0.2.0"), lambda _done, _total: None)
    exchanged(box, tmp_path)
    assert exchanged(box, tmp_path, "", "back") == []
    assert Debian(box).slots().next == "B"
    (Machine(box).folder / "trying-B").touch()
    assert exchanged(box, tmp_path, "", "back") == ["systemctl start --no-block medxz-hub-exchange.service"]
    assert Debian(box).slots().next == "A"


def exchanged(root: Path, folder: Path, refused: str = "", *arguments: str) -> list[str]:
    """A run of the script; what dpkg was asked, and systemctl for an exchange."""
    tools, asked = folder / "tools", folder / "asked"
    tools.mkdir(exist_ok=True)
    asked.write_text("")
    for name, last in {"dpkg": f'[ "$2" != "{refused}" ]', "systemctl": "true"}.items():
        (tools / name).write_text(f'#!/bin/sh\necho "{name} $*" >>{asked}\n{last}\n')
        (tools / name).chmod(0o755)
    subprocess.run(
        [EXCHANGE, *arguments],
        env={"PATH": f"{tools}:/usr/bin:/bin", "MEDXZ_UPDATE_FOLDER": str(Machine(root).folder)},
        check=True, capture_output=True,
    )  # fmt: skip
    lines = asked.read_text().splitlines()
    return [line for line in lines if line.startswith("dpkg") or line.endswith("medxz-hub-exchange.service")]
