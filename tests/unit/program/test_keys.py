"""The key file of the store: made once, read only while nobody else can."""

import os
from pathlib import Path

import pytest

from medxz.program.errors import CommandFailed
from medxz.program.keys import make_key, read_key


def test_a_key_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    """A new key is 32 bytes in hex, mode 0600 whatever the umask, and reads back."""
    file = tmp_path / "hub.key"
    before = os.umask(0)
    try:
        key = make_key(file)
    finally:
        os.umask(before)
    assert len(key) == 32
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.read_text().strip() == key.hex()
    assert read_key(file, {}) == key


def test_a_key_is_never_made_over_another(tmp_path: Path) -> None:
    """A key file that is there stays as it is, and two keys differ."""
    file = tmp_path / "hub.key"
    key = make_key(file)
    with pytest.raises(CommandFailed, match="File exists"):
        make_key(file)
    assert read_key(file, {}) == key
    assert make_key(tmp_path / "other.key") != key


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666])
def test_a_key_open_to_others_is_refused(tmp_path: Path, mode: int) -> None:
    """A key file that group or world may read or write is refused, and the hint mends it."""
    file = tmp_path / "hub.key"
    make_key(file)
    file.chmod(mode)
    with pytest.raises(CommandFailed, match="open to others") as caught:
        read_key(file, {})
    assert caught.value.hint == f"chmod 600 {file}"


def test_a_credential_may_be_group_readable(tmp_path: Path) -> None:
    """A key that systemd hands over is taken with the mode that systemd gives it, and no other file is."""
    file = tmp_path / "credentials" / "medxz-hub.key_file"
    file.parent.mkdir()
    key = make_key(file)
    file.chmod(0o440)
    assert read_key(file, {"CREDENTIALS_DIRECTORY": str(file.parent)}) == key
    with pytest.raises(CommandFailed):
        read_key(file, {"CREDENTIALS_DIRECTORY": str(tmp_path)})
    with pytest.raises(CommandFailed):
        read_key(file, {"CREDENTIALS_DIRECTORY": ""})


@pytest.mark.parametrize("text", ["", "00" * 31, "00" * 33, "zz" * 32, "00" * 32 + " 00", "é" * 64])
def test_what_is_no_key_is_refused(tmp_path: Path, text: str) -> None:
    """A file that does not hold exactly 64 hex digits is refused, without showing what it holds."""
    file = tmp_path / "hub.key"
    file.write_text(text)
    file.chmod(0o600)
    with pytest.raises(CommandFailed, match="64 hex digits"):
        read_key(file, {})


def test_a_missing_key_is_told(tmp_path: Path) -> None:
    """A key file that is not there is told by its path, with a way out."""
    with pytest.raises(CommandFailed, match="there is no key file") as caught:
        read_key(tmp_path / "hub.key", {})
    assert caught.value.hint
