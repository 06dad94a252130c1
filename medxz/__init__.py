"""medxz: the sync library that devices, hubs and the cloud share; and the device that EMR developers import.

    from medxz import Device

Names are loaded when they are first asked for, so that a server does not load the client it never is.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from medxz.device.device import (
        Device,
        HeldOp,
        Level,
        Machine,
        Parked,
        Progress,
        Recorded,
        Status,
        SyncReport,
    )
    from medxz.errors import (
        ConfigurationError,
        MedxzError,
        OpInvalid,
        PayloadInvalid,
        PeerRefused,
        PeerUnreachable,
        PeerUntrusted,
        StoreError,
        StoreKeyWrong,
        StoreLocked,
    )
    from medxz.op import Operation

__all__ = [
    "Device", "HeldOp", "Level", "Machine", "Operation", "Parked", "Progress", "Recorded", "Status", "SyncReport",
    "ConfigurationError", "MedxzError", "OpInvalid", "PayloadInvalid", "PeerRefused", "PeerUnreachable",
    "PeerUntrusted", "StoreError", "StoreKeyWrong", "StoreLocked",
]  # fmt: skip

_DEVICE: Final = {
    "Device", "HeldOp", "Level", "Machine", "Parked", "Progress", "Recorded", "Status", "SyncReport",
}  # fmt: skip


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'medxz' has no attribute {name!r}")
    home = "medxz.device.device" if name in _DEVICE else "medxz.op" if name == "Operation" else "medxz.errors"
    return getattr(importlib.import_module(home), name)
