"""`make run`: its story holds, its end says so, and what it prints to paste works."""

import re
import signal
import subprocess
import sys
import time

import httpx
import pytest

from tests.system.hub_process import DEADLINE_S, environment

pytestmark = pytest.mark.slow
DEMO = (sys.executable, "-m", "hub.demo")


def test_the_story_holds() -> None:
    """With --once the story is told to its end within 30 s, every check of it says ok, and the status is 0."""
    begun = time.monotonic()
    done = subprocess.run(
        [*DEMO, "--once"], env=environment(), capture_output=True, text=True, timeout=DEADLINE_S, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("    ok: ") >= 10
    for part in ("The first sync", "cable is pulled", "loses its power", "The catch-up", "All of it held."):
        assert part in done.stdout
    assert time.monotonic() - begun < 30


def test_a_story_that_does_not_hold_says_so() -> None:
    """Where the hub can't even start, the status is 1 and a sentence says why."""
    done = subprocess.run(
        [*DEMO, "--once"], env=environment({"MEDXZ_HUB_PROT": "1"}),
        capture_output=True, text=True, timeout=DEADLINE_S, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "This did not hold" in done.stderr
    assert "Traceback" not in done.stderr


def test_it_stays_up_and_what_it_prints_works() -> None:
    """Without --once the hub stays up, the printed token is good at the printed address, and Ctrl-C ends it all."""
    demo = subprocess.Popen(
        DEMO, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert demo.stdout is not None
    told = ""
    try:
        for line in demo.stdout:
            told += line
            if line.startswith("In a browser:"):
                break
        url, token = re.search(r"stays up at (\S+)", told), re.search(r"TOKEN=(\S+)", told)
        assert url is not None and token is not None, told  # noqa: PT018  one fact: it was printed
        headers = {"Authorization": f"Bearer {token[1]}"}
        page = httpx.get(f"{url[1]}/v1/sync/pull?limit=2", headers=headers, trust_env=False).json()
        assert len(page["ops"]) == 2
    finally:
        demo.send_signal(signal.SIGINT)
        demo.communicate(timeout=DEADLINE_S)
    assert demo.returncode == 0
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url[1]}/v1/info", trust_env=False)
