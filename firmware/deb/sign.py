"""`python -m firmware.deb.sign --keys DIR FILE.deb …`: packages that boxes take as updates, and beside each what it is.

DIR is what firmware/rauc/make-keys made. A package stays the one that it was, with a signature behind it (hub/update/package.py);
FILE.deb.json is what `medxz-cloud release add` wants. Signed a second time it is refused.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tarfile
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from hub.update.machine import Image
from hub.update.package import is_signed, sign

TOLD = "./usr/lib/medxz-hub/package.json"


def main() -> None:
    parser = argparse.ArgumentParser(prog="firmware.deb.sign", description=__doc__)
    parser.add_argument("--keys", type=Path, required=True)
    parser.add_argument("files", type=Path, nargs="+")
    said = parser.parse_args()
    for file in said.files:
        told = signed(file, said.keys)
        sys.stdout.write(f"{file}: {told['compatible']} {told['version']}\n")


def signed(file: Path, keys: Path) -> dict[str, str | int]:
    """Sign it where it lies; what stands beside it then."""
    if is_signed(file):
        raise SystemExit(f"{file} is signed already")
    key = load_pem_private_key((keys / "signing.key.pem").read_bytes(), None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise SystemExit(f"{keys}/signing.key.pem is none of make-keys'")
    content = told_in(file)
    image = Image.model_validate_json(content)
    said = {
        "version": image.version,
        "compatible": image.compatible,
        "build": str(json.loads(content)["schemas"]),
    }
    at = datetime.now(UTC).isoformat()
    sign(file, {**said, "at": at}, (keys / "signing.pem").read_bytes(), key)
    beside: dict[str, str | int] = {
        "version": image.version, "compatible": image.compatible, "size": file.stat().st_size,
        "sha256": hashlib.sha256(file.read_bytes()).hexdigest(), "schemas": said["build"],
    }  # fmt: skip
    file.with_name(file.name + ".json").write_text(json.dumps(beside) + "\n")
    return beside


def told_in(file: Path) -> bytes:
    """The package.json inside a package."""
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", file], stdout=subprocess.PIPE) as unpacking:
        assert unpacking.stdout is not None
        content = _member(unpacking.stdout)
        while unpacking.stdout.read(1 << 20):
            pass  # to its end, so that it ends well
    if content is None:
        raise SystemExit(f"{file} is no package of a hub that updates itself")
    return content


def _member(stream: IO[bytes]) -> bytes | None:
    with tarfile.open(fileobj=stream, mode="r|") as packed:
        for member in packed:
            if member.name == TOLD and (opened := packed.extractfile(member)) is not None:
                return opened.read()
    return None


if __name__ == "__main__":
    main()
