"""A map from field names that costs what is changed: whoever puts something gets a new one that shares the rest.

A hundred heads beside each other each change one field of an entity that has thousands: what they have in common
stands in memory once, and `differing` does not look at it. A tree of small dicts, by bits of the name's hash; a map
that fits into one dict is one dict. What has been put is never changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Generic, TypeVar

V = TypeVar("V")
Groups = list[tuple[V | None, int]]

_Part = dict[str, Any] | list[Any]  # a leaf, or a branch of parts

LEAF_MAX: Final = 32
_BITS: Final = 4
_SLOTS: Final = 1 << _BITS
_DEEPEST: Final = 14  # names whose hashes agree so far stay in one leaf


class Fields(Generic[V]):
    """Field names and what stands under them."""

    __slots__ = ("root",)

    def __init__(self, root: _Part) -> None:
        self.root = root

    @classmethod
    def of(cls, items: Mapping[str, V]) -> Fields[V]:
        """These, and nothing else."""
        return cls(_leaf_or_branch(dict(items), 0))

    def get(self, name: str) -> V | None:
        """What stands under this name; None where nothing does."""
        part, code = self.root, hash(name)
        while type(part) is list:
            part = part[code % _SLOTS]
            code >>= _BITS
        found: V | None = part.get(name)  # type: ignore[union-attr]
        return found

    def put(self, items: Mapping[str, V]) -> Fields[V]:
        """The same with these."""
        if not items:
            return self
        return Fields(_put(self.root, dict(items), 0))

    def filled(self, value: V) -> Fields[V]:
        """The same names, all with this."""
        return Fields(_filled(self.root, value))

    def items(self) -> Iterator[tuple[str, V]]:
        """Each name with what stands under it, in no order."""
        stack = [self.root]
        while stack:
            part = stack.pop()
            if isinstance(part, list):
                stack += part
            else:
                yield from part.items()

    def __len__(self) -> int:
        return sum(1 for _ in self.items())


def differing(several: Sequence[Fields[V]]) -> Iterator[tuple[str, Groups[V]]]:
    """The names under which these do not hold the very same object, and who holds which (the places as bits).

    What they share is not looked at. Equal things that were made twice are not the very same.
    """
    stack = [(_grouped([(fields.root, 1 << place) for place, fields in enumerate(several)]), 0)]
    while stack:
        groups, depth = stack.pop()
        if len(groups) == 1:
            continue
        if all(type(part) is dict for part, _ in groups):
            for name in dict.fromkeys(name for part, _ in groups for name in part):
                held = _grouped([(part.get(name), places) for part, places in groups])
                if len(held) > 1:
                    yield name, held
        else:
            parts = [(part if type(part) is list else _split(part, depth), places) for part, places in groups]
            for slot in range(_SLOTS):
                inner = _grouped([(part[slot], places) for part, places in parts])
                if len(inner) > 1:
                    stack.append((inner, depth + 1))


def _grouped(held: Iterable[tuple[Any, int]]) -> list[tuple[Any, int]]:
    """Each object once, with all the places that have it."""
    found: dict[int, tuple[Any, int]] = {}
    for thing, places in held:
        known = found.get(id(thing))
        found[id(thing)] = (thing, places) if known is None else (thing, places | known[1])
    return list(found.values())


def _put(part: _Part, items: dict[str, Any], depth: int) -> _Part:
    if isinstance(part, dict):
        return _leaf_or_branch({**part, **items}, depth)
    branch = list(part)
    for slot, some in enumerate(_split(items, depth)):
        if some:
            branch[slot] = _put(branch[slot], some, depth + 1)
    return branch


def _leaf_or_branch(items: dict[str, Any], depth: int) -> _Part:
    if len(items) <= LEAF_MAX or depth == _DEEPEST:
        return items
    return [_leaf_or_branch(some, depth + 1) for some in _split(items, depth)]


def _split(items: Mapping[str, Any], depth: int) -> list[dict[str, Any]]:
    slots: list[dict[str, Any]] = [{} for _ in range(_SLOTS)]
    shift = _BITS * depth
    for name, value in items.items():
        slots[(hash(name) >> shift) % _SLOTS][name] = value
    return slots


def _filled(part: _Part, value: object) -> _Part:
    if isinstance(part, dict):
        return dict.fromkeys(part, value)
    return [_filled(inner, value) for inner in part]
