"""`make test-image`: both images made and booted, the one for a PC and the one for a Pi beside each other.

Everything that was made lies under build/image/; `--no-build` takes what is there.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from firmware.deb.build import version_of_tree
from tests.image.images import IMAGES, ROOT

ARCHES: Final = ("amd64", "arm64")
CORES_OF_TWO: Final = 4
BOXES: Final = {"amd64": 2 if (os.cpu_count() or 1) >= CORES_OF_TWO else 1, "arm64": 1}
"""At once. Of a PC one that works and one that is updated, or one that does both: emulated machines are slow on few cores."""


def step(what: str, command: list[object], environment: dict[str, str]) -> bool:
    begun = time.monotonic()
    ended = subprocess.run([*map(str, command)], cwd=ROOT, env=os.environ | environment, check=False)
    sys.stdout.write(
        f"{what}: {time.monotonic() - begun:.0f} s{'' if ended.returncode == 0 else ', FAILED'}\n"
    )
    sys.stdout.flush()
    return ended.returncode == 0


def made(arch: str, keys: Path) -> bool:
    """The package, and the image with it."""
    version = version_of_tree()
    package = ROOT / f"build/deb/medxz-hub_{version}_{arch}.deb"
    told = {
        "VERSION": version,
        "KEYRING": str(keys / "keyring.pem"),
        "ONLY": "" if arch == "arm64" else "disk",
    }
    build = [sys.executable, "-m", "firmware.deb", "--arch", arch, "--no-lintian"]
    return step(f"package for {arch}", [*build], {}) and step(
        f"image for {arch}", [ROOT / "firmware/make-image", arch, package, IMAGES / arch], told
    )


def tested(arch: str, keys: Path, more: list[str]) -> bool:
    told = {"MEDXZ_IMAGE_KEYS": str(keys), "MEDXZ_IMAGE_ARCH": arch}
    # beside the image: what is left of a failure is not cleared away by the next pytest of anybody
    command = [sys.executable, "-m", "pytest", "tests/image", "-m", "image", "-p", "no:cacheprovider"]
    command += ["--basetemp", str(IMAGES / arch / "tests"), f"-n{BOXES[arch]}", "--dist", "loadgroup", *more]
    return step(f"tests of {arch}", [*command], told)


def main() -> int:
    parser = argparse.ArgumentParser(prog="make test-image", description=__doc__)
    parser.add_argument("--keys", type=Path, required=True, help="what firmware/rauc/make-keys made")
    parser.add_argument("--arch", choices=ARCHES, action="append", help="this one alone")
    parser.add_argument("--no-build", action="store_true", help="the images are there")
    said, more = parser.parse_known_args()

    def all_of(arch: str) -> bool:
        return (said.no_build or made(arch, said.keys)) and tested(arch, said.keys, more)

    begun = time.monotonic()
    with ThreadPoolExecutor(len(ARCHES)) as beside_each_other:
        results = list(beside_each_other.map(all_of, said.arch or ARCHES))
    sys.stdout.write(
        f"test-image: {'all held' if all(results) else 'FAILED'}, {time.monotonic() - begun:.0f} s\n"
    )
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
