"""What a Pi needs to start from this card lies on it, and what its radio needs in the root."""

from __future__ import annotations

import hashlib

from tests.image import images
from tests.image.machine import Card, run


def test_the_card_has_what_a_pi_starts_by() -> None:
    """The FAT partition holds the firmware of a 3B+ and a 4, U-Boot for each, their device trees and the file to edit."""
    names = Card(images.disk("arm64")).names()
    assert names >= {
        "bootcode.bin", "start.elf", "fixup.dat", "start4.elf", "fixup4.dat", "config.txt", "boot.scr",
        "u-boot-3.bin", "u-boot-4.bin", "bcm2837-rpi-3-b-plus.dtb", "bcm2711-rpi-4-b.dtb", "medxz-hub.toml",
    }  # fmt: skip


def test_the_radios_have_their_firmware() -> None:
    """/lib/firmware holds what the radios of a 3B+ and a 4 load, with the settings for those boards, and the rules of countries."""
    brcm = images.names("arm64", "/usr/lib/firmware/brcm")
    assert {"brcmfmac43455-sdio.bin", "brcmfmac43455-sdio.clm_blob"} <= brcm
    assert "brcmfmac43455-sdio.raspberrypi,3-model-b-plus.txt" in brcm
    assert "brcmfmac43455-sdio.raspberrypi,4-model-b.txt" in brcm
    assert any(name.startswith("regulatory.db") for name in images.names("arm64", "/usr/lib/firmware"))


def test_the_compressed_image_is_the_image() -> None:
    """The .img.xz unpacks to what was tested here, and the sum beside it is its own."""
    image = images.disk("arm64")
    packed = image.with_suffix(".img.xz")
    told = packed.with_suffix(".xz.sha256").read_text().split()[0]
    with packed.open("rb") as file:
        assert hashlib.file_digest(file, "sha256").hexdigest() == told
    run("sh", "-c", f"xz -dc {packed} | cmp - {image}", seconds=300)
