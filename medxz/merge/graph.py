"""The graph of an entity's ops: an order in which parents come first, the heads, the parents that are not here.

Only a broken device can make a cycle; edges inside one are left out, so that every set of ops has an order. Nothing
here recurses.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from dataclasses import dataclass

from medxz.merge.change import Change


@dataclass(frozen=True, slots=True)
class Graph:
    """Ops in an order that is a function of their set: parents first, then by op_id. Places are places in it."""

    changes: list[Change]
    parents: list[list[int]]
    heads: list[int]
    missing: list[str]

    @property
    def forked(self) -> bool:
        """Whether anything in it was written beside something else."""
        return len(self.heads) > 1 or any(len(parents) > 1 for parents in self.parents)


def graph_of(changes: Iterable[Change]) -> Graph:
    """The graph of these ops. One that is given twice counts once."""
    by_id = {change.op_id: change for change in changes}
    edges, missing = _edges(by_id)
    order = _ordered(edges)
    if len(order) < len(by_id):
        _leave_out_cycles(edges)
        order = _ordered(edges)
    place = {op_id: index for index, op_id in enumerate(order)}
    parents = [[place[parent] for parent in edges[op_id]] for op_id in order]
    named = {parent for some in parents for parent in some}
    heads = [index for index in range(len(order)) if index not in named]
    return Graph([by_id[op_id] for op_id in order], parents, heads, sorted(missing))


def _edges(by_id: dict[str, Change]) -> tuple[dict[str, list[str]], set[str]]:
    """To each op its parents that are here, itself left out; and the parents that are not."""
    edges: dict[str, list[str]] = {}
    missing: set[str] = set()
    for op_id, change in by_id.items():
        here = []
        for parent in dict.fromkeys(change.parents):
            if parent not in by_id:
                missing.add(parent)
            elif parent != op_id:
                here.append(parent)
        edges[op_id] = here
    return edges, missing


def _ordered(edges: dict[str, list[str]]) -> list[str]:
    """Parents first, then by op_id. What is in a cycle or behind one is not in it."""
    waiting = {op_id: len(parents) for op_id, parents in edges.items()}
    children: dict[str, list[str]] = {}
    for op_id, parents in edges.items():
        for parent in parents:
            children.setdefault(parent, []).append(op_id)
    ready = [op_id for op_id, count in waiting.items() if not count]
    heapq.heapify(ready)
    order = []
    while ready:
        op_id = heapq.heappop(ready)
        order.append(op_id)
        for child in children.get(op_id, ()):
            waiting[child] -= 1
            if not waiting[child]:
                heapq.heappush(ready, child)
    return order


def _leave_out_cycles(edges: dict[str, list[str]]) -> None:
    """Drop each edge between two ops that can reach each other."""
    circle = _circles(edges)
    for op_id, parents in edges.items():
        edges[op_id] = [parent for parent in parents if circle[parent] != circle[op_id]]


def _circles(edges: dict[str, list[str]]) -> dict[str, int]:
    """To each op the number of its strongly connected component (Tarjan's, with a stack of its own)."""
    circle: dict[str, int] = {}
    entered: dict[str, int] = {}
    low: dict[str, int] = {}
    open_ops: list[str] = []
    for start, parents in edges.items():
        if start in entered:
            continue
        entered[start] = low[start] = len(entered)
        open_ops.append(start)
        path = [(start, iter(parents))]
        while path:
            op_id, rest = path[-1]
            parent = next(rest, None)
            if parent is None:
                path.pop()
                if path:
                    low[path[-1][0]] = min(low[path[-1][0]], low[op_id])
                if low[op_id] == entered[op_id]:
                    _close(op_id, open_ops, circle, entered[op_id])
            elif parent not in entered:
                entered[parent] = low[parent] = len(entered)
                open_ops.append(parent)
                path.append((parent, iter(edges[parent])))
            elif parent not in circle:
                low[op_id] = min(low[op_id], entered[parent])
    return circle


def _close(op_id: str, open_ops: list[str], circle: dict[str, int], number: int) -> None:
    while True:
        member = open_ops.pop()
        circle[member] = number
        if member == op_id:
            return
