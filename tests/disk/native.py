"""SQLite's file system interface (sqlite3.h) in the library that sqlcipher3 brings, as ctypes sees it."""

from __future__ import annotations

import ctypes
import importlib.util
from typing import Any, Final

OK: Final = 0
FULL: Final = 13
CANTOPEN: Final = 14
IOERR_WRITE: Final = 778
IOERR_FSYNC: Final = 1_034
IOERR_TRUNCATE: Final = 1_546
IOERR_DELETE: Final = 2_570

OPEN_CREATE: Final = 0x4
# journal, super-journal and write-ahead log: the unix VFS syncs the folder too when one of them is synced first
OPEN_JOURNALS: Final = 0x800 | 0x4000 | 0x80000

_P, _I, _L = ctypes.c_void_p, ctypes.c_int, ctypes.c_int64
# what waits for the disk or for a lock of the library lets other threads run meanwhile; a write to the page cache
# does not: giving the interpreter up and asking for it again would take longer
CLOSE: Final = ctypes.CFUNCTYPE(_I, _P)
SYNC: Final = ctypes.CFUNCTYPE(_I, _P, _I)
WRITE: Final = ctypes.CFUNCTYPE(_I, _P, _P, _I, _L)
WRITE_NATIVE: Final = ctypes.PYFUNCTYPE(_I, _P, _P, _I, _L)
READ_NATIVE: Final = ctypes.PYFUNCTYPE(_I, _P, _P, _I, _L)
TRUNCATE: Final = ctypes.CFUNCTYPE(_I, _P, _L)
TRUNCATE_NATIVE: Final = ctypes.PYFUNCTYPE(_I, _P, _L)
SIZE_NATIVE: Final = ctypes.PYFUNCTYPE(_I, _P, ctypes.POINTER(_L))
OPEN: Final = ctypes.CFUNCTYPE(_I, _P, _P, _P, _I, _P)
DELETE: Final = ctypes.CFUNCTYPE(_I, _P, _P, _I)

METHODS: Final = (
    "close read write truncate sync size"
    " lock unlock check_reserved control sector_size characteristics shm_map shm_lock shm_barrier shm_unmap fetch unfetch"
).split()


class Methods(ctypes.Structure):
    """sqlite3_io_methods"""

    _fields_ = [
        ("version", _I),
        *((name, _P) for name in METHODS),
    ]


class File(ctypes.Structure):
    """sqlite3_file"""

    _fields_ = [("methods", ctypes.POINTER(Methods))]


class Vfs(ctypes.Structure):
    """sqlite3_vfs"""

    _fields_ = [
        ("version", _I),
        ("file_bytes", _I),
        ("path_max", _I),
        ("next", _P),
        ("name", ctypes.c_char_p),
        ("app_data", _P),
        ("open", _P),
        ("delete", _P),
        *((f"untouched{number}", _P) for number in range(14)),
    ]


def library() -> Any:
    """The one SQLite of this process."""
    spec = importlib.util.find_spec("sqlcipher3._sqlite3")
    assert spec is not None
    assert spec.origin is not None
    loaded = ctypes.CDLL(spec.origin)
    loaded.sqlite3_initialize()
    loaded.sqlite3_vfs_find.restype = ctypes.POINTER(Vfs)
    loaded.sqlite3_vfs_find.argtypes = [ctypes.c_char_p]
    loaded.sqlite3_vfs_register.argtypes = [ctypes.POINTER(Vfs), _I]
    return loaded


def address(function: Any) -> int:
    found = ctypes.cast(function, _P).value
    assert found is not None
    return found
