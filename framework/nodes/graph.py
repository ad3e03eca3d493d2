"""Graphs: what is reachable from an object, as weak references to nodes and leaves."""

from __future__ import annotations

from operator import call, is_
from typing import Any
from weakref import WeakValueDictionary, ref

from framework.nodes.children import children_of, container_extras
from framework.nodes.collectors import Collector, References
from framework.nodes.frames import next_serial
from framework.nodes.handles import Handle, weak
from framework.nodes.kinds import KIND_OF_TYPE, Kind
from framework.nodes.structure import Structure
from framework.nodes.variable import Variable
from framework.nodes.view import VariableView

__all__ = [
    "Graph",
    "Meta",
    "Node",
    "Snapshot",
    "Watch",
    "add_watch",
    "attributes_of",
    "changes",
    "rebuilt_roots",
]


class _Changes:
    """Counts changes of attributes anywhere, so that an unchanged graph is recognised at once."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0


changes = _Changes()


class Meta:
    """The bookkeeping of one node."""

    # Defaults stand in the class, so that making one of many nodes sets two attributes at most.
    name: str | None = None
    wanted_name: str | None = None
    # The JAX trace in which the node was made; None outside of all traces.
    home: object | None = None
    serial: int
    version: int = 0
    graph: Graph | None = None
    # What stands for arrays in a rebuilt node, by the keys to it.
    stand_ins: dict[Any, Any] | None = None
    members: Snapshot | None = None
    handle: Handle | None = None
    # The batch that the node is being pickled in.
    batch: ref[Any] | None = None
    # The object that first took this node as an attribute; only error messages read it.
    owner: ref[Any] | None = None

    def __init__(self, home: object | None) -> None:
        self.serial = next_serial()
        if home is not None:
            self.home = home


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


_kind_of = KIND_OF_TYPE.__getitem__


class Watch:
    """What a container held when it was walked, to notice changes in place.

    Args:
        value: A list, a dictionary, or another PyTree.
        kind: Its kind.
    """

    __slots__ = ("container", "extras", "held", "keys", "kind", "nested", "version")

    def __init__(self, value: Any, kind: int) -> None:
        self.kind = kind
        self.version: int | None = None
        self.keys, children = children_of(value, kind)
        # Only custom PyTrees change otherwise than by their children.
        self.extras = container_extras(value, kind) if kind == Kind.PYTREE else None
        # Containers inside are watched by content: held, they would keep alive what they hold.
        self.nested: dict[int, Watch] = {}
        if not Kind.WATCHED.isdisjoint(map(_kind_of, set(map(type, children)))):
            for index, child in enumerate(children):
                child_kind = _kind_of(type(child))
                watch = Watch(child, child_kind) if child_kind in Kind.WATCHED else None
                if watch is not None and watch.keys is not None:
                    self.nested[index] = watch
        try:
            self.held: list[Any] = list(map(ref, children))
        except TypeError:
            self.held = [None if i in self.nested else weak(c) for i, c in enumerate(children)]
        if isinstance(value, Collector) and not self.nested:
            self.container, self.version = ref(value), value._version

    def matches(self, value: Any) -> bool:
        """Tell whether the container still holds the same objects. Runs at every jitted call."""
        if self.version is not None:
            return value is self.container() and value._version == self.version
        kind = self.kind
        if _kind_of(type(value)) != kind:
            return False
        if kind == Kind.LIST:
            children = value
        elif kind == Kind.DICT:
            if tuple(value) != self.keys:
                return False
            children = value.values()
        else:
            keys, children = children_of(value, kind)
            if keys != self.keys:
                return False
            if kind == Kind.PYTREE and container_extras(value, kind) != self.extras:
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


def add_watch(
    watches: list[tuple[ref[Any], str, Watch]], node: Node, attribute: str, value: Any, kind: int
) -> None:
    """Watch a container that a node holds, unless it is a tuple of what can't change in place."""
    watch = Watch(value, kind)
    if watch.nested or type(value) is not tuple:
        watches.append((ref(node), attribute, watch))


class Snapshot:
    """Weak references to the nodes of a walk, and what tells whether it still holds.

    Args:
        nodes: The nodes that the walk met, the root first.
        watches: For each container attribute: node, attribute name and what it held.
    """

    __slots__ = ("__weakref__", "_change", "_nodes", "_versions", "watches")

    def __init__(self, nodes: list[Any], watches: list[tuple[ref[Any], str, Watch]]) -> None:
        self._change = changes.count
        self._nodes: list[ref[Any]] = list(map(ref, nodes))
        self._versions = [node._meta.version for node in nodes]
        self.watches = watches

    def is_current(self) -> bool:
        """Tell whether a new walk would give the same."""
        if self._change != changes.count:
            try:
                versions = [node()._meta.version for node in self._nodes]  # pyright: ignore[reportOptionalMemberAccess]
            except AttributeError:  # A node is gone.
                return False
            if versions != self._versions:
                return False
            self._change = changes.count
        for node, attribute, watch in self.watches:
            if not watch.matches(getattr(node(), attribute, None)):
                return False
        return True

    def live_nodes(self) -> list[Any]:
        """The nodes."""
        return [node() for node in self._nodes]


class Graph(Snapshot):
    """An object graph as a PyTree.

    Args:
        structure: The static side.
        nodes: Its nodes.
        leaves: Its Variables, and the arrays that nodes hold as plain attributes.
        watches: As for a snapshot.
    """

    __slots__ = ("leaf_refs", "structure")

    def __init__(
        self,
        structure: Structure,
        nodes: list[Any],
        leaves: list[Any],
        watches: list[tuple[ref[Any], str, Watch]],
    ) -> None:
        super().__init__(nodes, watches)
        self.structure = structure
        try:
            self.leaf_refs: list[Any] = list(map(ref, leaves))
        except TypeError:
            self.leaf_refs = list(map(weak, leaves))

    def live_leaves(self) -> list[Any]:
        """The Variables and arrays, in the order of the structure."""
        return [leaf() for leaf in self.leaf_refs]
