"""Members: the nodes and Variables below an object, and where they stand."""

from __future__ import annotations

from typing import Any
from weakref import ref

from framework.nodes.collection import no_garbage_collection
from framework.nodes.exploration import Exploration
from framework.nodes.graph import Node, Snapshot
from framework.nodes.records import Place

__all__ = ["Members", "members_of"]


class Members(Snapshot):
    """What an exploration met.

    Attributes:
        rooted: Whether the root is a node, which no edge leads to then, unless in a cycle.
        names: The name of each node, as far as it had one.
        signatures: The signature of each node.
        contained: Where those Variables stand that are in containers, the last of all Variables.
        views: Every meeting of a view: index of the holder, keys.
        tables: Results that are derived from the members, kept by those who derive them.
    """

    __slots__ = (
        "_groups", "_met", "_variables", "contained", "names", "rooted", "signatures", "tables",
        "views",
    )  # fmt: skip

    _matters = "moved"

    def __init__(self, root: Any) -> None:
        found = Exploration(root)
        super().__init__(found.node_refs, found.watches)
        self.rooted = isinstance(root, Node)
        self.names = found.names
        self.signatures = found.signatures
        self.contained = found.contained
        self.views = found.views
        self.tables: dict[Any, Any] = {}
        self._groups, self._met = found.groups, found.met
        self._variables = list(map(ref, found.variables))

    def edges(self) -> list[tuple[int, Any, int]]:
        """Every meeting of a node: index of the holder, keys, index of the node."""
        met = iter(self._met)
        return [
            (holder, key if above is None else (*above, key), index)
            for holder, above, keys in self._groups
            for key, index in zip(keys, met)  # noqa: B905 - the next group goes on with the rest.
            if holder >= 0 or not self.rooted
        ]

    def places(self) -> list[Place]:
        """Where each node was met first."""
        places: list[Place] = [(-1, None)] if self.rooted else []
        for holder, keys, index in self.edges():
            if index == len(places):
                places.append((holder, keys))
        return places

    def live_variables(self) -> list[Any]:
        """The Variable of every meeting: those of attributes node by node, then the contained."""
        return [variable() for variable in self._variables]


def members_of(root: Any) -> Members:
    """The members of a node or container: those of the last walk if nothing has changed since."""
    if not isinstance(root, Node):
        return Members(root)
    members = root._meta.members
    if not isinstance(members, Members) or not members.is_current():
        with no_garbage_collection():
            members = root._meta.members = Members(root)
    return members
