"""Guards: what a trace took for granted, checked at each call at next to no cost."""

from __future__ import annotations

from typing import Any
from weakref import ref

from framework.nodes.graph import Graph, Node
from framework.nodes.structure import Kind, Structure
from framework.nodes.walk import graph_of
from framework.transforms.roots import Binding

__all__ = ["Guard"]


class Guard:
    """The structure, static attributes and plain arrays of the objects that a trace used.

    Args:
        roots: The objects by name.
        bindings: The names under which the function finds them.
    """

    __slots__ = ("_arrays", "_bindings", "_graphs", "_roots", "_structures")

    def __init__(self, roots: dict[str, Any], bindings: list[Binding]) -> None:
        self._bindings = bindings
        self._roots = {name: ref(root) for name, root in roots.items() if isinstance(root, Node)}
        graphs = [graph_of(root) for root in roots.values() if isinstance(root, Node)]
        self._graphs: list[Graph] = graphs
        self._structures: list[Structure] = [graph.structure for graph in graphs]
        self._arrays = [_array_refs(graph) for graph in graphs]

    def holds(self) -> bool:
        """Tell whether the trace is still right. Runs at every call."""
        try:
            for _, read, key, value in self._bindings:
                if read(key) is not value():
                    return False
        except (ValueError, KeyError, AttributeError):  # The name is bound no more.
            return False
        for graph in self._graphs:
            if not graph.is_current():
                return self._holds_after_change()
        return True

    def _holds_after_change(self) -> bool:
        for index, root_ref in enumerate(self._roots.values()):
            root = root_ref()
            if root is None:
                return False
            graph = graph_of(root)
            if graph.structure != self._structures[index]:
                return False
            arrays = _array_refs(graph)
            if any(a() is not b() for a, b in zip(arrays, self._arrays[index], strict=True)):
                return False
            self._graphs[index] = graph
        return True

    def is_dead(self) -> bool:
        """Tell whether one of the objects is gone, so that the guard can never hold again."""
        return any(root() is None for root in self._roots.values())


def _array_refs(graph: Graph) -> list[Any]:
    kinds = graph.structure.places.leaf_kinds
    return [leaf for leaf, kind in zip(graph.leaf_refs, kinds, strict=True) if kind == Kind.ARRAY]
