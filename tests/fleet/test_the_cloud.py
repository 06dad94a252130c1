"""The cloud's life on a PostgreSQL with a standby, each test where the one before has left it: made, pushed to, failed over.

Two servers for the database and two relays, Debian 12s of their own (tests/fleet/suite.py) without internet.
"""

from __future__ import annotations

import base64
import re
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import pytest
import trustme

from tests.fleet.boxes import CloudBox
from tests.fleet.conftest import PASSWORD, make_dist, possible
from tests.fleet.operator import Operator, Run
from tests.fleet.pushing import Pushing
from tests.fleet.suite import SuiteBox
from tests.lan.clinic import LanTablet
from tests.lan.hosts import Network
from tests.system.hub_process import wait_until
from tests.system.world import ADMIN

pytestmark = [pytest.mark.fleet_rest, pytest.mark.xdist_group("alone")]

# what has to stand in no output, no log and no file that others may read
SECRETS: Final = (
    "rain on a tin roof", "snow on the fells", PASSWORD, "it's hail in the yard", "fog: over the fen",
)  # fmt: skip
TLS: Final = "sslmode=verify-full&sslrootcert=/etc/medxz-cloud/database-ca.pem"
COMMIT_S_MAX: Final = 20.0
"""Within which whoever pushes is told that a standby is away."""


class RelayBox(SuiteBox, CloudBox):
    """A relay on a Debian of its own."""


class Cloud:
    """The machines, and what an operator knows of them."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self.stack = stack
        self.dist = folder / "dist"
        network = stack.enter_context(Network())
        self.lan = network.lan("lan")
        self.operator = Operator(folder / "operator", self.lan.host("operator"))
        key = self.operator.key
        self.db1, self.db2 = (
            SuiteBox(folder / name, self.lan.host(name), key, "bookworm") for name in ("db1", "db2")
        )
        self.relays = [
            RelayBox(folder / name, self.lan.host(name), key, "bookworm") for name in ("relay1", "relay2")
        ]
        for box in (self.db1, self.db2, *self.relays):
            box.make()
            box.start()
            stack.callback(box.stop)
        for relay in self.relays:
            relay.password_file = folder / "password"
        (folder / "password").write_text(PASSWORD + "\n")
        self.ca = folder / "ca.pem"
        self._issue()
        self.data_key = secrets.token_hex(32)
        self.password, self.of_standbys = SECRETS[:2]
        self.primary, self.standbys = self.db1, [self.db2]

    def _issue(self) -> None:
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(self.ca))
        kinds: dict[str, Sequence[SuiteBox]] = {"relays": self.relays, "database": (self.db1, self.db2)}
        for name, boxes in kinds.items():
            issued = authority.issue_cert(*(box.host.address for box in boxes))
            issued.private_key_pem.write_to_path(str(self.folder / f"{name}.key"))
            chain = b"".join(part.bytes() for part in issued.cert_chain_pems)
            (self.folder / f"{name}.pem").write_bytes(chain)

    @property
    def inventory(self) -> Path:
        """As it stands in an operator's cloud.yml."""

        def at(*boxes: SuiteBox, **more: object) -> dict[str, dict[str, Any]]:
            return {box.host.name: {"ansible_host": box.host.address, **more} for box in boxes}

        primary = self.primary.host.address
        return self.operator.inventory(
            "cloud",
            {
                "medxz_cloud_database": at(self.primary),
                "medxz_cloud_standby": at(*self.standbys, cloud_pg_primary=primary),
                "medxz_cloud": at(*self.relays),
            },
        )

    @property
    def vault(self) -> dict[str, Any]:
        standbys = [f"{box.host.address}/32" for box in (self.db1, self.db2)] if self.standbys else []
        return {
            "cloud_dist": str(self.dist),
            "cloud_public_url": self.relays[0].url,
            "cloud_tls_cert": str(self.folder / "relays.pem"),
            "cloud_tls_key": str(self.folder / "relays.key"),
            "cloud_key": base64.b64encode(f"{self.data_key}\n".encode()).decode(),
            "cloud_database": f"postgresql://medxz:{quote(self.password)}@{self.primary.host.address}/medxz?{TLS}",
            "cloud_clinic": "Riverside",
            "cloud_sites": ["North"],
            "cloud_admin_email": ADMIN,
            "cloud_admin_password": PASSWORD,
            "cloud_pg_password": self.password,
            "cloud_pg_replication_password": self.of_standbys,
            "cloud_pg_clients": [f"{box.host.address}/32" for box in self.relays],
            "cloud_pg_standbys": standbys,
            "cloud_pg_ca": str(self.ca),
            "cloud_pg_tls_cert": str(self.folder / "database.pem"),
            "cloud_pg_tls_key": str(self.folder / "database.key"),
        }

    def play(self, name: str, *arguments: object, **variables: Any) -> Run:
        run = self.operator.play(name, "-i", self.inventory, *arguments, **(self.vault | variables))
        for secret in (*SECRETS, *map(quote, SECRETS), self.data_key, self.vault["cloud_key"]):
            assert secret not in run.said, "a secret was shown"
        return run

    def played(self, name: str, *arguments: object, **variables: Any) -> Run:
        run = self.play(name, *arguments, **variables)
        assert run.status == 0, run.said[-6_000:]
        return run

    def asked(self, box: SuiteBox, sql: str, database: str = "medxz") -> str:
        """What its PostgreSQL answers."""
        return box.run(
            *("setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", "--reset-env"),
            *("psql", "--no-psqlrc", "-tAc", sql, database),
        ).stdout.strip()

    def ops(self, box: SuiteBox) -> set[str]:
        return set(self.asked(box, "SELECT op_id FROM op").split())


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with ExitStack() as stack:
        made = possible(lambda: Cloud(tmp_path_factory.mktemp("cloud"), stack))
        make_dist(made.operator, made.folder / "keys", made.dist)
        yield made


@pytest.fixture(scope="module")
def pushing(cloud: Cloud) -> Iterator[Pushing]:
    """From the second test on, through all that happens."""
    with Pushing(cloud.lan.host("pusher"), cloud.relays, cloud.ca) as made:
        yield made


def until_acknowledged(pushing: Pushing, more: int = 30) -> None:
    wanted = len(pushing.told.acknowledged) + more
    wait_until(lambda: len(pushing.told.acknowledged) >= wanted, f"{more} ops more to be acknowledged")


def test_bare_machines_become_a_cloud(cloud: Cloud) -> None:
    """Four machines without internet become a database, its standby and two relays; `--check` tells of it and touches nothing."""
    told = cloud.played("cloud", "--check", "--diff")
    assert min(told.changed.values()) > 0
    for box in (cloud.db1, cloud.db2, *cloud.relays):
        for place in ("/etc/postgresql", "/etc/medxz-cloud", "/etc/credstore/medxz-cloud.tls_key"):
            assert not box.path(place).exists()
        assert not box.path("/var/backups/medxz-cloud").exists()
    cloud.played("cloud")
    assert cloud.asked(cloud.db1, "SELECT sync_state FROM pg_stat_replication") == "quorum"
    assert cloud.asked(cloud.db1, "SHOW data_checksums") == "on"
    for relay in cloud.relays:
        assert [clinic["name"] for clinic in relay.command("clinic", "list")["clinics"]] == ["Riverside"]
        certificate = relay.run("openssl", "s_client", "-connect", "127.0.0.1:8443", check=False).stdout
        assert "trustme" in certificate


def test_a_second_run_changes_nothing(cloud: Cloud) -> None:
    """Played again, no task of any machine has changed anything."""
    again = cloud.played("cloud")
    assert again.changed == dict.fromkeys(("db1", "db2", "relay1", "relay2"), 0), again.said[-6_000:]


def test_secrets_are_read_by_nobody_else(cloud: Cloud) -> None:
    """No file that everybody may read has a password or a key in it, and no command line has."""
    for box in (cloud.db1, cloud.db2, *cloud.relays):
        for secret in (*SECRETS, *map(quote, SECRETS), cloud.data_key):
            places = ("/etc", "/var", "/root", "/tmp", "/usr/local")
            found = box.run(
                *("find", *places, "-xdev", "-type", "f", "-perm", "/o=r"),
                *("-exec", "grep", "--text", "-lF", "--", secret, "{}", "+"), check=False,
            ).stdout  # fmt: skip
            assert not found, f"{box.host.name}: {secret[:4]}… in {found}"
        lines = box.run("sh", "-c", "cat /proc/[0-9]*/cmdline 2>/dev/null", check=False).stdout
        assert not any(secret in lines for secret in SECRETS)


def test_a_device_syncs_with_it(cloud: Cloud) -> None:
    """A tablet is let in by one relay, over TLS by the operator's certificate, and what it records is in the standby too."""
    relay, host = cloud.relays[0], cloud.lan.host("tablet")
    tablet = LanTablet(cloud.folder / "tablet", host, relay, ADMIN)  # type: ignore[arg-type]  # it asks no more than ours knows
    code = relay.command("code", "--for", "device", "--site", "North")["code"]
    tablet.enrol("--code", code, "--server", relay.url, "--ca", cloud.ca)
    tablet.login()
    op = tablet.record("Family")
    tablet.until_in_the_cloud()
    wait_until(lambda: op in cloud.ops(cloud.db2), "the op at the standby")


def test_a_base_backup_is_one(cloud: Cloud, pushing: Pushing) -> None:
    """The nightly unit of either server, run by hand beside pushes, makes a backup; the drill starts it and says how many ops are in it."""
    none = cloud.play("cloud_drill")
    assert none.status != 0
    assert "there is no base backup" in none.said
    until_acknowledged(pushing)
    before = len(cloud.ops(cloud.db1))
    for box in (cloud.db1, cloud.db2):
        box.run("systemctl", "start", "medxz-cloud-backup.service")
        assert box.is_enabled("medxz-cloud-backup.timer")
    run = cloud.played("cloud_drill")
    found = re.findall(r"backup\W+(\w+)\W+ops\W+(\d+)", run.said)
    assert all(before <= int(ops) <= len(cloud.ops(cloud.db1)) for _, ops in found), run.said
    place = "/var/backups/medxz-cloud"
    made = [name for box in (cloud.db1, cloud.db2) for name in box.run("ls", "-A", place).stdout.split()]
    assert sorted(made) == sorted(name for name, _ in found), run.said
    assert len(made) == 2
    assert cloud.db1.run("stat", "-c", "%a %U", place).stdout.split() == ["700", "postgres"]


def test_other_passwords(cloud: Cloud, pushing: Pushing) -> None:
    """Passwords that are others in the vault are those of the roles after the next run, which stops nobody from working."""
    cloud.password, cloud.of_standbys = SECRETS[3:5]
    cloud.played("cloud")
    until_acknowledged(pushing)
    cloud.db2.run("systemctl", "restart", "postgresql@15-main.service")
    until_acknowledged(pushing)
    again = cloud.played("cloud")
    assert sum(again.changed.values()) == 0, again.said[-6_000:]


def test_a_relay_is_started_anew(cloud: Cloud, pushing: Pushing) -> None:
    """While one relay is restarted the other one takes what is pushed, and nobody is told anything but 503."""
    until_acknowledged(pushing)
    cloud.relays[0].run("systemctl", "restart", "medxz-cloud.service")
    until_acknowledged(pushing)
    cloud.relays[0].until(
        lambda: cloud.relays[0].show("medxz-cloud.service", "ActiveState") == "active", "the relay"
    )
    until_acknowledged(pushing)


def test_the_standby_is_away(cloud: Cloud, pushing: Pushing) -> None:
    """Without its standby the cloud acknowledges nothing and says 503 within seconds; back, it goes on by itself."""
    until_acknowledged(pushing)
    cloud.db2.host.unplug()
    cloud.db2.stop()
    refused = pushing.told.refused
    wait_until(lambda: pushing.told.refused > refused + 1, "that pushes are refused")
    acknowledged = len(pushing.told.acknowledged)
    wait_until(lambda: pushing.told.refused > refused + 2, "another refusal")
    assert len(pushing.told.acknowledged) == acknowledged
    assert pushing.told.codes == {"overloaded"}
    assert pushing.told.longest_s < COMMIT_S_MAX
    assert not pushing.health(cloud.relays[1])["writer"]
    cloud.db2.host.plug()
    cloud.db2.start()
    until_acknowledged(pushing)


def test_a_fail_over(cloud: Cloud, pushing: Pushing) -> None:
    """The primary's power is cut while pushes go on: its standby takes its place, and every acknowledged op is there."""
    until_acknowledged(pushing)
    refused = cloud.play("cloud_failover")
    assert refused.status != 0
    assert "answers: two servers would take writes" in " ".join(refused.said.split())
    assert cloud.asked(cloud.db2, "SELECT pg_is_in_recovery()") == "t"
    until_acknowledged(pushing)
    cloud.db1.host.unplug()  # nothing says that it is gone
    cloud.db1.stop()
    at_the_cut = list(pushing.told.acknowledged)
    told = cloud.played("cloud_failover", "--check", "--diff")
    assert min(told.changed[name] for name in ("db2", "relay1", "relay2")) > 0
    assert cloud.asked(cloud.db2, "SELECT pg_is_in_recovery()") == "t"
    began = time.monotonic()
    cloud.played("cloud_failover")
    until_acknowledged(pushing)
    print(f"failed over within {time.monotonic() - began:.0f} s")
    missing = set(at_the_cut) - cloud.ops(cloud.db2)
    assert not missing, f"{len(missing)} of {len(at_the_cut)} acknowledged ops are lost"
    again = cloud.played("cloud_failover")
    assert sum(again.changed.values()) == 0, again.said[-6_000:]


def test_the_old_primary_comes_back(cloud: Cloud, pushing: Pushing) -> None:
    """Switched on again it acknowledges nothing; it is refused as a standby until that is said, and then each commit waits for it."""
    cloud.db1.host.plug()
    cloud.db1.start()
    cloud.db1.until(partial(serves, cloud, cloud.db1), "the old primary")
    until_acknowledged(pushing)
    refused = cloud.play("cloud")  # with groups as they were
    assert refused.status != 0
    assert "the groups" in " ".join(refused.said.split()) or "follows nobody" in " ".join(
        refused.said.split()
    )
    assert cloud.asked(cloud.db2, "SELECT pg_is_in_recovery()") == "f"
    until_acknowledged(pushing)
    cloud.primary, cloud.standbys = cloud.db2, [cloud.db1]
    refused = cloud.play("cloud")
    assert refused.status != 0
    assert "cloud_pg_rejoin=db1" in " ".join(refused.said.split())
    cloud.played("cloud", cloud_pg_rejoin="db1")
    assert cloud.asked(cloud.db2, "SELECT sync_state FROM pg_stat_replication") == "quorum"
    until_acknowledged(pushing)
    again = cloud.played("cloud")
    assert sum(again.changed.values()) == 0, again.said[-6_000:]
    aside = cloud.db1.run("ls", "/var/lib/postgresql/15").stdout.split()
    assert any(name.startswith("main.before-") for name in aside)


def test_and_back_on_purpose(cloud: Cloud, pushing: Pushing) -> None:
    """With a primary that is well it takes a word more; it is ended first, and nothing that was acknowledged is missing."""
    cloud.played("cloud_failover", cloud_failover_force=True)
    until_acknowledged(pushing)
    assert cloud.asked(cloud.db1, "SELECT pg_is_in_recovery()") == "f"
    assert cloud.db2.show("postgresql@15-main.service", "ActiveState") == "inactive"
    cloud.primary, cloud.standbys = cloud.db1, [cloud.db2]
    cloud.played("cloud", cloud_pg_rejoin="db2")
    until_acknowledged(pushing)
    acknowledged = list(pushing.told.acknowledged)
    assert set(acknowledged) <= cloud.ops(cloud.db1)
    assert len(acknowledged) == len(set(acknowledged))
    assert set(acknowledged) <= set(pushing.pulled())


def test_back_to_a_base_backup(cloud: Cloud, pushing: Pushing) -> None:
    """As docs/operations.md says: the database is what it was at the backup, the standby becomes a copy of it, and the cloud takes ops again."""
    unit, main = "postgresql@15-main.service", "/var/lib/postgresql/15/main"
    place = "/var/backups/medxz-cloud"
    newest = max(cloud.db1.run("ls", place).stdout.split())
    before = cloud.ops(cloud.db1)
    for relay in cloud.relays:
        relay.run("systemctl", "stop", "medxz-cloud.service")
    cloud.db1.run("systemctl", "stop", unit)
    cloud.db1.run("mv", main, f"{main}.spoilt")
    cloud.db1.run("cp", "-a", f"{place}/{newest}", main)
    cloud.db1.run("rm", "-f", f"{main}/standby.signal")
    cloud.db1.run("systemctl", "start", unit)
    brought_back = cloud.ops(cloud.db1)
    assert brought_back
    assert brought_back < before
    at = len(pushing.told.acknowledged)
    cloud.played("cloud", cloud_pg_rejoin="db2")
    until_acknowledged(pushing)
    since = set(pushing.told.acknowledged[at:])
    wait_until(lambda: since <= cloud.ops(cloud.db2), "what is acknowledged since, at the standby")
    again = cloud.played("cloud")
    assert sum(again.changed.values()) == 0, again.said[-6_000:]


def serves(cloud: Cloud, box: SuiteBox) -> bool:
    return box.run("pg_isready", check=False).returncode == 0
