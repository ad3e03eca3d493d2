"""Rebuilding: from a structure and new leaves to an independent object graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MethodType
from typing import Any
from weakref import ref

from framework.nodes.frames import current_trace
from framework.nodes.graph import Graph, Meta, Watch
from framework.nodes.structure import Kind, Record, Static, Structure, container_of
from framework.nodes.values import thawed_index
from framework.nodes.variable import Variable

__all__ = ["Rebuild", "allocate", "rebuild"]


def allocate(cls: type[Any], home: object | None = None) -> Any:
    """Make an empty node, without calling its constructor."""
    node = object.__new__(cls)
    node.__dict__["_meta"] = Meta(home)
    return node


def rebuild(structure: Structure, leaves: Sequence[Any]) -> Any:
    """Make new nodes and containers around the leaves, whatever these are.

    Args:
        structure: What to build.
        leaves: What stands in the place of each Variable and array.

    Returns:
        The root: a node or a container.
    """
    return Rebuild(structure, leaves).run()


class Rebuild:
    """One rebuilding, in two steps: ``nodes`` exist from the start, ``run()`` fills them.

    Args:
        structure: What to build.
        leaves: What stands in the place of each Variable and array.
        existing: Nodes to take as they are, by index.
        copy_static: Applied to each static value that is no plain atom.
    """

    def __init__(
        self,
        structure: Structure,
        leaves: Sequence[Any],
        existing: Mapping[int, Any] | None = None,
        copy_static: Callable[[Any], Any] | None = None,
    ) -> None:
        self.structure = structure
        self.leaves = leaves
        self.existing = existing or {}
        self.copy_static = copy_static
        self.watches: list[Any] = []
        self.home = home = current_trace()
        self.nodes: list[Any] = [allocate(r.signature.cls, home) for r in structure.records]
        for index, node in self.existing.items():
            self.nodes[index] = node

    def run(self) -> Any:
        """Fill the nodes.

        Returns:
            The root.
        """
        structure, leaves, nodes = self.structure, self.leaves, self.nodes
        for index, node in enumerate(nodes):
            if index not in self.existing:
                self.fill(node, structure.records[index])
                node._meta.wanted_name = structure.names[index]
                holder = structure.node_places[index][0]
                node._meta.owner = ref(nodes[holder]) if holder >= 0 else None
        if not structure.partial:
            self.settle_variables()
        root = self.value(*structure.root)
        if structure.root[0] == Kind.NODE and not structure.partial:
            root._meta.graph = Graph(structure, nodes, list(leaves), self.watches)
        return root

    def settle_variables(self) -> None:
        """Tell new Variables whose they are."""
        leaves, home = self.leaves, self.home
        for leaf, (holder, _) in zip(leaves, self.structure.leaf_places, strict=True):
            if isinstance(leaf, Variable):
                leaf._home = home
                if leaf._owner is None and holder >= 0:
                    leaf._owner = ref(self.nodes[holder])
        for index, target, slot in self.structure.companions:
            leaf = leaves[index]
            if isinstance(leaf, Variable):
                other = leaves[target] if isinstance(target, int) else target.target()
                leaf._companion = (ref(other), slot) if isinstance(other, Variable) else None

    def fill(self, node: Any, record: Record) -> None:
        """Set the attributes of one node."""
        leaves, target, slots = self.leaves, node.__dict__, node._slot_names
        head = record.signature
        for key, kind, code in zip(head.keys, head.kinds, record.codes, strict=True):
            if kind in (Kind.VARIABLE, Kind.ARRAY):
                value = leaves[code]
            elif kind == Kind.ATOM:
                value = code
            elif kind == Kind.META:
                continue
            else:
                value = self.value(kind, code)
                if kind in Kind.CONTAINERS and type(code) is not Static:
                    self.watches.append((ref(node), key, Watch(value, kind)))
            if slots and key in slots:
                object.__setattr__(node, key, value)
            else:
                target[key] = value

    def value(self, kind: int, code: Any) -> Any:
        """Rebuild one coded value."""
        if kind in (Kind.VARIABLE, Kind.ARRAY):
            return self.leaves[code]
        if type(code) is Static:
            if kind == Kind.NODE:
                return code.value.target()
            return self.copy_static(code.value) if self.copy_static else code.value
        if kind == Kind.NODE:
            return self.nodes[code]
        if kind == Kind.ATOM:
            return code[1]
        if kind in Kind.CONTAINERS:
            extras, keys, items = code
            return container_of(kind, extras, keys, [self.value(*item) for item in items])
        if kind == Kind.VIEW:
            cls, target, index = code
            return cls.over(self.value(*target), thawed_index(index))
        if type(code.code) is Static:
            return code.code.value
        if kind == Kind.METHOD:
            index, function = code.code
            return MethodType(function, self.nodes[index])
        cls, targets = code.code
        return cls._trusted(
            (key, self.leaves[t] if isinstance(t, int) else t.target()) for key, t in targets
        )
