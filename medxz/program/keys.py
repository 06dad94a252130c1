"""The key of the store: 32 bytes in a file beside the data, which is worth nothing without them.

Every other private key lies inside the encrypted store. Refused: a key file that others may read, one that is
not 64 hex digits, and making a key over one that is there.
"""

from __future__ import annotations

import os
import re
import secrets
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from medxz.program.errors import CommandFailed
from medxz.store.durable import write_new

KEY_BYTES: Final = 32
_HEX: Final = re.compile(rb"[0-9a-fA-F]{64}\s*")
_FILE_BYTES_MAX: Final = 128


def read_key(file: Path, environ: Mapping[str, str]) -> bytes:
    """The key in a file. systemd's credentials are exempt from the check of the mode: their directory guards them."""
    try:
        with file.open("rb") as opened:
            text = opened.read(_FILE_BYTES_MAX)
            mode = stat.S_IMODE(os.fstat(opened.fileno()).st_mode)
    except FileNotFoundError:
        raise CommandFailed(
            f"there is no key file {file}", "bring back the copy of the key, or name it with --key-file"
        ) from None
    except OSError as error:
        raise CommandFailed(
            f"the key file {file} can't be read: {error.strerror}", "run this as the user whose file it is"
        ) from None
    if mode & 0o077 and not _is_credential(file, environ):
        raise CommandFailed(f"the key file {file} is open to others (mode {mode:04o})", f"chmod 600 {file}")
    if _HEX.fullmatch(text) is None:
        raise CommandFailed(
            f"{file} is not a key file: it must hold 64 hex digits", "name the right one with --key-file"
        )
    return bytes.fromhex(text.decode("ascii"))


def has_content(file: Path) -> bool:
    """Whether there is a key, or what is meant for one. Somebody else's tool may have left a file without its content."""
    return file.exists() and file.stat().st_size > 0


def make_key(file: Path) -> bytes:
    """A new key in a new file of mode 0600, on the disk before anything is encrypted with it."""
    key = secrets.token_bytes(KEY_BYTES)
    try:
        if file.exists() and not has_content(file):
            file.unlink()
        write_new(file, key.hex().encode() + b"\n")
    except OSError as error:
        raise CommandFailed(
            f"the key file {file} can't be made: {error.strerror}", "name another place with --key-file"
        ) from None
    return key


def _is_credential(file: Path, environ: Mapping[str, str]) -> bool:
    folder = environ.get("CREDENTIALS_DIRECTORY")
    return bool(folder) and file.parent == Path(folder or "")
