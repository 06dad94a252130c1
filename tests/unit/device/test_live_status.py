"""What `medxz status --watch` shows on a terminal."""

from __future__ import annotations

import io

from rich.console import Console

from medxz.device.device import Status, TargetStatus
from medxz.device.live_status import _screen
from tests.making import CLINIC, DEVICE, USER

URL = "https://hub-of-the-ward.riverside.example:8443"


def test_the_screen_in_80_columns() -> None:
    """A server's whole address is there to be read and typed, and why it is down."""
    why = f"the hub at {URL} does not answer any more"
    target = TargetStatus("hub", URL, None, "config", "down", 17.0, "2026-11-22T04:01:11.642Z", None, why)
    status = Status(
        here=0, hub=0, cloud=0, parked=0, open_conflicts=0, refused_upstream=(), target=None, targets=(target,),
        server_id=None, clinic_id=CLINIC, device_id=DEVICE, site_id=None, user_id=USER, email=None, roles=None,
        locked=False, last_seq=0, cloud_through=0, cloud_epoch=None, keep_own_days=14,
    )  # fmt: skip
    shown = io.StringIO()
    Console(width=80, file=shown).print(_screen(status, []))
    text = shown.getvalue()
    assert "…" not in text
    assert why in " ".join(text.split())
