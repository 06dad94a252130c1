"""Origins of pages, as a setting: scheme, host and port, exactly as a browser sends them."""

from __future__ import annotations

import re
from typing import Annotated, Final

from pydantic import AfterValidator, BeforeValidator

_ORIGIN: Final = re.compile(r"https?://(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.-]+)(:[0-9]{1,5})?")


def is_origin(text: str) -> bool:
    return _ORIGIN.fullmatch(text) is not None


def _split(value: object) -> object:
    """The environment and a credential have one text for all of them."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _checked(value: tuple[str, ...]) -> tuple[str, ...]:
    for origin in value:
        if not is_origin(origin):
            raise ValueError(f"{origin!r} is not an origin: scheme, host and port, as https://app.example")
    return value


Origins = Annotated[tuple[str, ...], BeforeValidator(_split), AfterValidator(_checked)]
