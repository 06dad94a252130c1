"""What is true of an image before it was ever started: the same from the same, and nothing in it that is not meant to be."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

from firmware.deb.build import version_of_tree
from tests.image import images


def test_two_builds_give_the_same_root(tmp_path: Path) -> None:
    """Who builds the same tree from the same packages gets the same root, bit by bit."""
    version = version_of_tree()
    told = os.environ | {
        "ONLY": "root",
        "VERSION": version,
        "KEYRING": str(images.KEYS / "keyring.pem"),
        "PACKAGES": str(images.folder("amd64") / "packages"),
    }
    package = images.ROOT / f"build/deb/medxz-hub_{version}_amd64.deb"
    subprocess.run([images.ROOT / "firmware/make-image", "amd64", package, tmp_path], env=told, check=True)
    again = (tmp_path / "rootfs.ext4.sha256").read_text()
    assert again == (images.folder("amd64") / "rootfs.ext4.sha256").read_text()


def test_no_image_carries_what_must_be_its_own() -> None:
    """No key of a host, no identity and no mirror of who built it lies in the root."""
    assert not {name for name in images.names("amd64", "/etc/ssh") if name.startswith("ssh_host")}
    assert images.text("amd64", "/etc/machine-id") == ""
    assert "sources.list" not in images.names("amd64", "/etc/apt")
    assert images.names("amd64", "/etc/apt/sources.list.d") == set()
    assert images.names("amd64", "/var") == set()


def test_the_bill_of_materials_names_what_is_in_it() -> None:
    """The SBOM has Debian's packages, the kernel that was only unpacked, and the wheels of the hub, each with its version."""
    told = json.loads((images.folder("amd64") / "sbom.cdx.json").read_text())
    places = {component["purl"].partition("@")[0] for component in told["components"]}
    assert {"pkg:deb/debian/rauc", "pkg:deb/debian/systemd", "pkg:deb/debian/medxz-hub"} <= places
    assert any(place.startswith("pkg:deb/debian/linux-image-") for place in places)
    assert {"pkg:pypi/aiohttp", "pkg:pypi/sqlcipher3"} <= places
    assert all(component["version"] for component in told["components"])
