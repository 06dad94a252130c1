"""The key of a device's store: a file beside the store.

Refused: a key file inside the store that it opens, one that others may read or write, and an empty one.
"""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

from medxz.device.store.file import DATABASE
from medxz.errors import ConfigurationError, StoreKeyWrong
from medxz.store.durable import make_directory, write_new

_BYTES_MAX = 4_096


def key_file_of(store: Path, key_file: Path | None) -> Path:
    store = store.absolute()
    file = (key_file or store.with_name(store.name + ".key")).absolute()
    if file.resolve().is_relative_to(store.resolve()):
        raise ConfigurationError(
            [f"the key file {file} must lie outside {store}: who takes that has the key"]
        )
    return file


def read_key(store: Path, key_file: Path | None) -> str:
    """What the file says: 64 hex digits, or a passphrase."""
    file = key_file_of(store, key_file)
    try:
        with file.open("rb") as opened:
            mode = stat.S_IMODE(os.fstat(opened.fileno()).st_mode)
            text = opened.read(_BYTES_MAX).decode().strip()
    except (FileNotFoundError, UnicodeDecodeError):
        raise StoreKeyWrong(f"{file} is no key file") from None
    if mode & 0o077:
        refused = StoreKeyWrong(f"the key file {file} is open to others (mode {mode:04o})")
        refused.hint = f"chmod 600 {file}"
        raise refused
    if not text:
        raise StoreKeyWrong(f"the key file {file} is empty")
    return text


def read_or_make_key(store: Path, key_file: Path | None) -> str:
    """A new key for a store that is not there yet, on the disk before anything is encrypted with it."""
    file = key_file_of(store, key_file)
    if (store / DATABASE).exists() or (file.exists() and file.stat().st_size > 0):
        return read_key(store, key_file)
    file.unlink(missing_ok=True)  # an older version's, left by a power cut without its content
    make_directory(file.parent)
    write_new(file, f"{secrets.token_hex(32)}\n".encode())
    return read_key(store, key_file)
