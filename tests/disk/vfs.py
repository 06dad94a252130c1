"""A VFS over SQLite's own for unix: what changes a file of a watched folder passes through Python, all else does not.

Reads, locks and shared memory stay SQLite's own, and so does every file outside of the watched folders. It can't be
taken away again: connections point into it until their process ends.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

from tests.disk import native

_NAME: Final = b"medxz-disk"


class Opened(Protocol):
    """A file of SQLite's that is open. Each answers with what SQLite is to be told; 0: go on."""

    def writing(self, offset: int, data: bytes) -> int: ...
    def truncating(self, size: int) -> int: ...
    def syncing(self, sync: Callable[[], int]) -> int: ...
    def closed(self) -> None: ...


class Watcher(Protocol):
    """Who is told. `opening` and `deleting` call what does it."""

    def opening(
        self, path: str, flags: int, act: Callable[[], int], content: Callable[[], bytes]
    ) -> tuple[int, Opened | None]: ...
    def deleting(self, path: str, sync_folder: bool, act: Callable[[], int]) -> int: ...
    def broke(self, error: BaseException) -> None: ...


@dataclass(slots=True)
class _Handle:
    opened: Opened
    table: _Table


@dataclass(frozen=True, slots=True)
class _Table:
    """A table of methods in which some lead through us, and the native ones."""

    patched: native.Methods
    close: Any
    read: Any
    write: Any
    truncate: Any
    sync: Any
    size: Any


class Interposed:
    """The VFS. As long as it is the default one, each file that SQLite opens comes by here."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher: Final = watcher
        self._handles: dict[int, _Handle] = {}
        self._tables: dict[int, _Table] = {}
        library = native.library()
        base = library.sqlite3_vfs_find(None)
        self._vfs = native.Vfs.from_buffer_copy(base.contents)
        self._vfs.name = _NAME
        self._native_open = native.OPEN(base.contents.open)
        self._native_delete = native.DELETE(base.contents.delete)
        # kept: SQLite has only their addresses
        self._callbacks = {
            "close": native.CLOSE(self._guarded(self._close, native.OK)),
            "write": native.WRITE(self._guarded(self._write, native.IOERR_WRITE)),
            "truncate": native.TRUNCATE(self._guarded(self._truncate, native.IOERR_TRUNCATE)),
            "sync": native.SYNC(self._guarded(self._sync, native.IOERR_FSYNC)),
        }
        self._vfs_callbacks = (
            native.OPEN(self._guarded(self._open, native.CANTOPEN)),
            native.DELETE(self._guarded(self._delete, native.IOERR_DELETE)),
        )
        self._vfs.open, self._vfs.delete = map(native.address, self._vfs_callbacks)
        assert library.sqlite3_vfs_register(ctypes.byref(self._vfs), 1) == native.OK
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self))

    def _guarded(self, act: Callable[..., int], failed: int) -> Callable[..., int]:
        """An exception can't pass through SQLite: it is handed over, and SQLite is told of a broken disk."""

        def call(*arguments: Any) -> int:
            try:
                return act(*arguments)
            except BaseException as error:  # noqa: BLE001 - the root of what SQLite calls
                self._watcher.broke(error)
                return failed

        return call

    def _open(self, vfs: int, name: int | None, file: int, flags: int, out_flags: int | None) -> int:
        if name is None:  # a temporary file
            return int(self._native_open(vfs, name, file, flags, out_flags))
        path = ctypes.string_at(name).decode()
        code, opened = self._watcher.opening(
            path,
            flags,
            lambda: self._native_open(vfs, name, file, flags, out_flags),
            lambda: self._content(file),
        )
        if code == native.OK and opened is not None:
            made = native.File.from_address(file)
            table = self._table(native.address(made.methods))
            self._handles[file] = _Handle(opened, table)
            made.methods = ctypes.pointer(table.patched)
        return code

    def _table(self, place: int) -> _Table:
        if (table := self._tables.get(place)) is None:
            own = native.Methods.from_address(place)
            patched = native.Methods.from_buffer_copy(own)
            for name, callback in self._callbacks.items():
                setattr(patched, name, native.address(callback))
            self._tables[place] = table = _Table(
                patched,
                native.CLOSE(own.close),
                native.READ_NATIVE(own.read),
                native.WRITE_NATIVE(own.write),
                native.TRUNCATE_NATIVE(own.truncate),
                native.SYNC(own.sync),
                native.SIZE_NATIVE(own.size),
            )
        return table

    def _content(self, file: int) -> bytes:
        """What is in it, through its own handle: closing another one would drop the process's locks on the file."""
        table = self._table(native.address(native.File.from_address(file).methods))
        size = ctypes.c_int64()
        assert table.size(file, ctypes.byref(size)) == native.OK
        held = ctypes.create_string_buffer(size.value)
        if size.value:
            assert table.read(file, held, size.value, 0) == native.OK
        return held.raw

    def _close(self, file: int) -> int:
        handle = self._handles.pop(file)
        code = int(handle.table.close(file))
        handle.opened.closed()
        return code

    def _write(self, file: int, data: int, count: int, offset: int) -> int:
        handle = self._handles[file]
        code = handle.opened.writing(offset, ctypes.string_at(data, count))
        return code or int(handle.table.write(file, data, count, offset))

    def _truncate(self, file: int, size: int) -> int:
        handle = self._handles[file]
        return handle.opened.truncating(size) or int(handle.table.truncate(file, size))

    def _sync(self, file: int, flags: int) -> int:
        handle = self._handles[file]
        return handle.opened.syncing(lambda: handle.table.sync(file, flags))

    def _delete(self, vfs: int, name: int, sync_folder: int) -> int:
        path = ctypes.string_at(name).decode()
        return self._watcher.deleting(
            path, bool(sync_folder), lambda: self._native_delete(vfs, name, sync_folder)
        )
