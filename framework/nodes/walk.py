"""The walk: from an object to its graph.

Whichever object JAX meets first is walked as a whole, each node and Variable once, so sharing and
cycles survive. The walk is iterative, and its result is kept until an attribute or a container of
the graph changes.
"""

from __future__ import annotations

from typing import Any
from weakref import ref

from framework.nodes.graph import Graph, Node, Watch, attributes_of
from framework.nodes.handles import Handle
from framework.nodes.structure import (
    KIND_OF_TYPE,
    Kind,
    Late,
    Record,
    Static,
    Structure,
    children_of,
    container_extras,
    signature_of,
)
from framework.nodes.values import frozen_index

__all__ = ["graph_of", "walk"]


def graph_of(root: Any) -> Graph:
    """The graph of a node or container: that of the last walk if nothing has changed since."""
    if not isinstance(root, Node):
        return walk(root)
    graph = root._meta.graph
    if graph is None or not graph.is_current():
        graph = root._meta.graph = walk(root)
    return graph


def walk(root: Any, handles_up_to: int = -1) -> Graph:
    """Walk all that is reachable from the root.

    Args:
        root: A node, or a container.
        handles_up_to: Nodes below the root whose serial is not above this are not walked into,
            but referred to by identity.
    """
    return _Walk(handles_up_to).run(root)


class _Walk:
    def __init__(self, handles_up_to: int) -> None:
        self.handles_up_to = handles_up_to
        self.structure = Structure()
        self.nodes: list[Any] = []
        self.leaves: list[Any] = []
        self.node_index: dict[int, int] = {}
        self.leaf_index: dict[int, int] = {}
        self.watches: list[tuple[ref[Any], str, Watch]] = []
        self.late: list[tuple[Late, Any]] = []

    def run(self, root: Any) -> Graph:
        structure, nodes = self.structure, self.nodes
        structure.partial = self.handles_up_to >= 0
        if isinstance(root, Node):
            structure.root = (Kind.NODE, self.add_node(root, -1, None))
        else:
            kind = KIND_OF_TYPE[type(root)]
            structure.root = (kind, self.code(root, kind, -1, (None,)))
        records: list[Record] = []
        position = 0
        while position < len(nodes):  # Grows while we go.
            node = nodes[position]
            records.append(self.record(node, position))
            structure.names.append(node._meta.name or node._meta.wanted_name)
            position += 1
        structure.records = tuple(records)
        for late, value in self.late:
            late.code = self.resolved(value)
        structure.companions = self.companions()
        return Graph(structure, nodes, self.leaves, self.watches)

    def record(self, node: Any, position: int) -> Record:
        """Code the attributes of one node. The hot loop of a walk."""
        attributes = node.__dict__ if not node._slot_names else attributes_of(node)
        head = signature_of(type(node), tuple(attributes), tuple(map(type, attributes.values())))
        leaves, leaf_index, structure = self.leaves, self.leaf_index, self.structure
        codes: list[Any] = []
        for kind, (key, value) in zip(head.kinds, attributes.items(), strict=True):
            if kind == Kind.VARIABLE:
                index = leaf_index.get(id(value))
                if index is None:
                    index = leaf_index[id(value)] = len(leaves)
                    leaves.append(value)
                    structure.leaf_places.append((position, key))
                    structure.leaf_kinds.append(Kind.VARIABLE)
                structure.variable_places.append((position, key, index))
                codes.append(index)
            elif kind == Kind.ATOM:
                codes.append(value)
            elif kind == Kind.META:
                codes.append(None)
            else:
                code = self.code(value, kind, position, (key,))
                codes.append(code)
                if kind in Kind.CONTAINERS and type(code) is not Static:
                    self.watches.append((ref(node), key, Watch(value, kind)))
        return Record(head, tuple(codes))

    def code(self, value: Any, kind: int, holder: int, keys: tuple[Any, ...]) -> Any:
        """Code any value; ``keys`` lead to it from the holder."""
        if kind == Kind.NODE:
            return self.node_code(value, holder, keys)
        if kind in (Kind.VARIABLE, Kind.ARRAY):
            index = self.add_leaf(value, kind, holder, keys)
            if kind == Kind.VARIABLE:
                self.structure.variable_places.append((holder, _simple(keys), index))
            return index
        if kind == Kind.ATOM:
            return value
        if kind in Kind.CONTAINERS:
            return self.container_code(value, kind, holder, keys)
        if kind == Kind.VIEW:
            self.structure.view_places.append((holder, _simple(keys)))
            target = value.target
            target_kind = KIND_OF_TYPE[type(target)]
            if target_kind == Kind.VARIABLE:
                code: Any = self.add_leaf(target, target_kind, holder, keys)
            else:
                code = self.code(target, target_kind, holder, keys)
            return (type(value), (target_kind, code), frozen_index(value.index))
        if kind in (Kind.REFERENCES, Kind.METHOD):
            late = Late()
            self.late.append((late, value))
            return late
        return Static(value)

    def container_code(self, value: Any, kind: int, holder: int, keys: tuple[Any, ...]) -> Any:
        child_keys, children = children_of(value, kind)
        if child_keys is None:
            return Static(value)
        items: list[tuple[int, Any]] = []
        for key, child in zip(child_keys, children, strict=True):
            child_kind = KIND_OF_TYPE[type(child)]
            # In a container, the type of an atom tells 1 from True.
            code = self.code(child, child_kind, holder, (*keys, key))
            items.append((child_kind, (type(child), code) if child_kind == Kind.ATOM else code))
        return (container_extras(value, kind), child_keys, tuple(items))

    def node_code(self, node: Any, holder: int, keys: tuple[Any, ...]) -> Any:
        index = self.node_index.get(id(node))
        if index is None:
            if node._meta.serial <= self.handles_up_to:
                return Static(Handle(node))
            index = self.add_node(node, holder, keys)
        self.structure.edges.append((holder, _simple(keys), index))
        return index

    def add_node(self, node: Any, holder: int, keys: Any) -> int:
        index = self.node_index[id(node)] = len(self.nodes)
        self.nodes.append(node)
        self.structure.node_places.append((holder, keys and _simple(keys)))
        return index

    def add_leaf(self, value: Any, kind: int, holder: int, keys: tuple[Any, ...]) -> int:
        # Only Variables are shared: an array is a value, the same wherever it stands.
        index = self.leaf_index.get(id(value)) if kind == Kind.VARIABLE else None
        if index is None:
            index = len(self.leaves)
            if kind == Kind.VARIABLE:
                self.leaf_index[id(value)] = index
            self.leaves.append(value)
            self.structure.leaf_places.append((holder, _simple(keys)))
            self.structure.leaf_kinds.append(kind)
        return index

    def companions(self) -> list[tuple[int, Any, str]]:
        """The leaves that belong to another Variable."""
        found: list[tuple[int, Any, str]] = []
        for index, (leaf, kind) in enumerate(
            zip(self.leaves, self.structure.leaf_kinds, strict=True)
        ):
            if kind == Kind.VARIABLE and leaf._companion is not None:
                target, slot = leaf._companion
                other = target()
                if other is not None:
                    target_index = self.leaf_index.get(id(other))
                    code = Handle(other) if target_index is None else target_index
                    found.append((index, code, slot))
        return found

    def resolved(self, value: Any) -> Any:
        """Code what refers into the graph, once the whole graph is known."""
        if KIND_OF_TYPE[type(value)] == Kind.METHOD:
            index = self.node_index.get(id(value.__self__))
            return Static(value) if index is None else (index, value.__func__)
        targets: list[Any] = []
        for key, variable in value.items():
            index = self.leaf_index.get(id(variable))
            targets.append((key, Handle(variable) if index is None else index))
        return (type(value), tuple(targets))


def _simple(keys: tuple[Any, ...]) -> Any:
    return keys[0] if len(keys) == 1 and keys[0] is not None else keys
