"""Which of two versions is the newer one."""

from __future__ import annotations

import itertools

import pytest

from medxz.versions import Version

IN_ORDER = ["0.1", "0.1.1-alpha", "0.1.1-alpha.1", "0.1.1-alpha.2", "0.1.1-alpha.10", "0.1.1-beta", "0.1.1", "0.2", "1.0.0-1", "1.0.0-rc", "1.0.0", "1.0.0.1", "10.0"]  # fmt: skip


def test_the_order_of_versions() -> None:
    """Numbers count as numbers, and what comes before a finished version is older than it."""
    for older, newer in itertools.combinations(map(Version.read, IN_ORDER), 2):
        assert older < newer
        assert newer > older
        assert older != newer


def test_what_is_the_same() -> None:
    """Zeros that are left out, and what is said of the build, make no difference."""
    assert Version.read("1.2") == Version.read("1.2.0.0") == Version.read("1.2.0+amd64")
    assert len({Version.read("1.2"), Version.read("1.2.0")}) == 1


@pytest.mark.parametrize(
    "text", ["", "v1.0", "1.", "1.0-", "1.0.0.0.0", "1 0", "newest", "1.0-rc_1", "1" * 80, "\u0661.\u0660"]
)
def test_what_is_none(text: str) -> None:
    """What can't be compared is no version."""
    with pytest.raises(ValueError, match="version"):
        Version.read(text)
