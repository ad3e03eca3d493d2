"""Copies of object graphs: `clone`, `copy`, `deepcopy` and `pickle`."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, Self
from weakref import ref

import numpy as np

from framework.nodes.collection import no_garbage_collection
from framework.nodes.functions import functions_in, portable
from framework.nodes.graph import Node, attributes_of
from framework.nodes.kinds import KIND_OF_TYPE
from framework.nodes.members import members_of
from framework.nodes.ownership import adopt
from framework.nodes.rebuild import Rebuild, allocate, rebuild
from framework.nodes.variable import Variable
from framework.nodes.walk import graph_of

__all__ = ["CopyMixin"]


class CopyMixin(Node):
    """Independent copies with sharing intact."""

    def clone(self) -> Self:
        """Copy all that is reachable from here: new nodes, new Variables, the same values.

        Returns:
            An independent object with a name of its own. Arrays are immutable and therefore not
            copied, static attributes other than lists, tuples and dicts are shared.

        >>> from framework.nodes.base import BrainPyObject
        >>> net = BrainPyObject()
        >>> net.w = Variable(2)
        >>> twin = net.clone()
        >>> twin.w += 1
        >>> print(net.w.value, twin.w.value)
        [0. 0.] [1. 1.]
        """
        graph = graph_of(self)
        with no_garbage_collection():
            return rebuild(graph.structure, _copies(graph.live_leaves()))

    def __copy__(self) -> Self:
        return self.clone()

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        graph = graph_of(self)
        originals = graph.live_leaves()
        new = [leaf for leaf in originals if id(leaf) not in memo]
        memo.update(zip(map(id, new), _copies(new), strict=True))
        leaves = [memo[id(leaf)] for leaf in originals]
        nodes = graph.live_nodes()

        def copied_static(value: Any) -> Any:
            # To deepcopy, a transformed function is an object like any other.
            memo.update((id(function), function) for function in functions_in(value))
            return copy.deepcopy(value, memo)

        rebuilding = Rebuild(
            graph.structure,
            leaves,
            existing={i: memo[id(node)] for i, node in enumerate(nodes) if id(node) in memo},
            copy_static=copied_static,
            outside=lambda variable: memo.get(id(variable), variable),
        )
        memo.update((id(node), twin) for node, twin in zip(nodes, rebuilding.nodes, strict=True))
        return rebuilding.run()

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        batch = self._meta.batch and self._meta.batch()
        if batch is None:
            batch = _Batch.of(members_of(self).live_nodes())
        return _member, (batch, batch.index[id(self)])


class _Batch:
    """The nodes of a graph, pickled side by side, since pickle can't go down a long chain.

    While a pickler holds a batch, each of its nodes is pickled as a member of it, so that what two
    pickled objects share is shared by the copies.
    """

    index: dict[int, int]

    def __init__(self, classes: Sequence[type]) -> None:
        self.nodes: list[Any] = list(map(allocate, classes))

    @classmethod
    def of(cls, nodes: list[Any]) -> _Batch:
        self = cls.__new__(cls)
        # Those that belong to another batch of this pickler stay there.
        self.nodes = [n for n in nodes if n._meta.batch is None or n._meta.batch() is None]
        self.index = {id(node): index for index, node in enumerate(self.nodes)}
        for node in self.nodes:
            node._meta.batch = ref(self)
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return _Batch, ([type(node) for node in self.nodes],), list(map(_state, self.nodes))

    def __setstate__(self, states: list[tuple[str | None, dict[str, Any]]]) -> None:
        for node, (name, attributes) in zip(self.nodes, states, strict=True):
            node._meta.wanted_name = name
            for key, value in attributes.items():
                object.__setattr__(node, key, value)
                adopt(node, value, KIND_OF_TYPE[type(value)])


def _member(batch: _Batch, index: int) -> Any:
    return batch.nodes[index]


def _state(node: Any) -> tuple[str | None, dict[str, Any]]:
    attributes = {key: portable(x) for key, x in attributes_of(node).items() if key != "_meta"}
    return node._meta.name or node._meta.wanted_name, attributes


def _copies(leaves: list[Any]) -> list[Any]:
    """Copies of Variables, which the rebuilding tells where they were made, and of arrays."""
    return [
        leaf.tree_unflatten(leaf._meta, (leaf.value,))
        if isinstance(leaf, Variable)
        else leaf.copy()
        if isinstance(leaf, np.ndarray)
        else leaf
        for leaf in leaves
    ]
