"""Rebuilding: from a structure and new leaves to an independent object graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from weakref import ref

from framework.nodes.bound import bound
from framework.nodes.children import container_of
from framework.nodes.collection import no_garbage_collection
from framework.nodes.frames import current_trace
from framework.nodes.graph import Graph, Meta, rebuilt_roots
from framework.nodes.handles import weak_all
from framework.nodes.kinds import KIND_OF_TYPE, Kind, kinds_among
from framework.nodes.records import Record, variable_indices
from framework.nodes.stand_ins import MAY_STAND_IN, remember_stand_ins
from framework.nodes.static import Static
from framework.nodes.structure import Structure
from framework.nodes.values import thawed_index
from framework.nodes.variable import Variable
from framework.nodes.watches import Watches

__all__ = ["Rebuild", "allocate", "rebuild"]


_new = object.__new__


def allocate(cls: type[Any]) -> Any:
    """Make an empty node, without calling its constructor."""
    node = _new(cls)
    node.__dict__["_meta"] = Meta(None)
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
        outside: Applied to each Variable outside of the graph that is referred to.
    """

    def __init__(
        self,
        structure: Structure,
        leaves: Sequence[Any],
        existing: Mapping[int, Any] | None = None,
        copy_static: Callable[[Any], Any] | None = None,
        outside: Callable[[Any], Any] | None = None,
    ) -> None:
        self.structure = structure
        self.leaves = leaves
        self.existing = existing or {}
        self.copy_static = copy_static
        self.outside = outside
        self.watches = Watches()
        self.home = current_trace()
        self.nodes: list[Any] = []
        self._unfilled: list[tuple[Any, Record]] = []
        with no_garbage_collection():
            self._make_nodes()

    def _make_nodes(self) -> None:
        """Make all nodes, and fill those at once that hold Variables of their own and no more."""
        structure, leaves, existing, home = self.structure, self.leaves, self.existing, self.home
        nodes, unfilled = self.nodes, self._unfilled
        for record, name in zip(structure.records, structure.names, strict=True):
            if existing and (node := existing.get(len(nodes))) is not None:
                nodes.append(node)
                continue
            head, start, codes = record
            node = _new(head.cls)
            attributes = node.__dict__
            meta = attributes["_meta"] = Meta(home)
            meta.wanted_name = name
            meta.signature = head
            nodes.append(node)
            if codes or type(start) is not int or node._slot_names:
                unfilled.append((node, record))
            else:
                for key, position in head.positions:
                    attributes[key] = leaves[start + position]

    def run(self) -> Any:
        """Fill the nodes.

        Returns:
            The root.
        """
        with no_garbage_collection():
            structure = self.structure
            for node, record in self._unfilled:
                self._fill(node, record)
            root = self.value(*structure.root)
            if structure.partial:
                return root
            self.settle_variables()
            self.settle_kinds()
            if structure.root[0] == Kind.NODE:
                rebuilt_roots[id(root)] = root
                # A partial copy is not all that the structure says.
                if not self.existing and self.copy_static is None:
                    root._meta.graph = self.graph()
            return root

    def settle_kinds(self) -> None:
        """Tell nodes where something else took the place of an array or Variable."""
        leaves, arrays = self.leaves, self.structure.arrays
        kinds = kinds_among(leaves)
        if not kinds.isdisjoint(MAY_STAND_IN):
            remember_stand_ins(self.structure, self.nodes, leaves)
        if kinds == {Kind.VARIABLE} and not arrays:
            return
        of_arrays = [i for i, leaf in enumerate(leaves) if KIND_OF_TYPE[type(leaf)] == Kind.ARRAY]
        if not kinds <= {Kind.VARIABLE, Kind.ARRAY} or of_arrays != sorted(arrays):
            for node in self.nodes:
                node._meta.signature = None

    def graph(self) -> Graph:
        """The graph of the new root, as a walk would find it."""
        nodes = [ref(node) for node in self.nodes]
        return Graph(self.structure, nodes, self.watches, weak_all(self.leaves))

    def settle_variables(self) -> None:
        """Tell new Variables which trace may write them, and which Variables they belong to."""
        leaves, home = self.leaves, self.home
        if home is not None:
            for leaf in leaves:
                if isinstance(leaf, Variable):
                    leaf._home = home
        for index, target, role in self.structure.companions:
            leaf = leaves[index]
            other = self.referent(target)
            if isinstance(leaf, Variable) and isinstance(other, Variable):
                leaf._accompany(other, role)

    def _fill(self, node: Any, record: Record) -> None:
        """Set the attributes of one node."""
        head, _, codes = record
        values = [self.leaves[index] for index in variable_indices(record)]
        values += codes
        above = len(head.variable_keys)
        for position in head.coded:
            kind, code = head.rest_kinds[position], codes[position]
            values[above + position] = value = self.value(kind, code)
            if kind in Kind.WATCHED and type(code) is not Static:
                inside = {item[0] for item in code[2]} if kind in Kind.CONTAINERS else set[int]()
                nested = not Kind.WATCHED.isdisjoint(inside)
                self.watches.add(ref(node), head.rest_keys[position], value, kind, nested)
        for key, position in head.positions:
            object.__setattr__(node, key, values[position])

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
            nodes = self.nodes
            children = [
                nodes[item]
                if of_kind == Kind.NODE and type(item) is int
                else self.value(of_kind, item)
                for of_kind, item in items
            ]
            return container_of(kind, extras, keys, children)
        if kind == Kind.SET:
            cls, members = code
            return cls(self.copy_static(members.value) if self.copy_static else members.value)
        if kind == Kind.VIEW:
            cls, target, index = code
            return cls.over(self.value(*target), thawed_index(index))
        if type(code.code) is Static:
            return code.code.value
        if kind == Kind.METHOD:
            index, recipe = code.code
            return bound(recipe, self.nodes[index])
        cls, targets = code.code
        return cls._trusted((key, self.referent(target)) for key, target in targets)

    def referent(self, target: Any) -> Any:
        """The Variable that is referred to."""
        if isinstance(target, int):
            return self.leaves[target]
        variable = target.target()
        return self.outside(variable) if self.outside else variable
