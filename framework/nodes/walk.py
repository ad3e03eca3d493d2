"""The walk: from an object to its graph.

Whichever object JAX meets first is walked as a whole, each node and Variable once, so sharing and
cycles survive. The walk is iterative, and its result is kept until an attribute or a container of
the graph changes.
"""

from __future__ import annotations

from typing import Any
from weakref import ref

from framework.nodes.children import StateInSetError, children_of, container_extras, members_of_set
from framework.nodes.collection import no_garbage_collection
from framework.nodes.graph import Graph, Node, Watch, add_watch, attributes_of
from framework.nodes.handles import Handle
from framework.nodes.kinds import KIND_OF_TYPE, Kind
from framework.nodes.stand_ins import StandIn, marked
from framework.nodes.static import Static
from framework.nodes.structure import IMPLICIT, Late, Record, Signature, Structure, signature_of
from framework.nodes.values import frozen_index
from framework.nodes.variable import Variable

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
        self.nodes: list[Any] = []
        self.leaves: list[Any] = []
        self.node_index: dict[int, int] = {}
        self.leaf_index: dict[Variable, int] = {}
        self.watches: list[tuple[ref[Any], str, Watch]] = []
        self.late: list[tuple[Late, Any]] = []

    def run(self, root: Any) -> Graph:
        if isinstance(root, Node):
            root_code = (Kind.NODE, self.node_code(root))
        else:
            kind = KIND_OF_TYPE[type(root)]
            root_code = (kind, self.code(root, kind))
        with no_garbage_collection():
            records = self.records()
            for late, value in self.late:
                late.code = self.resolved(value)
            structure = Structure(
                root_code,
                tuple(records),
                [node._meta.name or node._meta.wanted_name for node in self.nodes],
                self.companions(),
                partial=self.handles_up_to >= 0,
            )
            return Graph(structure, self.nodes, self.leaves, self.watches)

    def records(self) -> list[Record]:
        """Code the attributes of all nodes. The hot loop of a walk."""
        leaves, leaf_index = self.leaves, self.leaf_index
        records: list[Record] = []
        plans: dict[type, tuple[Any, Any, Signature]] = {}
        for node in self.nodes:  # Grows while we go.
            cls = type(node)
            attributes = node.__dict__ if not cls._slot_names else attributes_of(node)
            names = tuple(attributes)
            types = tuple(map(type, attributes.values()))
            # Nodes of one class mostly have the same attributes.
            plan = plans.get(cls)
            if plan is not None and plan[0] == names and plan[1] == types:
                head = plan[2]
                codes = list(head.arrange(tuple(attributes.values())))
                if codes[head.meta].stand_ins is not None:
                    head, codes = self.head(node, attributes)
            else:
                head, codes = self.head(node, attributes)
                if not head.has_implicit and node._meta.stand_ins is None:
                    plans[cls] = (names, types, head)
            codes[head.meta] = None
            for position, _ in head.variables:
                variable = codes[position]
                index = leaf_index.get(variable)
                if index is None:
                    index = leaf_index[variable] = len(leaves)
                    leaves.append(variable)
                codes[position] = index
            for position in head.others:
                kind, value = head.kinds[position], codes[position]
                try:
                    codes[position] = code = self.code(value, kind)
                except StateInSetError as error:
                    raise error.at(node, head.keys[position]) from None
                if kind in Kind.WATCHED and type(code) is not Static:
                    name = head.keys[position]
                    add_watch(self.watches, node, name, attributes[name], kind)
            records.append((head, tuple(codes)))
        return records

    def head(self, node: Any, attributes: dict[str, Any]) -> tuple[Signature, list[Any]]:
        """The signature of a node, and its values in that order."""
        for name in IMPLICIT.intersection(attributes):
            collector = attributes[name]
            if not collector:
                attributes = {k: v for k, v in attributes.items() if k != name}
                add_watch(self.watches, node, name, collector, Kind.DICT)
        if node._meta.stand_ins is not None:
            attributes = marked(attributes, node._meta.stand_ins)
        values = tuple(attributes.values())
        head = signature_of(type(node), tuple(attributes), tuple(map(type, values)))
        return head, list(head.arrange(values))

    def code(self, value: Any, kind: int) -> Any:
        """Code any value."""
        if kind == Kind.NODE:
            return self.node_code(value)
        if kind == Kind.VARIABLE:
            index = self.leaf_index.get(value)
            return self.add_leaf(value) if index is None else index
        if kind == Kind.ARRAY:
            # Only Variables are shared: an array is a value, the same wherever it stands.
            self.leaves.append(value.value if type(value) is StandIn else value)
            return len(self.leaves) - 1
        if kind in Kind.CONTAINERS:
            return self.container_code(value, kind)
        if kind == Kind.VIEW:
            target_kind = KIND_OF_TYPE[type(value.target)]
            target = (target_kind, self.code(value.target, target_kind))
            return (type(value), target, frozen_index(value.index))
        if kind in (Kind.REFERENCES, Kind.METHOD):
            late = Late()
            self.late.append((late, value))
            return late
        if kind == Kind.SET:
            return (type(value), Static(members_of_set(value)))
        return None if kind == Kind.META else Static(value)

    def container_code(self, value: Any, kind: int) -> Any:
        keys, children = children_of(value, kind)
        if keys is None:
            return Static(value)
        items: list[tuple[int, Any]] = []
        node_index = self.node_index
        for child in children:
            child_kind = KIND_OF_TYPE[type(child)]
            if child_kind == Kind.NODE and (index := node_index.get(id(child))) is not None:
                items.append((child_kind, index))
                continue
            # In a container, the type of an atom tells 1 from True.
            code = (type(child), child) if child_kind == Kind.ATOM else self.code(child, child_kind)
            items.append((child_kind, code))
        return (container_extras(value, kind), keys, tuple(items))

    def node_code(self, node: Any) -> Any:
        index = self.node_index.get(id(node))
        if index is None:
            if node._meta.serial <= self.handles_up_to:
                return Static(Handle(node))
            index = self.node_index[id(node)] = len(self.nodes)
            self.nodes.append(node)
        return index

    def add_leaf(self, variable: Variable) -> int:
        index = self.leaf_index[variable] = len(self.leaves)
        self.leaves.append(variable)
        return index

    def companions(self) -> list[tuple[int, Any, str]]:
        """The Variables that belong to another."""
        noted = ((v, i, v._notes) for v, i in self.leaf_index.items())
        return [
            (index, self.index_or_handle(companion[0]), companion[1])
            for variable, index, notes in noted
            if notes is not None
            and notes.companion is not None
            and (companion := variable._companion) is not None
        ]

    def index_or_handle(self, variable: Variable) -> Any:
        index = self.leaf_index.get(variable)
        return Handle(variable) if index is None else index

    def resolved(self, value: Any) -> Any:
        """Code what refers into the graph, once the whole graph is known."""
        if KIND_OF_TYPE[type(value)] == Kind.METHOD:
            index = self.node_index.get(id(value.__self__))
            return Static(value) if index is None else (index, value.__func__)
        return (type(value), tuple((k, self.index_or_handle(v)) for k, v in value.items()))
