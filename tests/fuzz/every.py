"""Every surface, by its name."""

from __future__ import annotations

from typing import Final

from tests.fuzz.surface import Surface
from tests.fuzz.surfaces import codings, cursors, http, lan, lines, merging, messages, ops, tokens, typed

SURFACES: Final[dict[str, Surface]] = {
    surface.name: surface
    for module in (ops, cursors, tokens, messages, codings, lines, lan, typed, http, merging)
    for surface in module.SURFACES
}
