"""Graphs: what is reachable from an object, as weak references to nodes and leaves."""

from __future__ import annotations

import itertools
from operator import attrgetter
from typing import Any, ClassVar
from weakref import WeakValueDictionary, ref

from framework.nodes.collectors import Collector, References
from framework.nodes.frames import next_serial
from framework.nodes.kinds import KIND_OF_TYPE, Kind
from framework.nodes.signature import Signature, signature_of
from framework.nodes.structure import Structure
from framework.nodes.variable import Variable
from framework.nodes.view import VariableView
from framework.nodes.watches import Watches

__all__ = [
    "Graph",
    "Meta",
    "Node",
    "Snapshot",
    "attributes_of",
    "changes",
    "rebuilt_roots",
    "signature_at",
]


class _Changes:
    """Numbers the changes of attributes anywhere, so that an unchanged graph is known at once.

    Attributes:
        changed: The number of the last change.
        moved: The number of the last that was not between static values.
    """

    __slots__ = ("_next", "changed", "moved")

    def __init__(self) -> None:
        self.changed = self.moved = 0
        # Drawing from an iterator, unlike counting, is safe among threads.
        self._next = itertools.count(1).__next__

    def note(self, meta: Meta, moved: bool) -> None:
        """Note a change of a node."""
        meta.changed = self.changed = self._next()
        if moved:
            meta.moved = self.moved = meta.changed


changes = _Changes()


class Meta:
    """The bookkeeping of one node.

    Attributes:
        serial: When the node was made: what is younger than a frame was made inside of it.
        home: The JAX trace in which the node was made; None outside of all traces.
        name: Its name, once it has one.
        wanted_name: The name to take if it is free.
        changed: The number of the last change of an attribute, as in `changes`.
        moved: The number of the last that was not between static values.
        signature: What attributes the node has, as far as known.
        stand_ins: What stands for arrays in a rebuilt node, by the keys to it.
        graph: The last walk from here.
        members: The last exploration from here.
        batch: The batch that the node is being pickled in.
        owner: The object that first took this node as an attribute; only error messages read it.
    """

    # Slots, since there are as many of these as nodes, and a dictionary each would be larger.
    __slots__ = (
        "batch", "changed", "graph", "home", "members", "moved", "name", "owner", "serial",
        "signature", "stand_ins", "wanted_name",
    )  # fmt: skip

    def __init__(self, home: object | None) -> None:
        self.serial = next_serial()
        self.home = home
        self.name: str | None = None
        self.wanted_name: str | None = None
        self.changed = self.moved = 0
        self.signature: Signature | None = None
        self.stand_ins: dict[Any, Any] | None = None
        self.graph: Graph | None = None
        self.members: Snapshot | None = None
        self.batch: ref[Any] | None = None
        self.owner: ref[Any] | None = None


rebuilt_roots: WeakValueDictionary[int, Any] = WeakValueDictionary()
"""The roots of copies by id, whose nodes and Variables don't know their owners."""


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


def signature_at(node: Node, attributes: dict[str, Any]) -> Signature:
    """The signature of a node with these attributes."""
    signature = node._meta.signature
    # What is set behind the back of `__setattr__`, as cached properties are, shows in the count.
    if signature is None or signature.count != len(attributes):
        types = tuple([type(value) for value in attributes.values()])
        signature = node._meta.signature = signature_of(type(node), tuple(attributes), types)
    return signature


class Snapshot:
    """Weak references to the nodes of a walk, and what tells whether it still holds.

    Args:
        nodes: Weak references to the nodes that the walk met, the root first.
        watches: What the containers held that the nodes have as attributes.
    """

    __slots__ = ("__weakref__", "_nodes", "up_to", "watches")

    # The changes that matter: "changed" or "moved".
    _matters: ClassVar[str]

    def __init__(self, nodes: list[ref[Any]], watches: Watches) -> None:
        # The number of the last change anywhere that is taken into account.
        self.up_to: int = getattr(changes, self._matters)
        self._nodes = nodes
        self.watches = watches

    def is_current(self) -> bool:
        """Tell whether a new walk would give the same."""
        latest = getattr(changes, self._matters)
        if self.up_to != latest:
            read = attrgetter(f"_meta.{self._matters}")
            try:
                if max([read(node()) for node in self._nodes], default=0) > self.up_to:
                    return False
            except AttributeError:  # A node is gone.
                return False
            self.up_to = latest
        return self.watches.hold()

    def live_nodes(self) -> list[Any]:
        """The nodes."""
        return [node() for node in self._nodes]


class Graph(Snapshot):
    """An object graph as a PyTree.

    Args:
        structure: The static side.
        nodes: As for a snapshot.
        watches: As for a snapshot.
        leaves: Weak references to its Variables, and to the arrays that nodes hold as plain
            attributes.
    """

    __slots__ = ("leaf_refs", "structure")

    _matters = "changed"

    def __init__(
        self,
        structure: Structure,
        nodes: list[ref[Any]],
        watches: Watches,
        leaves: list[Any],
    ) -> None:
        super().__init__(nodes, watches)
        self.structure = structure
        self.leaf_refs = leaves

    def with_structure(self, structure: Structure) -> Graph:
        """The same nodes and leaves in another structure."""
        return Graph(structure, self._nodes, self.watches, self.leaf_refs)

    def live_leaves(self) -> list[Any]:
        """The Variables and arrays, in the order of the structure."""
        return [leaf() for leaf in self.leaf_refs]
