"""Trains the compression dictionary that bodies are written with: `python -m bench.train_dictionary FILE`.

Its samples are ops of the training family alone, from many small clinics at many times, so that nothing of one
clinic, one year or one device gets in. The parameters are chosen on ops of that family which it was not trained on.
What the dictionary does for another author's ops is printed, and decides nothing. Two runs give the same bytes.
A dictionary that a log was written with is never changed: a better one gets the next number.
"""

from __future__ import annotations

import hashlib
import random
import sys
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from typing import Final

import zstandard

from bench.measured_ops import MeasuredFamily
from bench.ops import HOUR_MS, MONDAY_MS, Family, Fleet, Scene, push_body
from bench.training_ops import TrainingFamily

DICTIONARY_BYTES: Final = 16 * 1024
LEVEL: Final = 3
SAMPLES: Final = 40_000
HELD_OUT: Final = 4_000
OPS_OF_A_CLINIC: Final = 20
BATCH_OPS: Final = 20
SEGMENTS: Final = (350, 500, 700, 1_000)
WINDOWS: Final = (6, 8)
TRAINING_SEED, CHOOSING_SEED, REPORTING_SEED = 1, 2, 3


def samples(family: Callable[[Scene], Family], seed: int, count: int) -> list[bytes]:
    """The JSON of ops of many clinics, a few of each, over seven years."""
    rng = random.Random(seed)
    texts: list[bytes] = []
    while len(texts) < count:
        start_ms = MONDAY_MS + rng.randrange(-365 * 24, 6 * 365 * 24) * HOUR_MS + rng.randrange(HOUR_MS)
        fleet = Fleet(
            family, seed=rng.getrandbits(32), devices=4, start_ms=start_ms,
            first_number=rng.choice((1, 200, 3_000, 40_000)),
        )  # fmt: skip
        texts += [fleet.take(rng.randrange(4), 1)[0].json() for _ in range(OPS_OF_A_CLINIC)]
    return texts[:count]


def share(dictionary: zstandard.ZstdCompressionDict | None, texts: Sequence[bytes]) -> float:
    """Bytes after compression, each text by itself, of bytes before."""
    parameters = zstandard.ZstdCompressionParameters.from_level(
        LEVEL, format=zstandard.FORMAT_ZSTD1_MAGICLESS, write_dict_id=False, write_content_size=False
    )
    compressor = zstandard.ZstdCompressor(dict_data=dictionary, compression_params=parameters)
    return sum(len(compressor.compress(text)) for text in texts) / sum(map(len, texts))


def train() -> zstandard.ZstdCompressionDict:
    """The dictionary that does best on ops of its own family that it has not seen."""
    singles = samples(TrainingFamily, TRAINING_SEED, SAMPLES)
    batches = [b",".join(singles[at : at + BATCH_OPS]) for at in range(0, SAMPLES, SAMPLES // 50)]
    training: list[bytes | bytearray | memoryview[int]] = [*singles, *batches]
    held_out = samples(TrainingFamily, CHOOSING_SEED, HELD_OUT)
    best, best_share = None, 1.0
    for segment, window in product(SEGMENTS, WINDOWS):
        made = zstandard.train_dictionary(
            DICTIONARY_BYTES, training, k=segment, d=window, f=20, accel=1, level=LEVEL
        )
        reached = share(made, held_out)
        print(f"segments of {segment}, windows of {window}: {reached:.4f} of its own family")
        if reached < best_share:
            best, best_share = made, reached
    assert best is not None
    return best


def main() -> None:
    """Train, write the file, and tell what it does."""
    if len(sys.argv) != 2:
        sys.exit("usage: python -m bench.train_dictionary FILE")
    dictionary = train()
    content = dictionary.as_bytes()
    Path(sys.argv[1]).write_bytes(content)
    others = samples(MeasuredFamily, REPORTING_SEED, HELD_OUT)
    fleet = Fleet(MeasuredFamily, seed=REPORTING_SEED)
    batch = [push_body(fleet.take(0, 500))]
    print(f"{len(content)} bytes, SHA-256 {hashlib.sha256(content).hexdigest()}")
    print(
        f"another author's ops one by one: {share(dictionary, others):.4f} (without: {share(None, others):.4f})"
    )
    print(
        f"another author's batch of 500:   {share(dictionary, batch):.4f} (without: {share(None, batch):.4f})"
    )


if __name__ == "__main__":
    main()
