"""Graphs: what is reachable from an object, as weak references to nodes and leaves."""

from __future__ import annotations

from operator import call, is_
from typing import Any
from weakref import ref

from framework.nodes.collectors import Collector, References
from framework.nodes.frames import next_serial
from framework.nodes.handles import Handle
from framework.nodes.structure import KIND_OF_TYPE, Kind, Structure, children_of, weak
from framework.nodes.variable import Variable
from framework.nodes.view import VariableView

__all__ = ["Graph", "Meta", "Node", "Watch", "attributes_of", "changes"]


class _Changes:
    """Counts changes of attributes anywhere, so that an unchanged graph is recognised at once."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0


changes = _Changes()


class Meta:
    """The bookkeeping of one node."""

    __slots__ = ("graph", "handle", "home", "name", "owner", "serial", "version", "wanted_name")

    def __init__(self, home: object | None) -> None:
        self.name: str | None = None
        self.wanted_name: str | None = None
        # The JAX trace in which the node was made; None outside of all traces.
        self.home = home
        self.serial = next_serial()
        self.version = 0
        self.graph: Graph | None = None
        self.handle: Handle | None = None
        # The object that first took this node as an attribute; only error messages read it.
        self.owner: ref[Any] | None = None


class Node:
    """What a walk goes into. ``BrainPyObject`` is the only direct subclass."""

    _slot_names: tuple[str, ...] = ()
    _meta: Meta


for _class, _kind in (
    (Variable, Kind.VARIABLE),
    (VariableView, Kind.VIEW),
    (Node, Kind.NODE),
    (Collector, Kind.DICT),
    (References, Kind.REFERENCES),
    (Meta, Kind.META),
):
    KIND_OF_TYPE.declare(_class, _kind)


def attributes_of(node: Node) -> dict[str, Any]:
    """The instance attributes of a node, those in ``__slots__`` included."""
    if not node._slot_names:
        return node.__dict__
    slots = {name: getattr(node, name) for name in node._slot_names if hasattr(node, name)}
    return {**node.__dict__, **slots}


class Watch:
    """What a container held when it was walked, to notice changes in place.

    Args:
        value: A list, a dictionary, or another PyTree.
        kind: Its kind.
    """

    __slots__ = ("held", "keys", "kind", "nested")

    def __init__(self, value: Any, kind: int) -> None:
        self.kind = kind
        self.keys, children = children_of(value, kind)
        nested = {}
        held: list[Any] = []
        for index, child in enumerate(children):
            child_kind = KIND_OF_TYPE[type(child)]
            watch = Watch(child, child_kind) if child_kind in Kind.CONTAINERS else None
            if watch is not None and watch.keys is not None:
                nested[index] = watch
            held.append(weak(child))
        # A tuple inside a list may be the only holder of what it holds, and must not outlive it.
        self.nested = nested
        self.held = held if not nested else [
            None if i in nested else h for i, h in enumerate(held)
        ]

    def matches(self, value: Any) -> bool:
        """Tell whether the container still holds the same objects."""
        kind = self.kind
        if KIND_OF_TYPE[type(value)] != kind:
            return False
        if kind == Kind.LIST:
            children = value
        else:
            keys, children = children_of(value, kind)
            if keys != self.keys:
                return False
        if len(children) != len(self.held):
            return False
        if not self.nested:
            return all(map(is_, map(call, self.held), children))
        for index, (hold, child) in enumerate(zip(self.held, children, strict=True)):
            watch = self.nested.get(index)
            if not (hold() is child if watch is None else watch.matches(child)):
                return False
        return True


class Graph:
    """The result of a walk: the structure, and weak references to nodes and leaves in its order.

    Args:
        structure: The static side.
        nodes: Its nodes.
        leaves: Its Variables, and the arrays that nodes hold as plain attributes.
        watches: For each container attribute: node, attribute name and what it held.
    """

    __slots__ = (
        "__weakref__", "change", "leaves", "nodes", "structure", "tables", "versions", "watches",
    )  # fmt: skip

    def __init__(
        self,
        structure: Structure,
        nodes: list[Any],
        leaves: list[Any],
        watches: list[tuple[ref[Any], str, Watch]],
    ) -> None:
        self.structure = structure
        self.change = changes.count
        self.versions = [node._meta.version for node in nodes]
        self.nodes = list(map(ref, nodes))
        try:
            self.leaves: list[Any] = list(map(ref, leaves))
        except TypeError:
            self.leaves = list(map(weak, leaves))
        self.watches = watches
        # Results that are derived from the graph, kept by those who derive them.
        self.tables: dict[Any, Any] = {}

    def is_current(self) -> bool:
        """Tell whether a new walk would give the same."""
        if self.change != changes.count:
            try:
                versions = [node()._meta.version for node in self.nodes]  # pyright: ignore
            except AttributeError:  # A node is gone.
                return False
            if versions != self.versions:
                return False
            self.change = changes.count
        for node, attribute, watch in self.watches:
            holder = node()
            if holder is None or not watch.matches(getattr(holder, attribute, None)):
                return False
        return True

    def live_nodes(self) -> list[Any]:
        """The nodes."""
        return [node() for node in self.nodes]

    def live_leaves(self) -> list[Any]:
        """The Variables and arrays."""
        return [leaf() for leaf in self.leaves]
