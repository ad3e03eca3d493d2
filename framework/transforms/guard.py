"""Guards: what a trace took for granted, checked at each call at next to no cost."""

from __future__ import annotations

from collections.abc import Callable
from types import CellType
from typing import Any
from weakref import ref

from framework.nodes.graph import Graph, Node, changes
from framework.nodes.walk import graph_of
from framework.transforms.roots import Binding

__all__ = ["Guard"]


class Guard:
    """The structure, static attributes and plain arrays of the objects that a trace used.

    Args:
        roots: The objects by name.
        bindings: The names under which the function finds them.
    """

    __slots__ = (
        "_cells", "_change", "_contents", "_globals", "_graphs", "_readers", "_roots", "_watches",
    )  # fmt: skip

    def __init__(self, roots: dict[str, Any], bindings: list[Binding]) -> None:
        self._cells: list[tuple[CellType, Callable[[], Any]]] = []
        self._globals: list[tuple[dict[str, Any], str, Callable[[], Any]]] = []
        self._readers: list[tuple[Callable[[], Any], Callable[[], Any]]] = []
        for name, place, value, _ in bindings:
            if isinstance(place, CellType):
                self._cells.append((place, value))
            elif isinstance(place, dict):
                self._globals.append((place, name, value))
            else:
                self._readers.append((place, value))
        # A list that the trace itself has changed is a record of traces, on which none depends.
        self._contents = [
            (value, contents)
            for _, _, value, contents in bindings
            if contents is not None and contents.match(value())
        ]
        nodes = [root for root in roots.values() if isinstance(root, Node)]
        self._roots = [ref(node) for node in nodes]
        graphs = [graph_of(node) for node in nodes]
        self._watch(graphs)

    def _watch(self, graphs: list[Graph]) -> None:
        """Take all that can change without a count from the graphs."""
        self._graphs = graphs
        self._change = changes.changed
        self._watches = [graph.watches for graph in graphs]

    def holds(self) -> bool:
        """Tell whether the trace is still right. Runs at every call."""
        try:
            for cell, value in self._cells:
                if cell.cell_contents is not value():
                    return False
            for namespace, name, value in self._globals:
                if namespace[name] is not value():
                    return False
            for read, value in self._readers:
                if read() is not value():
                    return False
            if self._contents and not self._contents_hold():
                return False
            if self._change == changes.changed:
                for watches in self._watches:
                    if not watches.hold():
                        return self._holds_after_change()
                return True
        except (ValueError, KeyError, AttributeError):  # A name is bound no more, a node is gone.
            return False
        return self._holds_after_change()

    def _contents_hold(self) -> bool:
        return all(contents.match(find()) for find, contents in self._contents)

    def _holds_after_change(self) -> bool:
        graphs: list[Graph] = []
        for root_ref, before in zip(self._roots, self._graphs, strict=True):
            root = root_ref()
            if root is None:
                return False
            graph = graph_of(root)
            if graph is not before:
                if graph.structure != before.structure:
                    return False
                # Another Variable in the place of one is another cell to read and write.
                if not all(
                    a() is b() for a, b in zip(graph.leaf_refs, before.leaf_refs, strict=True)
                ):
                    return False
            graphs.append(graph)
        self._watch(graphs)
        return True

    def is_dead(self) -> bool:
        """Tell whether one of the objects is gone, so that the guard can never hold again."""
        return any(root() is None for root in self._roots)
