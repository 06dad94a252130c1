"""What boxes are updated to: the package that was built, as if it were another version, good or bad."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

from firmware.deb.sign import signed

# it is started, and gives up
BAD = """#!/bin/sh
[ "$1" = run ] && exit 1
exec /usr/lib/medxz-hub/bin/python -I -m hub "$@"
"""


def other_version(package: Path, version: str, keys: Path, folder: Path, *, is_bad: bool = False) -> Path:
    """Signed, and with what `medxz-cloud release add` wants beside it."""
    unpacked, made = folder / f"unpacked-{version}", folder / f"medxz-hub_{version}_amd64.deb"
    folder.mkdir(exist_ok=True)
    subprocess.run(["dpkg-deb", "--raw-extract", package, unpacked], check=True)
    edit(unpacked / "DEBIAN/control", r"(?m)^Version: .*$", f"Version: {version}")
    home = unpacked / "usr/lib/medxz-hub"
    told: dict[str, Any] = json.loads((home / "package.json").read_text())
    (home / "package.json").write_text(json.dumps(told | {"version": version}) + "\n")
    [metadata] = home.glob("lib/python3*/site-packages/medxz_hub-*.dist-info/METADATA")
    edit(metadata, r"(?m)^Version: .*$", f"Version: {version}")
    if is_bad:
        (home / "bin/medxz-hub").write_text(BAD)
    subprocess.run(
        ["dpkg-deb", "--root-owner-group", "-Znone", "--build", unpacked, made],
        check=True,
        capture_output=True,
    )
    signed(made, keys)
    return made


def edit(file: Path, pattern: str, text: str) -> None:
    file.write_text(re.sub(pattern, text, file.read_text("utf-8"), count=1))
