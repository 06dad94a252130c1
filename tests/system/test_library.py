"""docs/library.md as an application's developer follows it: its example runs, and it tells of everything public."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import medxz
from medxz import Device
from medxz.ids import RandomIds
from tests.system.hub_process import DEADLINE_S, HubProcess, answer

pytestmark = pytest.mark.slow
LIBRARY = (Path(__file__).resolve().parents[2] / "docs" / "library.md").read_text("utf-8")
IDS = RandomIds()


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[HubProcess]:
    process = HubProcess(tmp_path).start()
    yield process
    process.kill()


def the_example() -> dict[str, Any]:
    [source] = re.findall(r"```python\n(.*?)```", LIBRARY, re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(source, "docs/library.md", "exec"), names)
    return names


async def test_the_example_runs(hub: HubProcess, tmp_path: Path) -> None:
    """The example records, syncs over TLS with the hub's CA, and another device that follows is shown its ops."""
    example = the_example()
    ca_pem = (await asyncio.to_thread(answer, "ca", "--data", hub.data))["ca_certificate"]
    tokens = [await asyncio.to_thread(hub.token, IDS.uuid7(), IDS.uuid7()) for _ in range(2)]
    shown: asyncio.Queue[bytes] = asyncio.Queue()
    there = Device.create(tmp_path / "b", key="a passphrase", server=hub.url, token=tokens[1], ca_pem=ca_pem)
    async with there as device, asyncio.timeout(DEADLINE_S):
        following = asyncio.create_task(example["follow"](device, lambda _, text: shown.put_nowait(text)))
        done = await example["morning"](tmp_path / "a", bytes(range(32)), hub.url, tokens[0], ca_pem)
        assert done == ["create", "update"]
        assert [await shown.get() for _ in range(2)] == [
            b'{"resourceType":"Patient","name":[{"family":"Ott","given":["Ada"]}],"birthDate":"1980-02-29"}',
            b'{"active":false}',
        ]
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)


def test_applications_see_the_types() -> None:
    """A type checker of an application that installs the package finds its types (PEP 561)."""
    assert (Path(medxz.__file__).parent / "py.typed").is_file()


def test_everything_public_is_told() -> None:
    """Every public name of the package and every public method of a device stand in the document."""
    methods = [name for name in dir(Device) if not name.startswith("_")]
    missing = [name for name in methods if not re.search(rf"`(Device\.)?{name}[(`]", LIBRARY)]
    missing += [name for name in medxz.__all__ if f"{name}" not in LIBRARY]
    assert missing == []
