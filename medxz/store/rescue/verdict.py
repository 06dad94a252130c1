"""Whether a write-ahead log that was left behind is whole, was torn by a power cut, or is damaged: asked before SQLite
opens the file, which passes over what is behind a bad frame in silence.

A transaction is on the disk before the next one begins. So a bad frame with a later transaction behind it was
acknowledged and is damage; one in the last transaction may have been torn while it was written. Also damage is a last
transaction that the file has already, for only what is on the disk is copied into it.
"""

from __future__ import annotations

from typing import Literal

from medxz.store.rescue.pages import DamagedFile

Verdict = Literal["whole", "torn", "damaged"]


def judge(file: DamagedFile) -> Verdict:
    """`torn`: the last transaction is there but for a part of it. Whether anybody was told of it nobody knows."""
    wal = file.wal
    if wal is None or not wal.passed_over:
        return "whole"
    current = [frame for frame in wal.passed_over if frame.is_current]
    newest = {frame.number: frame for frame in current}
    if wal.taken == 0 and all(file.is_in_file(number, frame.offset) for number, frame in newest.items()):
        return "whole"  # its beginning was being written anew, after all of it had been copied
    if sum(frame.commits for frame in current) > 1:
        return "damaged"
    if any(file.is_in_file(frame.number, frame.offset) for frame in current):
        return "damaged"
    return "torn"
