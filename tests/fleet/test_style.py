"""What ansible-lint says of the collection, and that every role and playbook is told of."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.appliance.nspawn import TREE
from tests.fleet.operator import ANSIBLE

pytestmark = [
    pytest.mark.fleet,
    pytest.mark.skipif(not ANSIBLE.exists(), reason="ansible has an environment of its own: make test-fleet"),
]


def test_the_collection_is_clean(tmp_path: Path) -> None:
    """ansible-lint finds nothing by its profile `production`, warnings included."""
    place = tmp_path / "ansible_collections/medxz"
    place.mkdir(parents=True)
    (place / "hub").symlink_to(TREE / "ansible")
    told = subprocess.run(
        [ANSIBLE / "ansible-lint", "--offline", "--strict", "--nocolor", "-q"],
        cwd=place / "hub", capture_output=True, text=True, timeout=600, check=False,
        env={**os.environ, "PATH": f"{ANSIBLE}:{os.environ['PATH']}", "ANSIBLE_COLLECTIONS_PATH": str(tmp_path)},
    )  # fmt: skip
    assert told.returncode == 0, told.stdout + told.stderr


def test_every_role_tells_what_it_takes() -> None:
    """Each role has its arguments specified and a page, and each playbook stands in the collection's page."""
    page = (TREE / "ansible/README.md").read_text("utf-8")
    for role in (TREE / "ansible/roles").iterdir():
        assert (role / "meta/argument_specs.yml").exists(), role
        assert (role / "README.md").exists(), role
    for playbook in (TREE / "ansible/playbooks").glob("*.yml"):
        assert f"`{playbook.stem}`" in page, playbook
