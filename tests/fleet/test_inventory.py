"""The inventory plugin against a real cloud, and against what is none."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.appliance.nspawn import TREE
from tests.fleet.operator import ANSIBLE
from tests.system.world import CLOUD, CloudProcess, SiteHub, done

pytestmark = [
    pytest.mark.fleet,
    pytest.mark.skipif(not ANSIBLE.exists(), reason="ansible has an environment of its own: make test-fleet"),
]

HUBS = {"one": "North", "two": "North", "three": "South"}


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CloudProcess]:
    """With three claimed hubs, of which one is a canary."""
    folder = tmp_path_factory.mktemp("inventory")
    made = CloudProcess(folder, "North", "South").start()
    ids = [str(SiteHub(folder, made, site, name).claim()["hub_id"]) for name, site in HUBS.items()]
    done(CLOUD, "hub", "ring", ids[0], "canary", "--data", made.data)
    done(CLOUD, "operator", "add", "--name", "ansible", "--data", made.data)
    yield made
    made.end()


def listed(folder: Path, source: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """A run of ansible-inventory with that source."""
    place = folder / "collections/ansible_collections/medxz"
    place.mkdir(parents=True, exist_ok=True)
    if not (place / "hub").exists():
        (place / "hub").symlink_to(TREE / "ansible")
    file = folder / "fleet.medxz_hubs.yml"
    file.write_text("plugin: medxz.hub.medxz_hubs\n" + source)
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE", "MEDXZ"))}
    paths = {
        "ANSIBLE_COLLECTIONS_PATH": str(folder / "collections"),
        "HOME": str(folder),
        "ANSIBLE_NOCOLOR": "1",
    }
    return subprocess.run(
        [ANSIBLE / "ansible-inventory", "-i", file, "--list"],
        env=clean | paths | {"ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "true", "LANG": "C.UTF-8"} | environ,
        capture_output=True, text=True, timeout=120, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip


@pytest.fixture(scope="module")
def token(cloud: CloudProcess) -> str:
    return str(
        done(CLOUD, "operator", "token", "--operator", "ansible", "--data", cloud.data)["access_token"]
    )


def test_hubs_are_grouped(cloud: CloudProcess, token: str, tmp_path: Path) -> None:
    """Page by page every hub is there, by clinic, site, ring, version and health, and by what the source adds."""
    source = f"url: {cloud.url}\npage: 1\nkeyed_groups:\n  - key: medxz_site\n    prefix: at\n"
    told = listed(tmp_path, source, MEDXZ_OPERATOR_TOKEN=token)
    assert told.returncode == 0, told.stderr
    groups = json.loads(told.stdout)
    assert len(groups["medxz_hubs"]["hosts"]) == 3
    assert [len(groups[name]["hosts"]) for name in ("ring_canary", "ring_all")] == [1, 2]
    assert len(groups["site_riverside_north"]["hosts"]) == 2
    assert len(groups["at_South"]["hosts"]) == 1
    assert {"clinic_riverside", "health_unknown", "version_unknown"} <= set(groups)
    assert token not in told.stdout


def test_filters_and_the_cache(cloud: CloudProcess, token: str, tmp_path: Path) -> None:
    """A filter leaves hubs out, and what was remembered is shown while the cloud is asked no more."""
    file = tmp_path / "token"
    file.write_text(token + "\n")
    cache = f"cache: true\ncache_plugin: ansible.builtin.jsonfile\ncache_connection: {tmp_path}/cache\n"
    source = f"url: {cloud.url}\nfilters: {{ring: canary}}\ntoken_file: {file}\n{cache}"
    first = listed(tmp_path, source)
    assert len(json.loads(first.stdout)["medxz_hubs"]["hosts"]) == 1
    file.write_text("worth nothing\n")
    assert json.loads(listed(tmp_path, source).stdout)["medxz_hubs"] == json.loads(first.stdout)["medxz_hubs"]


@pytest.mark.parametrize(
    ("source", "token_given", "said"),
    [
        ("url: {url}\n", "", "an operator's token is needed"),
        ("url: {url}\n", "medxz-operator-of-nobody", "takes no such token for its fleet (401"),
        ("url: http://192.0.2.1\n", "x", "the token would be read on the way"),
        ("url: http://127.0.0.1:9\n", "x", "can't be asked for its hubs"),
        ("url: {url}/docs\n", "x", "is it of this version?"),
        ("url: {url}\nfilters: {{colour: red}}\n", "x", "filters: colour"),
    ],
)
def test_what_goes_wrong_is_told(
    cloud: CloudProcess, tmp_path: Path, source: str, token_given: str, said: str
) -> None:
    """One sentence says what is wrong and what to do; the token is in none."""
    told = listed(tmp_path, source.format(url=cloud.url), MEDXZ_OPERATOR_TOKEN=token_given)
    assert told.returncode != 0
    assert said in " ".join(told.stderr.split())
    assert not token_given or len(token_given) < 2 or token_given not in told.stderr
