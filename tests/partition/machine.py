"""A machine of nothing but a kernel and the script that opens the data partition: started by QEMU, ended at any moment.

The kernel is the distribution's, unpacked and not installed; the programs are this machine's, with their libraries.
"""

from __future__ import annotations

import gzip
import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import Final, Self

TREE: Final = Path(__file__).resolve().parents[2]
SCRIPT: Final = TREE / "firmware/boot/data-partition"
KERNEL: Final = "linux-image-cloud-amd64"
BOOT_S_MAX: Final = 400.0
SECTOR: Final = 512

_TOOLS: Final = (
    "bash basename blockdev cat chmod cmp cryptsetup cut dd dirname dumpe2fs e2fsck awk grep head ls mke2fs mkdir mktemp "
    "mount od partx printf readlink resize2fs rm sed sfdisk sleep sync tr umount modprobe seq stat cp touch reboot df echo sort"
).split()
# what is loaded when it is needed, and no program says so
_LATER: Final = (
    "libcryptsetup.so.12 libtss2-esys.so.0 libtss2-rc.so.0 libtss2-mu.so.0 libtss2-tcti-device.so.0 "
    "cryptsetup/libcryptsetup-token-systemd-tpm2.so"
).split()
_MODULES: Final = (
    "virtio_pci virtio_blk dm_mod dm_crypt ext4 crc32c_generic xts aes_generic cbc sha256_generic adiantum nhpoly1305 "
    "chacha_generic algif_skcipher algif_hash af_alg"
).split()

# starts the script as the unit would, keeps a file for each start, and ends the machine
_INIT: Final = r"""#!/bin/bash
export PATH=/bin
mount -t proc none /proc; mount -t sysfs none /sys; mount -t devtmpfs none /dev; mkdir -p /run
mount -t tmpfs none /run; mkdir -p /mnt /tmp /lib/modules
for module in MODULES; do modprobe -q $module; done
exec >/dev/ttyS0 2>&1 </dev/null
echo "@begun"
while [ ! -b /dev/vda2 ]; do sleep 0.1; done
if MEDXZ_CARD=/card data-partition /dev/vda2; then
    mount -t ext4 /dev/mapper/medxz-data /mnt
    echo "@opened by=$(cat /run/medxz-boot/data-opened-by) mib=$(($(stat -f -c '%b * %S' /mnt) / 1048576))"
    echo "@label $(cryptsetup luksDump /dev/vda2 | sed -n 's/^Label:[[:space:]]*//p')"
    echo "@recovery $(cat /mnt/lib/medxz-boot/recovery.key)"
    echo "@cipher $(cryptsetup luksDump /dev/vda2 | sed -n 's/^[[:space:]]*cipher: //p')"
    touch /mnt/start-$(($(ls /mnt | grep -c start-) + 1))
    echo "@files $(ls /mnt | grep -c start-)"
    sync; umount /mnt; cryptsetup close medxz-data
else
    echo "@failed $(tr -d '\r\n' </card/medxz-hub-report.txt)"
fi
echo "@done"
reboot -f
"""


class CannotBoot(Exception):
    """This machine has not what it takes; it says why."""


def newest_kernel() -> str | None:
    told = subprocess.run(
        ["apt-cache", "depends", KERNEL], capture_output=True, text=True, check=False
    ).stdout
    found = re.search(r"Depends: (linux-image-[0-9]\S+)", told)
    return found[1] if found else None


def kernel_in(folder: Path) -> Path:
    """The distribution's kernel and its modules, unpacked there."""
    kernel = newest_kernel()
    if kernel is None:  # where apt has no lists yet
        subprocess.run(["apt-get", "update", "-qq"], capture_output=True, check=False)
        kernel = newest_kernel()
    if kernel is None:
        raise CannotBoot(f"apt knows no {KERNEL}")
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        ["apt-get", "download", "-qq", "-o", "APT::Sandbox::User=root", kernel],
        cwd=folder,
        capture_output=True,
        check=False,
    )
    packages = list(folder.glob("*.deb"))
    if done.returncode or not packages:
        raise CannotBoot(f"apt can't get {kernel}")
    subprocess.run(["dpkg-deb", "-x", packages[0], folder], check=True)
    return folder


def make_initrd(kernel: Path, folder: Path) -> Path:
    """What the kernel finds in its memory: the tools, the modules, the script, and who starts it."""
    root = folder / "initrd"
    (root / "bin").mkdir(parents=True)
    (root / "card").mkdir()
    for name in ("proc", "sys", "dev"):
        (root / name).mkdir()
    for tool in _TOOLS:
        found = shutil.which(tool, path="/usr/sbin:/usr/bin:/sbin:/bin")
        if found is None:
            raise CannotBoot(f"there is no {tool} on this machine: scripts/system-packages")
        _bring(Path(found).resolve(), root / "bin" / tool, root)
    if has_tpm():
        _bring(Path("/usr/bin/systemd-cryptenroll"), root / "bin/systemd-cryptenroll", root)
        for library in _LATER:
            there = next(Path("/usr/lib").glob(f"*/{library}"))
            inside = root / "lib" / there.relative_to("/usr/lib")
            inside.parent.mkdir(parents=True, exist_ok=True)
            _bring(there, inside, root)
    shutil.copy(SCRIPT, root / "bin/data-partition")
    (root / "usr/bin").mkdir(parents=True)
    (root / "usr/bin/env").symlink_to("/bin/env")
    _bring(Path("/usr/bin/env"), root / "bin/env", root)
    release = next((kernel / "lib/modules").iterdir()).name
    subprocess.run(["depmod", "-b", kernel, release], check=True)
    _bring_modules(kernel, release, root)
    (root / "init").write_text(_INIT.replace("MODULES", " ".join(_MODULES)))
    (root / "init").chmod(0o755)
    image = folder / "initrd.img"
    image.write_bytes(gzip.compress(_packed(root), 1))
    return image


def has_tpm() -> bool:
    """Whether this machine can play one: swtpm, and the libraries by which systemd speaks to it."""
    return shutil.which("swtpm") is not None and all(
        any(Path("/usr/lib").glob(f"*/{name}")) for name in _LATER
    )


def _bring(source: Path, place: Path, root: Path) -> None:
    """A program, and the libraries that it says it needs."""
    shutil.copy(source, place)
    told = subprocess.run(["ldd", source], capture_output=True, text=True, check=False).stdout
    for library in re.findall(r"(/\S+\.so\S*)", told):
        inside = root / library.lstrip("/")
        if not inside.exists():
            inside.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(library, inside)


def _bring_modules(kernel: Path, release: str, root: Path) -> None:
    place = root / "lib/modules" / release
    place.mkdir(parents=True)
    wanted: set[str] = set()
    for module in _MODULES:
        told = subprocess.run(
            ["modprobe", "-d", kernel, "-S", release, "--show-depends", module],
            capture_output=True,
            text=True,
            check=False,
        ).stdout
        wanted |= set(re.findall(r"insmod (\S+)", told))
    for path in wanted:
        inside = place / Path(path).relative_to(kernel / "lib/modules" / release)
        inside.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, inside)
    for name in ("modules.order", "modules.builtin", "modules.builtin.modinfo"):
        if (kernel / "lib/modules" / release / name).exists():
            shutil.copy(kernel / "lib/modules" / release / name, place)
    subprocess.run(["depmod", "-b", root, release], check=True)


def _packed(root: Path) -> bytes:
    names = subprocess.run(["find", ".", "-print0"], cwd=root, capture_output=True, check=True).stdout
    return subprocess.run(
        ["cpio", "--null", "--create", "--format=newc", "--quiet"],
        cwd=root,
        input=names,
        capture_output=True,
        check=True,
    ).stdout


class Machine:
    """One, with a card of its own; its board has a number."""

    def __init__(self, kernel: Path, initrd: Path, folder: Path, mib: int = 192, board: int = 1) -> None:
        self.disk: Final = folder / "disk"
        self.board = board
        self.toml = ""
        self.tpm: Path | None = None
        self._tpm_process: subprocess.Popen[bytes] | None = None
        self._kernel = next((kernel / "boot").glob("vmlinuz-*"))
        self._initrd, self._folder = initrd, folder
        self._process: subprocess.Popen[bytes] | None = None
        self._said = folder / "serial"
        with self.disk.open("wb") as disk:
            disk.truncate(mib * 1024 * 1024)
        # as an image has it: the last partition is small
        table = "label: dos\nstart=1MiB, size=8MiB, type=c\nsize=32MiB, type=83\n"
        subprocess.run(["sfdisk", "--quiet", self.disk], input=table.encode(), check=True)

    def start(self) -> Self:
        card = self._folder / "on-card"
        shutil.rmtree(card, ignore_errors=True)
        (card / "card").mkdir(parents=True)
        (card / "card/medxz-hub.toml").write_text(self.toml)
        both = self._folder / "initrd-with-card"
        both.write_bytes(self._initrd.read_bytes() + gzip.compress(_packed(card)))
        self._said.write_bytes(b"")
        self._process = subprocess.Popen(
            ["qemu-system-x86_64", "-M", "q35", "-accel", "tcg,thread=multi", "-m", "512", "-smp", "1", "-nodefaults",
             "-display", "none", "-no-reboot", "-uuid", f"6d65647a-0000-4000-8000-{self.board:012d}",
             "-kernel", self._kernel, "-initrd", both, "-append", "console=ttyS0 quiet panic=-1 no_timer_check",
             "-drive", f"file={self.disk},format=raw,if=virtio,cache=writeback", "-serial", f"file:{self._said}",
             *self._with_tpm()],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        return self

    def _with_tpm(self) -> list[str]:
        """A TPM whose memory lies in that folder."""
        if self.tpm is None:
            return []
        self.tpm.mkdir(exist_ok=True)
        door = self._folder / "tpm"
        door.unlink(missing_ok=True)
        self._tpm_process = subprocess.Popen(
            ["swtpm", "socket", "--tpm2", "--terminate", "--tpmstate", f"dir={self.tpm}", "--ctrl", f"type=unixio,path={door}"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        deadline = time.monotonic() + 30
        while not door.exists():
            assert time.monotonic() < deadline, "swtpm does not come up"
            time.sleep(0.02)
        return [
            "-chardev", f"socket,id=door,path={door}", "-tpmdev", "emulator,id=tpm,chardev=door", "-device", "tpm-tis,tpmdev=tpm",
        ]  # fmt: skip

    def said(self) -> str:
        return self._said.read_text(errors="replace")

    def wait_for(self, text: str) -> None:
        assert self._process is not None
        deadline = time.monotonic() + BOOT_S_MAX
        while text not in self.said():
            assert time.monotonic() < deadline, f"waited in vain for {text}:\n{self.said()[-3000:]}"
            assert self._process.poll() is None or text in self.said(), self.said()[-3000:]
            time.sleep(0.02)

    def run(self) -> dict[str, str]:
        """One start to its end: what it told."""
        self.start()
        self.wait_for("@done")
        assert self._process is not None
        self._process.wait(BOOT_S_MAX)
        self.pull_the_plug()
        return dict(re.findall(r"^@(\w+) ?(.*?)\r?$", self.said(), re.MULTILINE))

    def pull_the_plug(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(30)
            self._process = None
        if self._tpm_process is not None:
            self._tpm_process.kill()
            self._tpm_process.wait(30)
            self._tpm_process = None
