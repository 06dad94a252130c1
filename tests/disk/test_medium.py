"""What a power cut leaves of a file, by the model alone."""

from __future__ import annotations

import itertools
import random

from tests.disk.medium import PENDING_MAX, SECTOR_BYTES, FileMedium, Medium

CUTS = 400


def left(file: FileMedium) -> set[bytes]:
    return {file.left(random.Random(seed)) for seed in range(CUTS)}


def test_what_was_synced_stays() -> None:
    """Of a file that was synced a power cut leaves what was written, whatever the chance."""
    file = FileMedium()
    file.write(0, b"a" * 2_000)
    file.truncate(1_500)
    file.settle(2)
    assert left(file) == {b"a" * 1_500}


def test_any_part_of_what_was_not_synced_stays() -> None:
    """Nothing of it, all of it, the first or the second write alone: each is seen, and never what was not written."""
    file = FileMedium.holding(b"0" * SECTOR_BYTES)
    file.write(0, b"1" * 10)
    file.write(10, b"2" * 10)
    seen = {(image[:1], image[10:11]) for image in left(file)}
    assert seen == {(b"0", b"0"), (b"1", b"0"), (b"0", b"2"), (b"1", b"2")}
    assert {image[20:] for image in left(file)} == {b"0" * (SECTOR_BYTES - 20)}


def test_a_write_is_torn_between_sectors_alone() -> None:
    """A write over several sectors may stay in part, each sector of the disk whole or not at all."""
    file = FileMedium.holding(b"0" * 2_048)
    file.write(100, b"1" * 1_500)
    edges = [100, 512, 1_024, 1_536, 1_600]
    torn = 0
    for image in left(file):
        kept = [set(image[start:end]) for start, end in itertools.pairwise(edges)]
        assert all(len(values) == 1 for values in kept)
        torn += len(set(map(frozenset, kept))) > 1
    assert torn > 5


def test_a_truncation_may_be_lost() -> None:
    """A file that was cut short and not synced may have its old length."""
    file = FileMedium.holding(b"0" * 1_000)
    file.truncate(10)
    assert {len(image) for image in left(file)} == {10, 1_000}


def test_a_file_that_grew_may_hold_anything_there() -> None:
    """Where a file had grown by what was not written yet, zeros or noise are found."""
    file = FileMedium()
    file.write(0, b"1" * 600)
    assert {bytes(600), b"1" * 600, b""} <= left(file)
    assert any(set(image) - {0, ord("1")} for image in left(file))


def test_what_a_failed_sync_was_to_bring_is_lost_for_good() -> None:
    """After a failed sync its writes are gone, though the process reads on what it wrote and later syncs succeed."""
    file = FileMedium()
    file.write(0, b"1" * 100)
    file.lose(None)
    file.write(100, b"2" * 100)
    file.settle(len(file.pending))
    assert left(file) == {bytes(100) + b"2" * 100}


def test_a_failed_sync_may_have_written_some() -> None:
    """By chance some of what a failed sync was to bring is on the disk."""
    lengths = set()
    for seed in range(100):
        file = FileMedium()
        file.write(0, b"1" * 100)
        file.lose(random.Random(seed))
        lengths |= {len(image) for image in left(file)}
    assert lengths == {0, 100}


def test_names_need_a_sync_of_their_folder() -> None:
    """A file that was made may be missing, one that was deleted may be back, until their folder is synced."""
    medium = Medium({"a/old": FileMedium.holding(b"old")})
    medium.delete("a/old")
    medium.create("a/new")
    seen = {frozenset(medium.left(random.Random(seed))) for seed in range(CUTS)}
    assert seen == {frozenset(), frozenset({"a/old"}), frozenset({"a/new"}), frozenset({"a/old", "a/new"})}
    medium.sync_names("elsewhere")
    assert medium.before
    medium.sync_names("a")
    assert {frozenset(medium.left(random.Random(seed))) for seed in range(CUTS)} == {frozenset({"a/new"})}


def test_memory_is_bounded() -> None:
    """Of a file that nobody ever syncs, the oldest writes come to the disk by themselves."""
    file = FileMedium()
    for number in range(PENDING_MAX + 1):
        file.write(number, b"1")
    assert len(file.pending) <= PENDING_MAX
    assert file.now() == b"1" * (PENDING_MAX + 1)
