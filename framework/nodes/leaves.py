"""The leaves of an object by structural path: what files are keyed by."""

from __future__ import annotations

from typing import Any, NamedTuple

from framework.nodes.graph import Graph
from framework.nodes.ownership import path_from_root
from framework.nodes.structure import key_text, node_paths
from framework.nodes.variable import Variable
from framework.nodes.walk import graph_of

__all__ = ["NamedLeaves", "named_leaves"]


class NamedLeaves(NamedTuple):
    """The leaves of an object graph by path.

    Attributes:
        values: Each distinct Variable, and each array held as an attribute, by its path.
        aliases: Further paths of shared Variables, each with the path under ``values``.
    """

    values: dict[str, Any]
    aliases: dict[str, str]


def named_leaves(obj: Any) -> NamedLeaves:
    """Name the leaves of a node or container by where they are, never by when they were made.

    A Variable that belongs to another, such as a moment buffer to its parameter, is named after
    that: ``opt.m[net.layers[0].w]``, whatever the order in which parameters were registered.

    Args:
        obj: A BrainPyObject, NodeList, NodeDict, VarList or VarDict.

    >>> from framework.nodes.base import BrainPyObject
    >>> net = BrainPyObject()
    >>> net.layers = [Variable(2), Variable(3)]
    >>> net.tied = net.layers[0]
    >>> named_leaves(net).aliases
    {'tied': 'layers[0]'}
    """
    graph = graph_of(obj)
    structure, leaves = graph.structure, graph.live_leaves()
    paths = list(structure.paths)
    holders = node_paths(structure.node_places)
    outside = _outside_paths(graph, leaves)
    renamed: set[int] = set()
    for index, target, slot in structure.companions:
        name = paths[target] if isinstance(target, int) else outside[id(target.target())]
        if name:
            holder = structure.leaf_places[index][0]
            above = holders[holder] if holder >= 0 else ""
            paths[index] = f"{above}.{slot}[{name}]".removeprefix(".")
            renamed.add(index)
    aliases: dict[str, str] = {}
    for holder, keys, index in structure.variable_places:
        path = ((holders[holder] if holder >= 0 else "") + key_text(keys)).removeprefix(".")
        if path != structure.paths[index] and index not in renamed:
            aliases[path] = paths[index]
    return NamedLeaves(dict(zip(paths, leaves, strict=True)), aliases)


def _outside_paths(graph: Graph, leaves: list[Any]) -> dict[int, str]:
    """The paths of Variables outside of the graph that some inside belong to."""
    targets: list[Variable] = [
        target.target() for _, target, _ in graph.structure.companions if not isinstance(target, int)
    ]
    found = {id(target): path_from_root(target) for target in targets}
    roots: dict[int, int] = {}
    for root, _ in found.values():
        roots.setdefault(id(root), len(roots))
    several = len({id(root) for root, path in found.values() if path}) > 1
    return {
        key: f"{roots[id(root)]}.{path}" if several and path else path
        for key, (root, path) in found.items()
    }
