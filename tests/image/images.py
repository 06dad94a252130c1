"""The images that tests boot, and others made from them in a second: another version, one that is broken, one altered.

`make test-image` makes the images first. A variant is the same slot with a file changed in it, without mounting it.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Final

from tests.image.machine import STICK, run

ROOT: Final = Path(__file__).resolve().parents[2]
IMAGES: Final = Path(os.environ.get("MEDXZ_IMAGES", ROOT / "build" / "image"))
KEYS: Final = Path(os.environ.get("MEDXZ_IMAGE_KEYS", IMAGES / "keys"))
DESCRIPTION: Final = "/usr/lib/medxz-hub/image.json"


def folder(arch: str) -> Path:
    return IMAGES / arch


def disk(arch: str) -> Path:
    """What is written to a card."""
    found = sorted(folder(arch).glob(f"medxz-hub-*-{arch}.img"), key=lambda path: path.stat().st_mtime)
    assert found, f"no image in {folder(arch)}: make image ARCH={arch}"
    return found[-1]


def slot(arch: str) -> Path:
    return folder(arch) / "rootfs.ext4"


def described(arch: str) -> dict[str, str]:
    told: dict[str, str] = json.loads(text(arch, DESCRIPTION))
    return told


def changed(arch: str, out: Path, version: str, *, without: str | None = None) -> Path:
    """A copy of the slot's image that calls itself `version`; one file may be missing from it."""
    run("cp", "--sparse=always", slot(arch), out)
    description = out.with_suffix(".json")
    description.write_text(json.dumps(described(arch) | {"version": version}))
    edit(out, f"rm {DESCRIPTION}", f"write {description} {DESCRIPTION}")
    if without is not None:
        assert "File not found" not in run("debugfs", "-R", f"stat {without}", out).stderr, without
        edit(out, f"rm {without}")
    return out


def edit(image: Path, *commands: str) -> None:
    for command in commands:
        told = run("debugfs", "-w", "-R", command, image).stderr.splitlines()[1:]
        assert not told, f"{command}: {told}"


def names(arch: str, place: str) -> set[str]:
    """What lies in a folder of the slot."""
    listed = run("debugfs", "-R", f"ls -p {place}", slot(arch)).stdout
    return {line.split("/")[5] for line in listed.splitlines() if line.startswith("/")} - {".", ".."}


def text(arch: str, place: str) -> str:
    return run("debugfs", "-R", f"cat {place}", slot(arch)).stdout


def bundle(image: Path, out: Path, version: str, arch: str = "amd64", keys: Path = KEYS) -> Path:
    """A signed update of this slot's image."""
    run(
        ROOT / "firmware/rauc/make-bundle", "--root", image, "--arch", arch, "--version", version, "--keys", keys,
        "--out", out, seconds=900,
    )  # fmt: skip
    return out


def stick(out: Path, *bundles: Path) -> Path:
    """A FAT stick with these on it, as an administrator carries it to the box."""
    size = sum(bundle.stat().st_size for bundle in bundles)
    with out.open("wb") as file:
        file.truncate((size * 11 // 10 // 2**20 + 64) * 2**20)
    run("mkfs.vfat", "-F", "32", "-n", STICK, out)
    run("mcopy", "-i", out, *bundles, "::/")
    return out
