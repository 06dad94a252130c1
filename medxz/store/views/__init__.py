"""What is derived from ops, in tables that can be thrown away: entities by type, conflicts, who is found by what.

The same on hub, cloud and device. `Views` is the tables on somebody's connection; on a server they are a file of its
own, which a `Follower` fills from the log.
"""

from __future__ import annotations

from medxz.store.views.dated import Asked
from medxz.store.views.file import ViewsFile, ViewsLost
from medxz.store.views.follower import Follower
from medxz.store.views.rows import ConflictState, Found, HeldConflict, Portion
from medxz.store.views.schema import prepare
from medxz.store.views.views import Views

__all__ = [
    "Asked", "ConflictState", "Follower", "Found", "HeldConflict", "Portion", "Views", "ViewsFile", "ViewsLost",
    "prepare",
]  # fmt: skip
