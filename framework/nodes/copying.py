"""Copies of object graphs: `clone`, `copy`, `deepcopy` and `pickle`."""

from __future__ import annotations

import copy
from typing import Any, Self

import numpy as np

from framework.nodes.frames import by_value
from framework.nodes.graph import Node, attributes_of
from framework.nodes.kinds import KIND_OF_TYPE
from framework.nodes.members import Members, members_of
from framework.nodes.ownership import adopt
from framework.nodes.rebuild import Rebuild, allocate, rebuild
from framework.nodes.variable import Variable
from framework.nodes.walk import graph_of

__all__ = ["CopyMixin"]

# Pickle goes down one object inside the other; a graph deeper than this is pickled as one list.
MAX_PICKLE_DEPTH = 100


class CopyMixin(Node):
    """Independent copies with sharing intact."""

    def clone(self) -> Self:
        """Copy all that is reachable from here: new nodes, new Variables, the same values.

        Returns:
            An independent object with a name of its own. Arrays are immutable and therefore not
            copied, static attributes other than lists, tuples and dicts are shared.

        >>> from framework.nodes.base import BrainPyObject
        >>> net = BrainPyObject()
        >>> net.w = Variable(2)
        >>> twin = net.clone()
        >>> twin.w += 1
        >>> print(net.w.value, twin.w.value)
        [0. 0.] [1. 1.]
        """
        with by_value():
            graph = graph_of(self)
        return rebuild(graph.structure, [_copied(leaf) for leaf in graph.live_leaves()])

    def __copy__(self) -> Self:
        return self.clone()

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        graph = graph_of(self)
        leaves: list[Any] = []
        for leaf in graph.live_leaves():
            twin = memo.get(id(leaf))
            if twin is None:
                twin = memo[id(leaf)] = _copied(leaf)
            leaves.append(twin)
        nodes = graph.live_nodes()
        rebuilding = Rebuild(
            graph.structure,
            leaves,
            existing={i: memo[id(node)] for i, node in enumerate(nodes) if id(node) in memo},
            copy_static=lambda value: copy.deepcopy(value, memo),
        )
        memo.update((id(node), twin) for node, twin in zip(nodes, rebuilding.nodes, strict=True))
        return rebuilding.run()

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        graph = graph_of(self)
        if _depth(members_of(self)) > MAX_PICKLE_DEPTH:
            return rebuild, (graph.structure, graph.live_leaves())
        attributes = {k: v for k, v in attributes_of(self).items() if k != "_meta"}
        return allocate, (type(self),), (self._meta.name or self._meta.wanted_name, attributes)

    def __setstate__(self, state: Any) -> None:
        self._meta.wanted_name, attributes = state
        for name, value in attributes.items():
            object.__setattr__(self, name, value)
            adopt(self, value, KIND_OF_TYPE[type(value)])


def _copied(leaf: Any) -> Any:
    if isinstance(leaf, Variable):
        return copy.copy(leaf)
    return leaf.copy() if isinstance(leaf, np.ndarray) else leaf


def _depth(members: Members) -> int:
    """How deep a depth-first walk goes, which is what pickle does."""
    below: list[list[int]] = [[] for _ in members.places]
    for holder, _, index in members.edges:
        if holder >= 0:
            below[holder].append(index)
    deepest, met, stack = 0, {0}, [iter(below[0])]
    while stack:
        index = next(stack[-1], None)
        if index is None:
            stack.pop()
        elif index not in met:
            met.add(index)
            stack.append(iter(below[index]))
            deepest = max(deepest, len(stack))
    return deepest
