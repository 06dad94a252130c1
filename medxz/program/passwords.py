"""Passwords as commands take them: from a file or the standard input, never as an argument, which every user of the machine
could read.
"""

from __future__ import annotations

from typing import Final

import click

from medxz import limits
from medxz.errors import Invalid

PASSWORD_BYTES_MAX: Final = 4 * limits.KIB

password_option = click.option(
    "--password-file",
    required=True,
    help="A file with the password on its first line; -: the standard input.",
)


def read_password(file: str) -> str:
    """The first line of it; no password is ever an argument, which every user of the machine could read."""
    try:
        with click.open_file(file, "rb") as opened:
            text = opened.read(PASSWORD_BYTES_MAX + 1)
    except OSError as error:
        raise Invalid(f"{file}: {error.strerror}; name a file with the password", field="password") from None
    line: bytes = text.partition(b"\n")[0].removesuffix(b"\r")
    if len(text) > PASSWORD_BYTES_MAX or not line:
        where = "the standard input" if file == "-" else file
        raise Invalid(f"{where} has no password on its first line", field="password")
    try:
        return line.decode()
    except UnicodeDecodeError:
        raise Invalid("the password is not UTF-8", field="password") from None
