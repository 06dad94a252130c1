"""The Pi's image on what QEMU has: the machine called virt, for all but the boot loader, and a Raspberry Pi 3B for that one.

QEMU has no radio and, in Debian 12, no Pi 4. On the 3B U-Boot is the real one, as it lies on the card; virt is given the
kernel of the slot directly.
"""

from __future__ import annotations

import subprocess
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from tests.image import images
from tests.image.machine import Card, Machine, run

ENVIRONMENT_BYTES: Final = 0x4000


def taken_from_slot(place: str, out: Path) -> Path:
    run("debugfs", "-R", f"dump {place} {out}", images.slot("arm64"))
    assert out.stat().st_size > 0, place
    return out


class VirtPi(Machine):
    """Everything of the image that does not depend on the board."""

    def _program(self) -> list[str]:
        kernel = taken_from_slot("/boot/vmlinuz", self.folder / "vmlinuz")
        first = taken_from_slot("/boot/initrd.img", self.folder / "initrd.img")
        return [
            "qemu-system-aarch64", "-M", "virt", "-cpu", "cortex-a72", "-accel", "tcg,thread=multi", "-smp", "2",
            "-kernel", str(kernel), "-initrd", str(first), "-append",
            "ro rauc.slot=A panic=10 console=tty0 console=ttyAMA0 quiet",
            "-device", "virtio-net-pci,netdev=lan",
        ]  # fmt: skip


@dataclass
class Pi3:
    """Serial line and card of a Raspberry Pi 3B; it has no network here."""

    folder: Path
    process: subprocess.Popen[bytes] | None = None
    starts: int = 0

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.disk = self.folder / "card.img"
        run("cp", "--sparse=always", images.disk("arm64"), self.disk)
        with self.disk.open("r+b") as file:
            file.truncate(4 * 2**30)  # QEMU takes a card whose size is a power of two
        self.card = Card(self.disk)

    def start(self) -> Self:
        self.starts += 1
        for name in ("u-boot-3.bin", "bcm2837-rpi-3-b.dtb"):
            run("mcopy", "-n", "-i", f"{self.disk}@@4M", f"::/{name}", self.folder / name)
        self.process = subprocess.Popen(
            [
                "qemu-system-aarch64", "-M", "raspi3b", "-kernel", self.folder / "u-boot-3.bin",
                "-dtb", self.folder / "bcm2837-rpi-3-b.dtb", "-drive", f"file={self.disk},format=raw,if=sd",
                "-display", "none", "-monitor", "none",
                "-serial", f"file:{self._log('pl011')}", "-serial", f"file:{self._log('mini')}",
            ],
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        return self

    def _log(self, line: str) -> Path:
        return self.folder / f"{line}-{self.starts}.log"

    def told(self) -> str:
        """What this start printed."""
        logs = [self._log("pl011"), self._log("mini")]
        return "".join(log.read_text("utf-8", "replace") for log in logs if log.exists())

    def pull_the_plug(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    # ------------------------------------------------------- the boot loader's environment, as RAUC changes it

    def environment(self) -> dict[str, str]:
        file = self.folder / "uboot.env"
        run("mcopy", "-n", "-i", f"{self.disk}@@4M", "::/uboot.env", file)
        content = file.read_bytes()
        assert len(content) == ENVIRONMENT_BYTES
        assert int.from_bytes(content[:4], "little") == zlib.crc32(content[4:])
        pairs = content[4:].split(b"\0\0")[0].split(b"\0")
        return dict(pair.decode().split("=", 1) for pair in pairs if b"=" in pair)

    def set_environment(self, **more: str) -> None:
        """What `rauc` does through fw_setenv."""
        told = self.environment() | more
        content = b"\0".join(f"{name}={value}".encode() for name, value in told.items()) + b"\0\0"
        content = content.ljust(ENVIRONMENT_BYTES - 4, b"\0")
        self.card.write("uboot.env", zlib.crc32(content).to_bytes(4, "little") + content)
