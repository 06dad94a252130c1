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
        LoggedIn,
        Machine,
        Parked,
        Progress,
        Recorded,
        Status,
        SyncReport,
        TargetStatus,
        ToldConflict,
        ToldRetract,
        ToldSide,
    )
    from medxz.errors import (
        ConfigurationError,
        DeviceLocked,
        LoginNeeded,
        MedxzError,
        OpInvalid,
        PayloadInvalid,
        PeerRefused,
        PeerUnreachable,
        PeerUntrusted,
        RoleForbids,
        StoreError,
        StoreKeyWrong,
        StoreLocked,
        UnlockRefused,
    )
    from medxz.merge.history import History
    from medxz.merge.view import View
    from medxz.op import Operation
    from medxz.store.views import Portion

__all__ = [
    "Device", "HeldOp", "History", "Level", "LoggedIn", "Machine", "Operation", "Parked", "Portion", "Progress", "Recorded",
    "Status", "SyncReport", "TargetStatus", "ToldConflict", "ToldRetract", "ToldSide", "View",
    "ConfigurationError", "DeviceLocked", "LoginNeeded", "MedxzError", "OpInvalid", "PayloadInvalid", "PeerRefused",
    "PeerUnreachable", "PeerUntrusted", "RoleForbids", "StoreError", "StoreKeyWrong", "StoreLocked", "UnlockRefused",
]  # fmt: skip

_HOMES: Final = {
    "History": "medxz.merge.history", "Operation": "medxz.op", "Portion": "medxz.store.views",
    "View": "medxz.merge.view",
} | dict.fromkeys(
    (
        "Device", "HeldOp", "Level", "LoggedIn", "Machine", "Parked", "Progress", "Recorded", "Status", "SyncReport",
        "TargetStatus", "ToldConflict", "ToldRetract", "ToldSide",
    ),
    "medxz.device.device",
)  # fmt: skip


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'medxz' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES.get(name, "medxz.errors")), name)
