"""`python -m firmware.deb --arch amd64`: the package, and what lintian says of it."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from firmware.deb.build import PLATFORMS, TREE, Build, epoch_of_tree, version_of_tree
from firmware.deb.packages import PACKAGES


def main() -> None:
    parser = argparse.ArgumentParser(prog="make deb", description=__doc__)
    parser.add_argument("--arch", choices=PLATFORMS, default="amd64")
    parser.add_argument("--package", choices=PACKAGES, default="medxz-hub")
    parser.add_argument("--version", default=version_of_tree(), help="of the package")
    parser.add_argument("--out", type=Path, default=TREE / "build/deb")
    parser.add_argument("--no-lintian", action="store_true", help="where it is looked at elsewhere")
    said = parser.parse_args()
    said.out.mkdir(parents=True, exist_ok=True)
    build = Build(PACKAGES[said.package], said.arch, said.version, said.out.resolve(), epoch_of_tree())
    file = build.run()
    sys.stdout.write(f"{file} ({file.stat().st_size / 1e6:.1f} MB)\n")
    if not said.no_lintian:
        told = subprocess.run(["lintian", "--allow-root", "--fail-on", "error,warning", file], check=False)
        sys.exit(told.returncode)


if __name__ == "__main__":
    main()
