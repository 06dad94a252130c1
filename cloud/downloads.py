"""A file of the cloud's, handed out piece by piece: a worker reads, so that nobody waits for its disk."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from medxz import limits
from medxz.service.download import Download

if TYPE_CHECKING:
    from medxz.work import Worker

_SENT_BYTES: Final = 128 * limits.KIB


def download_of(file: Path, size: int, worker: Worker) -> Download:
    """`size` is what it had when it was looked for: whoever counts its bytes notices that it was removed since."""

    async def pieces(start: int, end: int) -> AsyncGenerator[bytes, None]:
        while start < end:
            piece = await worker.run(_piece, file, start, min(_SENT_BYTES, end - start))
            if not piece:
                return
            yield piece
            start += len(piece)

    return Download(size, pieces)


def _piece(file: Path, start: int, count: int) -> bytes:
    try:
        with file.open("rb") as opened:
            return os.pread(opened.fileno(), count, start)
    except OSError:
        return b""
