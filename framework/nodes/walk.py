"""The walk: from an object to its graph.

Whichever object JAX meets first is walked as a whole, each node and Variable once, so sharing and
cycles survive. The walk is iterative, and its result is kept until an attribute or a container of
the graph changes.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

from framework.nodes.bound import taken_apart
from framework.nodes.children import StateInSetError, children_of, container_extras, members_of_set
from framework.nodes.collection import no_garbage_collection
from framework.nodes.exploration import Exploration
from framework.nodes.graph import Graph, Node, attributes_of
from framework.nodes.handles import Handle, weak_all
from framework.nodes.kinds import KIND_OF_TYPE, Kind, kinds_among
from framework.nodes.recoding import recoded
from framework.nodes.records import Late, Record
from framework.nodes.signature import IMPLICIT, Signature, signature_of
from framework.nodes.stand_ins import StandIn, marked
from framework.nodes.static import Static
from framework.nodes.structure import Structure
from framework.nodes.values import frozen_index
from framework.nodes.variable import Variable

__all__ = ["graph_of", "walk"]


def graph_of(root: Any) -> Graph:
    """The graph of a node or container: that of the last walk if nothing has changed since."""
    if not isinstance(root, Node):
        return walk(root)
    graph = root._meta.graph
    if graph is None or not graph.is_current():
        graph = root._meta.graph = (graph and recoded(graph)) or walk(root)
    return graph


def walk(root: Any, handles_up_to: int = -1) -> Graph:
    """Walk all that is reachable from the root.

    Args:
        root: A node, or a container.
        handles_up_to: Nodes below the root whose serial is not above this are not walked into,
            but referred to by identity.
    """
    with no_garbage_collection():
        return _Walk(root, handles_up_to).run()


class _Walk:
    def __init__(self, root: Any, handles_up_to: int) -> None:
        self.root = root
        self.partial = handles_up_to >= 0
        self.found = found = Exploration(root, canonical=True, handles_up_to=handles_up_to)
        # Those that nodes hold as attributes come first among the leaves.
        own = found.variables[: len(found.variables) - len(found.contained)]
        self.distinct: dict[Variable, None] = dict.fromkeys(own)
        self.shared = len(self.distinct) < len(own)
        self.leaves: list[Any] = list(self.distinct)
        self.arrays: list[int] = []
        self.late: list[tuple[Late, Any]] = []

    @cached_property
    def leaf_index(self) -> dict[Variable, int]:
        """The index of each Variable among the leaves. Many graphs don't need it."""
        return {variable: index for index, variable in enumerate(self.distinct)}

    def run(self) -> Graph:
        found = self.found
        records = self.records()
        kind = KIND_OF_TYPE[type(self.root)]
        root_code = (kind, self.code(self.root, kind))
        for late, value in self.late:
            late.code = self.resolved(value)
        nodes = zip(found.names, found.nodes, strict=True)
        structure = Structure(
            root_code,
            tuple(records),
            [name or node._meta.wanted_name for name, node in nodes],
            self.companions(),
            self.arrays,
            partial=self.partial,
        )
        return Graph(structure, found.node_refs, found.watches, weak_all(self.leaves))

    def records(self) -> list[Record]:
        """Code the attributes of all nodes."""
        records: list[Record] = []
        nodes, shared, start = self.found.nodes, self.shared, 0
        for position, signature in enumerate(self.found.signatures):
            head = signature
            count = len(head.variable_keys)
            codes: tuple[Any, ...] = ()
            indices: Any = start if count else ()
            if shared:
                indices, start = self.indices(nodes[position], head, start)
            else:
                start += count
            if head.rest_keys:
                node = nodes[position]
                attributes = attributes_of(node)
                if head.has_implicit or node._meta.stand_ins is not None:
                    head, attributes = looked_through(node, attributes)
                codes = head.rest(attributes)
                if head.coded:
                    codes = self.coded(node, head, list(codes))
            records.append((head, indices, codes))
        return records

    def indices(self, node: Any, head: Signature, start: int) -> tuple[Any, int]:
        """Which leaves the Variables of a node are, and where the next that is new will be."""
        attributes, leaf_index = attributes_of(node), self.leaf_index
        indices = tuple([leaf_index[attributes[key]] for key in head.variable_keys])
        stop = start + len(indices)
        if indices and indices == tuple(range(start, stop)):
            return start, stop
        return indices, max(start, *(index + 1 for index in indices)) if indices else start

    def coded(self, node: Any, head: Signature, codes: list[Any]) -> tuple[Any, ...]:
        """Code those values that don't stand for themselves."""
        for position in head.coded:
            kind, value = head.rest_kinds[position], codes[position]
            try:
                codes[position] = self.code(value, kind)
            except StateInSetError as error:
                raise error.at(node, head.rest_keys[position]) from None
        return tuple(codes)

    def code(self, value: Any, kind: int) -> Any:
        """Code any value."""
        if kind == Kind.NODE:
            return self.node_code(value)
        if kind == Kind.VARIABLE:
            index = self.leaf_index.get(value)
            return self.add_leaf(value) if index is None else index
        if kind == Kind.ARRAY:
            # Only Variables are shared: an array is a value, the same wherever it stands.
            self.arrays.append(len(self.leaves))
            self.leaves.append(value.value if type(value) is StandIn else value)
            return self.arrays[-1]
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
        kinds = kinds_among(children)
        if kinds == {Kind.NODE} and not self.partial:
            index = self.found.index
            items = [(Kind.NODE, index[child._meta]) for child in children]
        else:
            # In a container, the type of an atom tells 1 from True.
            items = [
                (k, (type(child), child) if k == Kind.ATOM else self.code(child, k))
                for child, k in ((child, KIND_OF_TYPE[type(child)]) for child in children)
            ]
        return (container_extras(value, kind), keys, tuple(items))

    def node_code(self, node: Any) -> Any:
        index = self.found.index.get(node._meta)
        return Static(Handle(node)) if index is None else index

    def add_leaf(self, variable: Variable) -> int:
        index = self.leaf_index[variable] = len(self.leaves)
        self.distinct[variable] = None
        self.leaves.append(variable)
        return index

    def companions(self) -> list[tuple[int, Any, str]]:
        """The Variables that belong to another."""
        noted = [v for v in self.distinct if (notes := v._notes) is not None and notes.companion]
        return [
            (self.leaf_index[variable], self.index_or_handle(companion[0]), companion[1])
            for variable in noted
            if (companion := variable._companion) is not None
        ]

    def index_or_handle(self, variable: Variable) -> Any:
        index = self.leaf_index.get(variable)
        return Handle(variable) if index is None else index

    def resolved(self, value: Any) -> Any:
        """Code what refers into the graph, once the whole graph is known."""
        if KIND_OF_TYPE[type(value)] == Kind.METHOD:
            owner, recipe = taken_apart(value)
            index = self.found.index.get(owner._meta) if isinstance(owner, Node) else None
            return Static(value) if index is None else (index, recipe)
        return (type(value), tuple((k, self.index_or_handle(v)) for k, v in value.items()))


def looked_through(node: Any, attributes: dict[str, Any]) -> tuple[Signature, dict[str, Any]]:
    """The attributes of a node that count, and their signature."""
    for name in IMPLICIT.intersection(attributes):
        if not attributes[name]:
            attributes = {k: v for k, v in attributes.items() if k != name}
    if node._meta.stand_ins is not None:
        attributes = marked(attributes, node._meta.stand_ins)
    types = tuple([type(value) for value in attributes.values()])
    return signature_of(type(node), tuple(attributes), types), attributes
