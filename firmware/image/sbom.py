#!/usr/bin/env python3
"""What an image is made of, as CycloneDX 1.5: Debian's packages, those only unpacked, and the wheels of the hub.

It reads the root directory that was built, not lists of what was asked for; the same root gives the same bytes.
"""

from __future__ import annotations

import argparse
import json
import os
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from email.parser import HeaderParser
from pathlib import Path
from urllib.parse import quote

NAMESPACE = uuid.UUID("6d65647a-0000-4000-8000-000000000003")
Component = dict[str, object]


def debian(name: str, version: str, architecture: str) -> Component:
    place = f"pkg:deb/debian/{quote(name)}@{quote(version, safe='')}?arch={architecture}"
    return {"type": "library", "name": name, "version": version, "purl": place, "bom-ref": place}


def installed(root: Path) -> Iterator[Component]:
    for line in (root / "usr/share/medxz-image/installed").read_text("utf-8").splitlines():
        name, version, architecture, _source = line.split("\t")
        yield debian(name, version, architecture)


def unpacked(root: Path) -> Iterator[Component]:
    """Kernel, firmware, boot loader: they lie in the image, and dpkg does not know of them."""
    architecture = json.loads((root / "usr/lib/medxz-hub/image.json").read_text("utf-8"))["arch"]
    lines = (root / "usr/share/medxz-image/unpacked").read_text("utf-8").splitlines()
    for name, version in zip(lines[::2], lines[1::2], strict=True):
        yield debian(name.removeprefix("Package: "), version.removeprefix("Version: "), architecture)


def wheels(root: Path) -> Iterator[Component]:
    for metadata in (root / "usr/lib/medxz-hub").rglob("*.dist-info/METADATA"):
        told = HeaderParser().parsestr(metadata.read_text("utf-8"))
        name, version = str(told["Name"]), str(told["Version"])
        place = f"pkg:pypi/{quote(name.lower())}@{quote(version)}"
        component: Component = {
            "type": "library",
            "name": name,
            "version": version,
            "purl": place,
            "bom-ref": place,
        }
        if licence := told["License-Expression"]:
            component["licenses"] = [{"expression": str(licence)}]
        yield component


def document(root: Path, name: str, version: str, built: datetime) -> dict[str, object]:
    components = {str(part["purl"]): part for part in (*installed(root), *unpacked(root), *wheels(root))}
    listed = [components[place] for place in sorted(components)]
    told = json.dumps([name, version, listed], sort_keys=True)
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": f"urn:uuid:{uuid.uuid5(NAMESPACE, told)}",
        "version": 1,
        "metadata": {
            "timestamp": built.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "component": {"type": "operating-system", "name": name, "version": version, "bom-ref": name},
        },
        "components": listed,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("root", type=Path)
    parser.add_argument("--name", required=True)
    parser.add_argument("--version", required=True)
    given = parser.parse_args()
    built = datetime.fromtimestamp(int(os.environ.get("SOURCE_DATE_EPOCH", "0")), UTC)
    print(json.dumps(document(given.root, given.name, given.version, built), indent=1))


if __name__ == "__main__":
    main()
