"""Members: the nodes and Variables below an object, and where they stand."""

from __future__ import annotations

from typing import Any
from weakref import ref

from framework.nodes.children import StateInSetError, children_of, members_of_set
from framework.nodes.collection import no_garbage_collection
from framework.nodes.graph import Node, Snapshot, Watch, add_watch, attributes_of
from framework.nodes.kinds import KIND_OF_TYPE, Kind
from framework.nodes.places import Place

__all__ = ["Members", "members_of"]


class Members(Snapshot):
    """What a walk over nodes and Variables met.

    Attributes:
        places: Where each node was met first: index of its holder, keys from there. That of a
            root node is ``(-1, None)``; in a root container, holders are -1.
        edges: Every meeting of a node: index of the holder, keys, index of the node.
        holders: The index of the holder for every meeting of a Variable.
        keys: The keys from the holder for every meeting of a Variable.
        views: Every meeting of a view: index of the holder, keys.
        tables: Results that are derived from the members, kept by those who derive them.
    """

    __slots__ = ("_variables", "edges", "holders", "keys", "places", "tables", "views")

    def __init__(self, walk: _Walk) -> None:
        super().__init__(walk.nodes, walk.watches)
        self._variables = list(map(ref, walk.variables))
        self.places = walk.places
        self.edges = walk.edges
        self.holders = walk.holders
        self.keys = walk.keys
        self.views = walk.views
        self.tables: dict[Any, Any] = {}

    def live_variables(self) -> list[Any]:
        """The Variable of every meeting."""
        return [variable() for variable in self._variables]


def members_of(root: Any) -> Members:
    """The members of a node or container: those of the last walk if nothing has changed since."""
    if not isinstance(root, Node):
        return Members(_Walk().run(root))
    members = root._meta.members
    if not isinstance(members, Members) or not members.is_current():
        with no_garbage_collection():
            members = root._meta.members = Members(_Walk().run(root))
    return members


class _Walk:
    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.places: list[Place] = []
        self.edges: list[tuple[int, Any, int]] = []
        self.variables: list[Any] = []
        self.holders: list[int] = []
        self.keys: list[Any] = []
        self.views: list[Place] = []
        self.watches: list[tuple[ref[Any], str, Watch]] = []
        self.index: dict[int, int] = {}

    def run(self, root: Any) -> _Walk:
        if isinstance(root, Node):
            self.add_node(root, -1, None)
        else:
            self.visit(root, KIND_OF_TYPE[type(root)], -1, (None,))
        kind_of, variable = KIND_OF_TYPE.__getitem__, Kind.VARIABLE
        simple = (Kind.ATOM, Kind.STATIC, Kind.META, Kind.ARRAY, Kind.METHOD)
        position = -1
        for node in self.nodes:  # Grows while we go.
            position += 1
            attributes = node.__dict__ if not node._slot_names else attributes_of(node)
            for key, value in attributes.items():
                kind = kind_of(type(value))
                if kind == variable:
                    self.variables.append(value)
                    self.holders.append(position)
                    self.keys.append(key)
                elif kind not in simple:
                    try:
                        self.visit(value, kind, position, (key,))
                    except StateInSetError as error:
                        raise error.at(node, key) from None
                    if kind in Kind.WATCHED:
                        add_watch(self.watches, node, key, value, kind)
        return self

    def visit(self, value: Any, kind: int, holder: int, keys: tuple[Any, ...]) -> None:
        """Note what stands under the keys of a holder."""
        place = keys[0] if len(keys) == 1 and keys[0] is not None else keys
        if kind == Kind.NODE:
            index = self.index.get(id(value))
            if index is None:
                index = self.add_node(value, holder, place)
            self.edges.append((holder, place, index))
        elif kind in Kind.CONTAINERS:
            below, children = children_of(value, kind)
            index_of, nodes = self.index, self.nodes
            for key, child in zip(below or (), children, strict=True):
                child_kind = KIND_OF_TYPE[type(child)]
                if child_kind == Kind.NODE:
                    # What `visit` would do, without a call for each of many nodes in one list.
                    place = (*keys, key)
                    index = index_of.get(id(child))
                    if index is None:
                        index = index_of[id(child)] = len(nodes)
                        nodes.append(child)
                        self.places.append((holder, place))
                    self.edges.append((holder, place, index))
                elif child_kind != Kind.ATOM:
                    self.visit(child, child_kind, holder, (*keys, key))
        elif kind == Kind.VARIABLE:
            self.variables.append(value)
            self.holders.append(holder)
            self.keys.append(place)
        elif kind == Kind.VIEW:
            self.views.append((holder, place))
        elif kind == Kind.SET:
            members_of_set(value)

    def add_node(self, node: Any, holder: int, place: Any) -> int:
        index = self.index[id(node)] = len(self.nodes)
        self.nodes.append(node)
        self.places.append((holder, place))
        return index
