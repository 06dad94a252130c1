"""A machine of a fleet with a Debian of its own: a small server of a suite, as Debian's packages make it, not this machine's.

Each suite's tree is made once (mmdebstrap, which `firmware/tools` brings) and kept under build/fleet; its boxes share it and
write beside it. What more an operator would fetch from a mirror lies in /srv/repo, an apt repository in a folder: `apt-get
install` works in there without any network.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Final

from tests.appliance.nspawn import MASKED, TARGET, TREE, CannotNspawn
from tests.fleet.boxes import CACHE, Box
from tests.lan.hosts import Host

_SOURCES: Final = TREE / "firmware/image/sources"
_MADE_S_MAX: Final = 900
_SERVER: Final = (
    "systemd", "systemd-sysv", "dbus", "openssh-server", "python3", "ca-certificates", "iproute2", "nftables", "procps",
)  # fmt: skip
# nothing that is read by nobody
_LEFT_OUT: Final = ("doc", "man", "info", "locale", "lintian")
_STARTS: Final = "[Unit]\nWants=multi-user.target ssh.service\nAfter=ssh.service\n"


@dataclass(frozen=True, slots=True)
class Contents:
    """What a suite's tree is made of."""

    installed: tuple[str, ...] = _SERVER
    in_repo: tuple[str, ...] = ()
    """What lies in /srv/repo, with everything that it depends on."""


SUITES: Final = {
    "bookworm": Contents(in_repo=("postgresql-15",)),
    "trixie": Contents(in_repo=("python3-venv",)),
}


class SuiteBox(Box):
    """One with such a tree. All of it is its own: /usr can be written to, too."""

    def __init__(self, folder: Path, host: Host, key: Path, suite: str = "bookworm") -> None:
        super().__init__(folder, host, key)
        self.suite: Final = suite
        self._work: Final = folder / "work"

    def make(self) -> SuiteBox:
        self._tree = tree_of(self.suite)
        for folder in (self.root, self._work):
            folder.mkdir(parents=True)
        self._put("etc/systemd/system/test.target", TARGET)
        for unit in (*MASKED, "getty.target"):
            (self.root / "etc/systemd/system" / unit).symlink_to("/dev/null")
        self._put("etc/machine-id", "")
        self._put("etc/hostname", f"{self.host.name}\n")
        self._put("etc/hosts", f"127.0.0.1 localhost {self.host.name}\n")
        self._put("etc/ssh/sshd_config.d/test.conf", "MaxStartups 100\n")
        self._put("root/.ssh/authorized_keys", self._key.with_suffix(".pub").read_text())
        self.drop_in("test.target", _STARTS)
        return self

    def path(self, inside: str) -> Path:
        """What is there now: while it runs, as it sees it itself."""
        top = self.root if self._leader is None else Path(f"/proc/{self._leader}/root")
        return top / inside.removeprefix("/")

    def _put(self, inside: str, text: str) -> None:
        """A file beside the tree, in folders with the modes that they have in the tree."""
        file = self.root / inside
        for folder in reversed(file.relative_to(self.root).parents[:-1]):
            if not (self.root / folder).exists():
                (self.root / folder).mkdir(mode=0o700 if folder.name == ".ssh" else 0o755)
                if (self._tree / folder).exists():
                    shutil.copystat(self._tree / folder, self.root / folder)
        file.write_text(text)

    def _mounts(self) -> list[str]:
        return []

    def _before(self) -> list[str]:
        # in a name space of its own, which ends with it: nothing stays mounted out here
        layers = f"lowerdir={self._tree},upperdir={self.root},workdir={self._work}"
        mount = f'mount -t overlay overlay -o "{layers}" "{self.root}" && exec "$@"'
        return [*super()._before(), "unshare", "--mount", "sh", "-c", mount, "sh"]


def tree_of(suite: str) -> Path:
    """A suite's tree, made where it is not there yet."""
    contents = SUITES[suite]
    mark = hashlib.sha256(repr((astuple(contents), _SERVER, _LEFT_OUT)).encode()).hexdigest()[:12]
    place = CACHE / f"{suite}-{mark}"
    with _alone(suite):
        if not place.is_dir():
            for other in CACHE.glob(f"{suite}-*"):
                shutil.rmtree(other)
            _make(suite, contents, CACHE / f"{suite}-unfinished").rename(place)
    return place


@contextmanager
def _alone(suite: str) -> Iterator[None]:
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{suite}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _make(suite: str, contents: Contents, place: Path) -> Path:
    if shutil.which("mmdebstrap") is None:
        raise CannotNspawn("mmdebstrap not found (firmware/tools)")
    sources = CACHE / f"{suite}.sources"
    sources.write_text(_sources(suite))
    fetch = ["apt-get", "--yes", "--download-only", "--no-install-recommends", "install", *contents.in_repo]
    hooks = (
        'rm -f "$1"/var/cache/apt/archives/*.deb; mkdir "$1/srv/repo"',
        f'APT_CONFIG="$MMDEBSTRAP_APT_CONFIG" {" ".join(fetch)}',
        'find "$1/var/cache/apt/archives" -name "*.deb" -exec mv -t "$1/srv/repo" {} +',
    )
    told = subprocess.run(
        ["mmdebstrap", "--quiet", "--mode=root", "--variant=minbase", f"--include={','.join(contents.installed)}",
         *_options(), *(f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in _LEFT_OUT), "--dpkgopt=force-unsafe-io",
         *(f"--customize-hook={hook}" for hook in hooks if contents.in_repo), suite, place, sources],
        capture_output=True, text=True, timeout=_MADE_S_MAX, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    if told.returncode:
        shutil.rmtree(place, ignore_errors=True)
        raise CannotNspawn(f"no {suite} can be made here: {told.stderr.strip()[-500:]}")
    _offer_repo(place)
    return place


def _offer_repo(tree: Path) -> None:
    """Apt in there knows the folder and nothing else."""
    repo, apt = tree / "srv/repo", tree / "etc/apt"
    repo.mkdir(exist_ok=True)
    stanzas = []
    for file in sorted(repo.glob("*.deb")):
        control = subprocess.run(
            ["dpkg-deb", "--field", file], check=True, capture_output=True, text=True
        ).stdout
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        stanzas.append(
            f"{control.strip()}\nFilename: ./{file.name}\nSize: {file.stat().st_size}\nSHA256: {digest}\n"
        )
    (repo / "Packages").write_text("\n".join(stanzas))
    for listed in (apt / "sources.list", *(apt / "sources.list.d").glob("*"), *apt.glob("apt.conf.d/99mm*")):
        listed.unlink(missing_ok=True)
    (apt / "sources.list").write_text("deb [trusted=yes] file:/srv/repo ./\n")
    subprocess.run(
        ["chroot", tree, "apt-get", "--quiet", "-o", "APT::Sandbox::User=root", "update"],
        check=True, capture_output=True,
    )  # fmt: skip


def _sources(suite: str) -> str:
    """Where packages come from: this machine's own mirror."""

    def told(name: str, **environ: str) -> str:
        command = [sys.executable, str(_SOURCES), name]
        done = subprocess.run(
            command, env={**os.environ, **environ}, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise CannotNspawn(done.stderr.strip())
        return done.stdout

    own = _own_suite()
    if suite == own or "MIRROR" in os.environ:
        return told(suite)
    mirrors = [line.split()[1] for line in told(own).splitlines() if line.startswith("URIs:")]
    return told(suite, MIRROR=mirrors[0])


def _own_suite() -> str:
    for line in Path("/etc/os-release").read_text().splitlines():
        name, _, value = line.partition("=")
        if name == "VERSION_CODENAME":
            return value.strip('"')
    raise CannotNspawn("this machine is none of Debian's: it knows no mirror")


def _options() -> list[str]:
    """How this machine reaches its mirror: proxies, and what it knows of its age."""
    told = subprocess.run(["apt-config", "dump"], check=True, capture_output=True, text=True).stdout
    kept = ("Acquire::Check-", "Acquire::http::", "Acquire::https::", "Acquire::Retries ")
    options = [line.rstrip(";") for line in told.splitlines() if line.startswith(kept) and '""' not in line]
    return [f"--aptopt={option}" for option in (*options, 'Acquire::Languages "none"')]
