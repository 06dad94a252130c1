"""A soak: a clinic of real processes at work for hours, with faults, and a report of what grew.

`python -m tests.soak --hours 1` writes build/soak/<date>/index.html, the samples as samples.csv and all else as
soak.json. Ctrl-C ends the work, and everything is mended, checked and told all the same; a second one ends that too. The
exit status is 1 where something is not as it should be.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import platform
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import orjson

from tests.soak.bounds import judge
from tests.soak.pace import Pace
from tests.soak.page import render
from tests.soak.samples import write_csv
from tests.soak.soak import Soak, Told

ROOT = Path(__file__).resolve().parents[2]


def main() -> int:
    asked = _arguments()
    begun = datetime.now(UTC)
    out: Path = asked.out or ROOT / "build" / "soak" / begun.strftime("%Y-%m-%d-%H%M")
    out.mkdir(parents=True, exist_ok=True)
    told = Told(asked.seed, asked.devices, Pace(asked.hours * 3_600))
    # a control socket's path has to be short
    folder = Path(tempfile.mkdtemp(prefix="medxz-soak-"))
    say = _saying()
    try:
        asyncio.run(_run(told, folder, say))
    except (KeyboardInterrupt, asyncio.CancelledError):
        say("ended before it was checked")
    except Exception as error:  # noqa: BLE001  # the report is what a soak is for: it is written whatever happened
        told.problems["finding: the soak itself: " + "".join(traceback.format_exception(error))[-2_000:]] += 1
    finally:
        told.judgements = judge(told.samples, told.pushes, told.pace.warm_up_s)
        _write(told, out, begun)
        _keep_logs(folder, out)
        shutil.rmtree(folder, ignore_errors=True)
    _tell(told, out, as_json=asked.json)
    return 1 if told.findings else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.soak", description="A clinic at work, with faults."
    )
    parser.add_argument(
        "--hours", type=float, required=True, help="how long people work; healing comes after it"
    )
    parser.add_argument(
        "--seed", type=int, default=1, help="for faults and people; processes have their own pace"
    )
    parser.add_argument("--devices", type=int, default=50)
    parser.add_argument("--json", action="store_true", help="tell the end as JSON, one object")
    parser.add_argument("--out", type=Path, help="where the report goes [build/soak/<date>]")
    return parser.parse_args()


async def _run(told: Told, folder: Path, say: Callable[[str], None]) -> None:
    soak = Soak(told, say)
    running = asyncio.create_task(soak.run(folder))

    def end() -> None:
        if soak.ended.is_set():
            running.cancel()
        soak.ended.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, end)
    await running


def _saying() -> Callable[[str], None]:
    """Lines for people, on stderr, with the time since the beginning."""
    begun = time.monotonic()

    def say(line: str) -> None:
        print(f"soak {(time.monotonic() - begun) / 60:5.1f} min  {line}", file=sys.stderr, flush=True)

    return say


def _write(told: Told, out: Path, begun: datetime) -> None:
    when = begun.strftime("%Y-%m-%d %H:%M UTC")
    machine = f"{platform.system()} {platform.release()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    (out / "index.html").write_text(render(told, when, machine))
    write_csv(out / "samples.csv", told.samples)
    (out / "soak.json").write_bytes(orjson.dumps(_as_json(told), option=orjson.OPT_INDENT_2))


def _as_json(told: Told) -> dict[str, object]:
    return {
        "seed": told.seed, "devices": told.devices, "hours": told.pace.run_s / 3_600, "ran_s": told.ran_s,
        "findings": told.findings, "acts": dict(told.acts), "problems": dict(told.problems),
        "settled": asdict(told.settled) if told.settled is not None else None,
        "judgements": [asdict(one) for one in told.judgements],
        "faults": [asdict(one) for one in told.faults], "marks": [asdict(one) for one in told.marks],
        "pushes": [asdict(one) for one in told.pushes],
    }  # fmt: skip


def _keep_logs(folder: Path, out: Path) -> None:
    """What the processes said, where it may be of use."""
    for file in folder.rglob("*.err"):
        with contextlib.suppress(OSError):
            shutil.copyfile(file, out / file.with_suffix(".log").name)


def _tell(told: Told, out: Path, *, as_json: bool) -> None:
    if as_json:
        brief = {
            name: value for name, value in _as_json(told).items() if name not in {"pushes", "faults", "marks"}
        }
        print(orjson.dumps({**brief, "report": str(out / "index.html")}).decode())
        return
    for one in told.judgements:
        slope = "" if one.bound.most is not None else f"  {one.told.per_hour:+,.0f} an hour"
        print(f"{one.party:12} {one.series:16} {one.told.judged:8} greatest {one.told.most:,.0f}{slope}")
    for finding in told.findings:
        print(f"NOT WELL: {finding}")
    print(f"{'not well' if told.findings else 'all is well'}: {out / 'index.html'}")


if __name__ == "__main__":
    sys.exit(main())
