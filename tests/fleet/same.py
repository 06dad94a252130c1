"""What a box has become, as far as it should be the same however it was made into a hub."""

from __future__ import annotations

import re
import subprocess
from typing import Any, Final

from tests.appliance.test_units import EXPOSURE_MAX
from tests.fleet.boxes import Box

UNIT: Final = "medxz-hub.service"
# made by a hub as it goes: there on one box and not yet on another
_PASSING: Final = re.compile(r"-wal$|-shm$|\.bak$|/notes?/|views|hub\.update|cache")


def result(box: Box) -> dict[str, Any]:
    """By name: who it runs as, what starts by itself, who may read what, what it listens on, how closed off it is."""
    return {
        "user": box.run("getent", "passwd", "medxz").stdout.strip(),
        "starts by itself": enabled(box),
        "modes": modes(box),
        "settings": box.run("grep", "-v", "^#", "/etc/medxz/hub.toml").stdout,
        "ports": ports(box),
        "is closed off": exposure(box) <= EXPOSURE_MAX,
    }


def enabled(box: Box) -> set[str]:
    told = box.run("systemctl", "list-unit-files", "--state=enabled", "--plain", "--no-legend", "medxz*")
    return {line.split()[0] for line in told.stdout.splitlines()}


def modes(box: Box) -> dict[str, str]:
    """Of what holds records, keys or settings."""
    found = box.run("find", "/var/lib/medxz", "/etc/medxz", "-printf", "%p %M %u:%g\\n").stdout
    told = dict(line.split(" ", 1) for line in found.splitlines())
    return {path: mode for path, mode in told.items() if not _PASSING.search(path)}


def ports(box: Box) -> set[str]:
    """Where anything on it listens to others."""
    told = subprocess.run(
        box.host.command("ss", "-Hlntu"), capture_output=True, text=True, check=True
    ).stdout.splitlines()
    places = [(line.split()[0], line.split()[4]) for line in told]
    return {
        f"{kind} {place.rpartition(':')[2]}"
        for kind, place in places
        if not place.startswith(("127.", "[::1]"))
    }


def exposure(box: Box) -> float:
    """By the box's own systemd, of the unit as it is loaded there."""
    told = box.run("systemd-analyze", "security", "--no-pager", UNIT, check=False).stdout
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", told)
    assert found is not None, told
    return float(found[1])
