"""Exploration: finding the nodes and Variables below an object, the hot loop of all walks.

It is iterative, goes level by level, and takes of a node all that is needed when it meets it: with
many nodes, much time goes into fetching them from memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from weakref import ref

from framework.nodes.children import StateInSetError, children_of, members_of_set
from framework.nodes.graph import Meta, attributes_of, signature_at
from framework.nodes.kinds import KIND_OF_TYPE, Kind, kinds_among
from framework.nodes.records import Place
from framework.nodes.signature import Signature
from framework.nodes.watches import Watches

__all__ = ["Exploration"]

ONLY_NODES = {Kind.NODE}


class Exploration:
    """All nodes that can be reached from a root, and their Variables.

    Args:
        root: A node or container.
        canonical: Whether to go by the names of attributes, instead of by their order in the node.
        handles_up_to: Nodes below the root whose serial is not above this are left out.

    Attributes:
        nodes: The nodes, in the order in which they were met first.
        node_refs: Weak references to them.
        index: The index of each node by its bookkeeping.
        names: Their names, as far as they have one.
        signatures: Their signatures.
        variables: The Variables that they hold as attributes, node by node; then those in
            containers, in the order of the walk.
        contained: The holder and keys of those Variables that are in containers; the holder is -1
            for a root container.
        groups: Meetings of nodes side by side: index of the holder, keys to all of them or None,
            the key of each.
        met: The index of the node of each meeting, group by group, but for those left out.
        views: Every meeting of a view: index of the holder, keys.
        watches: What the containers held.
    """

    def __init__(self, root: Any, canonical: bool = False, handles_up_to: int = -1) -> None:
        self.nodes: list[Any] = []
        self.index: dict[Meta, int] = {}
        self.names: list[str | None] = []
        self.signatures: list[Signature] = []
        self.variables: list[Any] = []
        self.contained: list[tuple[int, Any]] = []
        self.groups: list[tuple[int, Any, Sequence[Any]]] = []
        self.met: list[int] = []
        self.views: list[Place] = []
        self.watches = Watches()
        self._canonical, self._handles_up_to = canonical, handles_up_to
        self._in_containers: list[Any] = []
        self._watched: list[tuple[int, str, Any, int, bool]] = []
        # What was found below the nodes of one level, in the order of the groups.
        self._below: list[Any] = []
        self._visit(root, KIND_OF_TYPE[type(root)], -1, (None,))
        while self._below:
            below, self._below = self._below, []
            for position in self._meet(below):
                self._look_into(position)
        self.variables += self._in_containers
        self.node_refs = list(map(ref, self.nodes))
        for holder, key, value, kind, nested in self._watched:
            self.watches.add(self.node_refs[holder], key, value, kind, nested)

    def _meet(self, found: list[Any]) -> list[int]:
        """Take in the nodes of one level. The hot loop of all walks.

        Returns:
            The new ones in which there may be more.
        """
        index, met, nodes = self.index, self.met, self.nodes
        names, signatures, variables = self.names, self.signatures, self.variables
        canonical, handles_up_to = self._canonical, self._handles_up_to
        holders: list[int] = []
        for node in found:
            # The bookkeeping stands for the node, whose class may define what is equal.
            meta = node._meta
            position = index.get(meta)
            if position is None:
                if meta.serial <= handles_up_to:
                    continue
                position = index[meta] = len(nodes)
                attributes = attributes_of(node) if node._slot_names else node.__dict__
                signature = meta.signature
                if signature is None or signature.count != len(attributes):
                    signature = signature_at(node, attributes)
                nodes.append(node)
                names.append(meta.name)
                signatures.append(signature)
                for key in signature.variable_keys if canonical else signature.own_keys:
                    variables.append(attributes[key])
                if signature.holding:
                    holders.append(position)
            met.append(position)
        return holders

    def _look_into(self, position: int) -> None:
        """Visit the attributes of a node in which there may be more."""
        node, signature = self.nodes[position], self.signatures[position]
        attributes = attributes_of(node)
        for key in signature.canonically_holding if self._canonical else signature.holding:
            value = attributes[key]
            try:
                self._visit(value, KIND_OF_TYPE[type(value)], position, (key,))
            except StateInSetError as error:
                raise error.at(node, key) from None

    def _visit(self, value: Any, kind: int, holder: int, keys: tuple[Any, ...]) -> None:
        """Take in what stands under the keys of a holder."""
        if kind in Kind.CONTAINERS:
            self._visit_container(value, kind, holder, keys)
        elif kind == Kind.NODE:
            self.groups.append((holder, keys[:-1] or None, keys[-1:]))
            self._below.append(value)
        elif kind == Kind.VARIABLE:
            self._in_containers.append(value)
            self.contained.append((holder, keys))
        elif kind == Kind.VIEW:
            self.views.append((holder, keys[0] if len(keys) == 1 else keys))
        elif kind in (Kind.SET, Kind.REFERENCES):
            if kind == Kind.SET:
                members_of_set(value)
            self._watch(holder, keys, value, kind, nested=False)

    def _visit_container(self, value: Any, kind: int, holder: int, keys: tuple[Any, ...]) -> None:
        below, children = children_of(value, kind)
        if below is None:
            return
        kinds = kinds_among(children)
        if kinds == ONLY_NODES:
            self.groups.append((holder, keys, below))
            self._below += children
        elif not kinds.isdisjoint(Kind.MET):
            for key, child in zip(below, children, strict=True):
                self._visit(child, KIND_OF_TYPE[type(child)], holder, (*keys, key))
        self._watch(holder, keys, value, kind, nested=not kinds.isdisjoint(Kind.WATCHED))

    def _watch(
        self, holder: int, keys: tuple[Any, ...], value: Any, kind: int, nested: bool
    ) -> None:
        # What is inside of another container is watched with that.
        if holder >= 0 and len(keys) == 1:
            self._watched.append((holder, keys[0], value, kind, nested))
