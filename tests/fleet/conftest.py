"""One fleet for the tests of this folder: a cloud and three hubs, machines of their own, and an operator with ansible.

They are run by `make test-fleet`. Where this machine lets us make no such machines they are skipped with the reason; with
MEDXZ_NAMESPACES=required that is a failure.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, TypeVar

import pytest

from tests.appliance.nspawn import TREE, CannotNspawn, check_that_it_can
from tests.fleet.boxes import CLOUD_DATA, Box, CloudBox
from tests.fleet.debs import other_version
from tests.fleet.operator import ANSIBLE, Operator
from tests.lan.clinic import LanTablet
from tests.lan.hosts import Host, Lan, Network
from tests.lan.namespaces import CannotMakeNamespaces, check_that_namespaces_can_be_made

B = TypeVar("B", bound=Box)
T = TypeVar("T")
EVERYDAY: Final[Mapping[str, Callable[[Path, Host, Path], Box]]] = MappingProxyType({})
SITES: Final = {"north": "North", "south": "South", "east": "East"}
PASSWORD: Final = "a long walk by the river"
# nobody waits for an hour here, or for a quarter of one
HURRIED_CLOUD: Final = f"""[Service]
ExecStart=
ExecStart=/usr/lib/medxz-cloud/bin/python -I -c "from medxz import limits; limits.HUB_AWAY_S = 60; limits.REPORT_EVERY_S = 15; from cloud.cli import main; main()" run --data {CLOUD_DATA}
"""
HURRIED_TIMER: Final = "[Timer]\nOnBootSec=\nOnUnitInactiveSec=\nOnBootSec=20s\nOnActiveSec=10s\nOnUnitInactiveSec=10s\nRandomizedDelaySec=0\nAccuracySec=1s\n"
HURRIED_CONFIRM: Final = """[Service]
ExecStart=
ExecStart=/usr/bin/medxz-hub update --confirm --within 40 --data /var/lib/medxz/hub
"""


class Fleet:
    """The machines, before anything of ours is on them, and what they are made from."""

    def __init__(
        self,
        folder: Path,
        stack: ExitStack,
        kinds: Mapping[str, Callable[[Path, Host, Path], Box]] = EVERYDAY,
    ) -> None:
        self.folder = folder
        self.stack = stack
        self.keys, self.dist = folder / "keys", folder / "dist"
        self.network = stack.enter_context(Network())
        self.lan: Lan = self.network.lan("lan")
        self.operator = Operator(folder / "operator", self.lan.host("operator"))
        self.cloud = self.started(CloudBox(folder / "cloud", self.lan.host("cloud"), self.operator.key))
        self.cloud.password_file = folder / "password"
        self.cloud.password_file.write_text(PASSWORD + "\n")
        self.cloud_ca = folder / "cloud-ca.pem"
        self.hubs = {
            name: self.started(kinds.get(name, Box)(folder / name, self.lan.host(name), self.operator.key))
            for name in SITES
        }
        self.variables: dict[str, dict[str, Any]] = {name: {} for name in SITES}

    def started(self, box: B) -> B:
        box.make()
        box.drop_in("medxz-cloud.service", HURRIED_CLOUD)
        box.drop_in("medxz-hub-update.timer", HURRIED_TIMER)
        box.drop_in("medxz-hub-confirm.service", HURRIED_CONFIRM)
        box.start()
        self.stack.callback(box.stop)
        return box

    def version(self, version: str, *, is_bad: bool = False) -> Path:
        """A package of it, in a folder of its own; made once."""
        made = self.folder / f"dist-{version}/medxz-hub_{version}_amd64.deb"
        if made.with_name(f"{made.name}.json").exists():
            return made
        [package] = self.dist.glob("medxz-hub_*_amd64.deb")
        return other_version(package, version, self.keys, made.parent, is_bad=is_bad)

    def release(self, version: str, *, is_bad: bool = False) -> None:
        """It lies at the cloud, and comes to nobody by itself."""
        package = self.version(version, is_bad=is_bad)
        for name in (package.name, f"{package.name}.json"):
            (self.cloud.path("/srv") / name).write_bytes((package.parent / name).read_bytes())
        self.cloud.command("release", "add", "--bundle", f"/srv/{package.name}", "--hold")

    @property
    def inventory(self) -> Path:
        """What an operator writes down before there is a fleet."""
        hosts = {
            name: {"ansible_host": box.host.address, "hub_site": SITES[name]} | self.variables[name]
            for name, box in self.hubs.items()
        }
        cloud = {"cloud": {"ansible_host": self.cloud.host.address}}
        return self.operator.inventory("boxes", {"medxz_hubs": hosts, "medxz_cloud": cloud})

    @property
    def in_cloud(self) -> Path:
        """The fleet as its cloud knows it, reached by SSH."""
        file = self.operator.folder / "fleet.medxz_hubs.yml"
        file.write_text(
            f"plugin: medxz.hub.medxz_hubs\nurl: {self.cloud.url}\nca_file: {self.cloud_ca}\n"
            f"token_file: {self.operator.folder / 'token'}\n"
            f"compose:\n  ansible_user: '''root'''\n  ansible_ssh_private_key_file: '''{self.operator.key}'''\n"
            "  ansible_python_interpreter: '''/usr/bin/python3'''\n"
        )
        return file

    def tablet(self, name: str, site: str) -> LanTablet:
        """One that was enrolled at the hub of a site, with somebody logged in."""
        email = f"{name}@clinic.example"
        self.cloud.add_user(email)
        store, host = self.folder / f"tablet-{name}", self.lan.host(name)
        tablet = LanTablet(store, host, self.cloud, email)  # type: ignore[arg-type]  # it asks no more than ours knows
        made = self.cloud.command("code", "--for", "device", "--site", SITES[site])
        server = f"https://{self.hubs[site].host.address}:8443"
        tablet.enrol("--code", made["code"], "--server", server, "--fp", made["fp"])
        tablet.login()
        return tablet

    def ids(self) -> dict[str, str]:
        """hub -> its id, as the cloud knows it."""
        return {hub["name"]: hub["hub_id"] for hub in self.cloud.command("hub", "list")["hubs"]}


def make_dist(operator: Operator, keys: Path, dist: Path, *wheels: str) -> None:
    """As `make dist KEYS=…` does, for this machine alone; the operator has the collection then."""
    subprocess.run([TREE / "firmware/rauc/make-keys", keys], check=True, capture_output=True)
    command = [sys.executable, "-m", "firmware.dist", "--arch", "amd64", *(wheels or ("--no-wheels",))]
    options = {"--keys": keys, "--out": dist, "--galaxy": ANSIBLE / "ansible-galaxy"}
    command += [str(word) for option in options.items() for word in option]
    subprocess.run(command, cwd=TREE, check=True)
    [collection] = dist.glob("*.tar.gz")
    operator.install(collection)


def possible(make: Callable[[], T]) -> T:
    """What is made of machines; where this machine has none for us the test is skipped."""
    if not (ANSIBLE / "ansible-playbook").exists():
        pytest.skip("ansible has an environment of its own, which `make test-fleet` fills")
    try:
        check_that_it_can()
        check_that_namespaces_can_be_made()
        return make()
    except (CannotNspawn, CannotMakeNamespaces) as error:
        if os.environ.get("MEDXZ_NAMESPACES") == "required":
            pytest.fail(str(error))
        pytest.skip(f"no machines on this machine: {error}")


@pytest.fixture(scope="session")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with ExitStack() as stack:
        made = possible(lambda: Fleet(tmp_path_factory.mktemp("fleet"), stack))
        make_dist(made.operator, made.keys, made.dist)
        yield made
