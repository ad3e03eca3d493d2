"""Plain arrays in mapped objects: each lane of `vmap` sees a twin of the object with its slices."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from framework.nodes.graph import Node
from framework.nodes.kinds import Kind
from framework.nodes.rebuild import rebuild
from framework.nodes.variable import Variable
from framework.nodes.walk import graph_of

__all__ = ["arrays_of", "lane_twin"]


def arrays_of(item: Any) -> list[Any]:
    """The arrays that a node and those below it hold as plain attributes."""
    if not isinstance(item, Node):
        return []
    graph = graph_of(item)
    kinds = graph.structure.places.leaf_kinds
    return [x for x, kind in zip(graph.live_leaves(), kinds, strict=True) if kind == Kind.ARRAY]


def lane_twin(node: Any, slices: Iterator[Any]) -> Any:
    """The same graph around the same Variables, with other plain arrays.

    Args:
        node: The node.
        slices: The arrays, as many as it has.
    """
    graph = graph_of(node)
    kinds = graph.structure.places.leaf_kinds
    leaves = [
        next(slices) if kind == Kind.ARRAY else x
        for x, kind in zip(graph.live_leaves(), kinds, strict=True)
    ]
    homes = [(x, x._home) for x in leaves if isinstance(x, Variable)]
    twin = rebuild(graph.structure, leaves)
    for variable, home in homes:
        # A rebuilt graph makes its Variables those of the present trace; these are from outside.
        variable._home = home
    return twin
