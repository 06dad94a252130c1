"""How a mistake gets into real code: names are given other values for as long as it stands, and get their own back."""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from typing import Any

_PROGRAMS = ("medxz", "hub", "cloud")


class Plant:
    """What was changed, to be taken back in reverse order."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack

    def put(self, owner: object, name: str, value: object) -> Any:
        """This name of a class or a module is that from now on; what it was."""
        before = vars(owner)[name]
        setattr(owner, name, value)
        self._stack.callback(setattr, owner, name, before)
        return before

    def everywhere(self, function: Callable[..., Any], value: object) -> None:
        """The same, wherever a module of the programs has imported that function by its name."""
        _import_all()  # one that is first imported meanwhile would keep the mistake
        for name, module in sorted(sys.modules.items()):
            if name.partition(".")[0] in _PROGRAMS:
                for held in [held for held, what in vars(module).items() if what is function]:
                    self.put(module, held, value)


@cache
def _import_all() -> None:
    for program in _PROGRAMS:
        for module in pkgutil.walk_packages(importlib.import_module(program).__path__, f"{program}."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)


@dataclass(frozen=True, slots=True)
class Mistake:
    """One that somebody could have made. `breaks`: which promise, in a few words."""

    name: str
    what: str
    breaks: str
    plant: Callable[[Plant], None]
