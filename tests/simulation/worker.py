"""One process that runs worlds: a line of JSON in asks for one, a line out tells how it ended."""

from __future__ import annotations

import faulthandler
import gc
import os
import sys
from typing import Final

import msgspec

from tests.simulation.outcome import Asked
from tests.simulation.pool import HANG_S
from tests.simulation.run import run_asked

_TELL_OF_HANG_S: Final = HANG_S - 5


def main() -> None:
    """Run what is asked until nobody asks any more."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever prints must not be taken for an answer
    sys.unraisablehook = lambda _: None  # the last words of what crashed machines left behind
    gc.freeze()  # what was imported is not looked through whenever a world is collected
    asked_of = msgspec.json.Decoder(Asked).decode
    for line in sys.stdin.buffer:
        faulthandler.dump_traceback_later(_TELL_OF_HANG_S)
        outcome = run_asked(asked_of(line))
        gc.collect()  # now that nobody refers to the world any more: inside the next one it would not all go
        faulthandler.cancel_dump_traceback_later()
        answers.write(msgspec.json.encode(outcome) + b"\n")
        answers.flush()


if __name__ == "__main__":
    main()
