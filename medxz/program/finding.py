"""What looking into a server's state finds: a thing, whether it is well, and what to do where it is not."""

from __future__ import annotations

import shutil
import stat
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from medxz import limits
from medxz.program.errors import CommandFailed
from medxz.program.keys import read_key
from medxz.program.places import Places


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked into."""

    name: str
    ok: bool
    detail: str
    hint: str = ""

    def told(self) -> dict[str, Any]:
        return asdict(self)


def lines_of(findings: list[Finding]) -> str:
    """For people: a line each, and a second one where there is something to do."""
    return "\n".join(
        f"{'ok ' if finding.ok else 'BAD'}  {finding.name}: {finding.detail}"
        + ("" if finding.ok else f"\n     do: {finding.hint}")
        for finding in findings
    )


def find_directory(places: Places, how_to_make: str) -> Finding:
    name = "directory"
    if not places.data.is_dir():
        return Finding(name, ok=False, detail=f"there is no {places.data}", hint=how_to_make)
    mode = stat.S_IMODE(places.data.stat().st_mode)
    if mode & 0o022:
        detail = f"{places.data} can be changed by others (mode {mode:04o})"
        return Finding(name, ok=False, detail=detail, hint=f"chmod 700 {places.data}")
    return Finding(name, ok=True, detail=f"{places.data}, mode {mode:04o}")


def find_key(places: Places, environ: Mapping[str, str]) -> Finding:
    try:
        read_key(places.key_file, environ)
    except CommandFailed as error:
        return Finding("key file", ok=False, detail=str(error), hint=error.hint)
    return Finding("key file", ok=True, detail=f"{places.key_file}, closed to others")


def find_space(places: Places, noun: str) -> Finding:
    folder = next(path for path in (places.data, *places.data.parents) if path.exists())
    free = shutil.disk_usage(folder).free
    detail = f"{free // limits.MIB} MiB are free"
    if free < limits.DISK_FREE_BYTES_MIN:
        least = limits.DISK_FREE_BYTES_MIN // limits.MIB
        hint = f"make room: below {least} MiB a {noun} is about to stop taking ops"
        return Finding("disk", ok=False, detail=detail, hint=hint)
    return Finding("disk", ok=True, detail=detail)
