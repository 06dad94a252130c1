"""What `medxz-hub pair` shows to people."""

from __future__ import annotations

import sys

import pytest

from hub.people import _shown

FP = "4e9c778c2cbb02e29306ae8dd4d2cb76ad6522a7c6b7859d8da2b3583954b217"
URL = f"https://192.0.2.7:8443/#c=7KQ2M9XF&fp={FP}"
ANSWER = {"code": "7KQ2M9XF", "expires_at": "2026-11-22T10:00:00.000Z", "url": URL, "fp": FP}
BLOCKS = frozenset("█▀▄")


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_terminal_shows_a_qr_code_too(monkeypatch: pytest.MonkeyPatch, is_terminal: bool) -> None:
    """Code in groups, address, what is to be compared and the QR's text everywhere; the picture on a terminal alone."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: is_terminal, raising=False)
    shown = _shown(ANSWER)
    for part in ("7KQ2-M9XF", "https://192.0.2.7:8443/", "4e9c 778c 2cbb 02e2", URL, ANSWER["expires_at"]):
        assert part in shown
    assert bool(BLOCKS & set(shown)) == is_terminal
    if is_terminal:
        picture = [line for line in shown.splitlines() if BLOCKS & set(line)]
        widths = {len(line) for line in picture}
        assert len(widths) == 1
        assert widths.pop() <= 80, "it fits a terminal of the usual width"
