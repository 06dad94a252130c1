"""A machine for an image: QEMU with the image's disk, a network of its own, and the card as a person would edit it.

It is started, asked over ssh (which the card's file turned on) or over HTTPS, and killed like one whose plug is pulled.
KVM is used where it works, else emulation, which takes some ten times as long. Ports are on loopback alone.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

HOST: Final = "10.0.2.2"  # this machine, as the guest sees it
HUB_PORT: Final = 8443
CARD_AT: Final = "@@4M"
STICK: Final = "BUNDLES"  # not the name by which a box takes what is on a stick by itself
STICK_AT: Final = "/run/stick"
DISK_BYTES: Final = 4 * 2**30  # greater than the image, as cards are: the data partition has to grow

BOOT_S: Final = 600.0
ASK_S: Final = 120.0


def has_kvm() -> bool:
    """Whether the processor's own; kvm_pvm, which virtual machines offer, runs no system that was not made for it."""
    modules = Path("/sys/module")
    own = (modules / "kvm_intel").exists() or (modules / "kvm_amd").exists()
    return own and os.access("/dev/kvm", os.R_OK | os.W_OK)


def free_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return int(bound.getsockname()[1])


def wait_for(holds: Callable[[], bool], what: str, seconds: float) -> float:
    """How long it took."""
    begun = time.monotonic()
    while not holds():
        assert time.monotonic() - begun < seconds, f"waited {seconds:.0f} s in vain: {what}"
        time.sleep(0.2)
    return time.monotonic() - begun


def run(*words: object, check: bool = True, seconds: float = ASK_S) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([*map(str, words)], capture_output=True, text=True, timeout=seconds, check=False)
    assert not check or done.returncode == 0, f"{words[0]}: {done.stderr or done.stdout}"
    return done


@dataclass
class Card:
    """The FAT partition of a disk that no machine has mounted."""

    disk: Path

    @property
    def _image(self) -> str:
        return f"{self.disk}{CARD_AT}"

    def write(self, name: str, content: str | bytes) -> None:
        file = self.disk.with_suffix(".upload")
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        run("mcopy", "-o", "-i", self._image, file, f"::/{name}")
        file.unlink()

    def read(self, name: str) -> str | None:
        """None where there is no such file."""
        done = run("mtype", "-i", self._image, f"::/{name}", check=False)
        return done.stdout if done.returncode == 0 else None

    def names(self) -> set[str]:
        listed = run("mdir", "-b", "-/", "-i", self._image, "::/").stdout
        return {line.removeprefix("::/") for line in listed.splitlines() if not line.endswith("/")}


@dataclass
class Machine:
    """One disk and what runs on it. `more` goes to QEMU as it is."""

    folder: Path
    image: Path
    memory_mib: int = 1024
    more: tuple[str, ...] = ()
    ports: dict[int, int] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    stick: Path | None = None
    starts: int = 0

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.disk = self.folder / "disk.img"
        if not self.disk.exists():
            run("cp", "--sparse=always", self.image, self.disk)
            with self.disk.open("r+b") as file:
                file.truncate(DISK_BYTES)
        self.card = Card(self.disk)
        self.key = self.folder / "ssh"
        if not self.key.exists():
            run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.key)
        self.ports = {inside: free_port() for inside in (HUB_PORT, 80, 22)}

    @property
    def public_key(self) -> str:
        return self.key.with_suffix(".pub").read_text().strip()

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.ports[HUB_PORT]}"

    @property
    def serial(self) -> Path:
        """What the newest start printed."""
        return self.folder / f"serial-{self.starts}.log"

    def add_to_command_line(self, *words: str) -> None:
        """As who edits the boot loader's file on the card would."""
        told = self.card.read("grub/grub.cfg")
        assert told is not None
        self.card.write("grub/grub.cfg", told.replace(" quiet", f" quiet {' '.join(words)}"))

    # ------------------------------------------------------------------ power

    def _program(self) -> list[str]:
        variables = self.folder / "efi-variables.fd"
        if not variables.exists():
            shutil.copy("/usr/share/OVMF/OVMF_VARS.fd", variables)
        fast = (
            ["-accel", "kvm", "-cpu", "host"] if has_kvm() else ["-accel", "tcg,thread=multi", "-cpu", "max"]
        )
        return [
            "qemu-system-x86_64", "-M", "q35", *fast, "-smp", "2", "-uuid", "6d65647a-0000-4000-8000-00000000000a",
            "-drive", "if=pflash,format=raw,readonly=on,file=/usr/share/OVMF/OVMF_CODE.fd",
            "-drive", f"if=pflash,format=raw,file={variables}",
            "-device", "virtio-net-pci,netdev=lan", "-device", "i6300esb", "-action", "watchdog=none",
        ]  # fmt: skip

    def _devices(self) -> list[str]:
        forwards = "".join(f",hostfwd=tcp:127.0.0.1:{port}-:{inside}" for inside, port in self.ports.items())
        return [
            "-m", str(self.memory_mib), "-no-reboot", "-nodefaults", "-display", "none", "-no-user-config",
            "-netdev", f"user,id=lan,ipv6=off{forwards}",
            "-drive", f"file={self.disk},format=raw,if=none,id=card,cache=writeback,discard=unmap",
            "-qmp", f"unix:{self.folder / 'monitor'},server=on,wait=off",
            "-device", "virtio-blk-pci,drive=card", "-object", "rng-random,id=rng,filename=/dev/urandom",
            "-device", "virtio-rng-pci,rng=rng", "-serial", f"file:{self.serial}", "-device", "qemu-xhci",
        ]  # fmt: skip

    def start(self) -> Self:
        assert self.process is None
        self.starts += 1
        told = (self.folder / "qemu.log").open("ab")
        with told:
            self.process = subprocess.Popen(
                [*self._program(), *self._devices(), *self.more],
                stdin=subprocess.DEVNULL,
                stdout=told,
                stderr=told,
            )
        return self

    def _plug_in(self, stick: Path) -> None:
        """Into its USB socket, where it stays until the power goes; nothing is ever written to it."""
        file = {"driver": "file", "filename": str(stick)}
        drive = {"driver": "raw", "node-name": "stick", "read-only": True, "file": file}
        self._tell_monitor({"execute": "blockdev-add", "arguments": drive})
        device = {"driver": "usb-storage", "drive": "stick", "id": "stick"}
        self._tell_monitor({"execute": "device_add", "arguments": device})

    def let_the_watchdog_bite(self) -> None:
        """It does not otherwise: on a busy host an emulated machine stands still for longer than a real one ever does."""
        self._tell_monitor({"execute": "watchdog-set-action", "arguments": {"action": "reset"}})

    def _tell_monitor(self, command: dict[str, object]) -> None:
        with socket.socket(socket.AF_UNIX) as monitor:
            monitor.connect(str(self.folder / "monitor"))
            answers = monitor.makefile()
            answers.readline()
            for each in ({"execute": "qmp_capabilities"}, command):
                monitor.sendall(json.dumps(each).encode())
                while "return" not in (answer := answers.readline()):
                    assert "error" not in answer, answer

    def pull_the_plug(self) -> None:
        """As when the power fails: nothing is told to anybody in there."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def wait_for_another_start(self, before: str, seconds: float = BOOT_S) -> None:
        def is_another() -> bool:
            self._start_after_a_reset()
            return self.boot_id(check=False) not in {"", before}

        wait_for(is_another, "another start of the machine", seconds)

    def _start_after_a_reset(self) -> None:
        """The firmware of a PC hangs in an emulated warm start, so the emulator ends there and is started anew."""
        if self.process is not None and self.process.poll() == 0:
            self.process = None
            self.start()

    # ---------------------------------------------------------------- asking

    @property
    def _ssh(self) -> list[str]:
        return [
            "ssh", "-i", str(self.key), "-p", str(self.ports[22]), "-o", "StrictHostKeyChecking=no",
            "-o", f"UserKnownHostsFile={self.folder / 'known'}", "-o", "ConnectTimeout=10", "-o", "LogLevel=ERROR",
            "-o", "BatchMode=yes", "-o", "ServerAliveInterval=10", "-o", "ServerAliveCountMax=3", "root@127.0.0.1",
        ]  # fmt: skip

    def ssh(
        self, *words: object, check: bool = True, seconds: float = ASK_S
    ) -> subprocess.CompletedProcess[str]:
        return run(*self._ssh, *words, check=check, seconds=seconds)

    def ssh_in_the_background(self, *words: object) -> None:
        """Started there, whatever becomes of this connection."""
        self.ssh("systemd-run", "--quiet", "--collect", *words)

    def on_stick(self, name: str) -> str:
        """Where a file of its stick is, which is plugged in and mounted for it."""
        if self.ssh("mountpoint", "-q", STICK_AT, check=False).returncode != 0:
            assert self.stick is not None
            self._plug_in(self.stick)
            mount = ("mount", "--mkdir", "--read-only", f"LABEL={STICK}", STICK_AT)
            wait_for(lambda: self.ssh(*mount, check=False).returncode == 0, "the stick", ASK_S)
        return f"{STICK_AT}/{name}"

    def written(self) -> int:
        """Bytes that its disk has taken since it started, by what the kernel counts."""
        told = self.ssh("cat", "/sys/block/vda/stat", check=False).stdout.split()
        return int(told[6]) * 512 if len(told) > 6 else 0

    def boot_id(self, *, check: bool = True) -> str:
        return self.ssh("cat", "/proc/sys/kernel/random/boot_id", check=check).stdout.strip()

    def slot(self) -> str:
        line = self.ssh("cat", "/proc/cmdline").stdout
        return next(word for word in line.split() if word.startswith("rauc.slot=")).removeprefix("rauc.slot=")

    def wait_for_ssh(self, seconds: float = BOOT_S) -> float:
        return wait_for(lambda: self.ssh("true", check=False).returncode == 0, f"ssh; {self.told()}", seconds)

    def told(self, count: int = 1_500) -> str:
        return self.serial.read_text("utf-8", "replace")[-count:] if self.serial.exists() else ""

    def end(self) -> None:
        self.pull_the_plug()
