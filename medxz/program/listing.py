"""Lists as commands give them: a page at a time, and for people a line each, in columns."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Any

import click

from medxz import limits
from medxz.errors import Invalid

limit_option = click.option(
    "--limit",
    type=click.IntRange(1, limits.LIST_PAGE_MAX),
    default=limits.LIST_PAGE_DEFAULT,
    show_default=True,
    help="How many at most.",
)
cursor_option = click.option("--cursor", help="Where to go on: the next_cursor of the page before.")


def page(
    name: str, rows: Sequence[dict[str, Any]], key: str, limit: int, cursor: str | None
) -> dict[str, Any]:
    """A page of rows that have their order by this key, as every list is answered."""
    after = read_cursor(cursor)
    left = sorted((row for row in rows if after is None or row[key] > after), key=lambda row: row[key])
    shown = left[:limit]
    more = len(left) > limit
    return {name: shown, "next_cursor": make_cursor(shown[-1][key]) if more else None}


def table(rows: Sequence[dict[str, Any]], *columns: str) -> str:
    """For people: a line each, in columns."""
    cells = [[_cell(row.get(column)) for column in columns] for row in rows]
    if not cells:
        return "none"
    widths = [max(len(row[place]) for row in [list(columns), *cells]) for place in range(len(columns))]
    lines = [list(columns), *cells]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in lines
    )


def more_text(answer: dict[str, Any]) -> str:
    return f"\nmore: --cursor {answer['next_cursor']}" if answer["next_cursor"] else ""


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    return "-" if value is None else str(value)


def make_cursor(key: str) -> str:
    return base64.urlsafe_b64encode(key.encode()).rstrip(b"=").decode()


def read_cursor(cursor: str | None) -> str | None:
    if cursor is None:
        return None
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        return base64.b64decode(padded, altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeDecodeError, ValueError):
        raise Invalid("--cursor is not one that a list gave", field="cursor") from None
