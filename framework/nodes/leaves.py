"""The leaves of an object by structural path: what files are keyed by."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from framework.nodes.graph import Graph
from framework.nodes.members import members_of
from framework.nodes.ownership import path_from_root
from framework.nodes.structure import Place, Structure, key_text
from framework.nodes.variable import Variable
from framework.nodes.walk import graph_of

__all__ = ["NamedLeaves", "named_leaves"]


class NamedLeaves(NamedTuple):
    """The leaves of an object graph by path.

    Attributes:
        values: Each distinct Variable, and each array held as an attribute, by its path.
        aliases: Further paths of shared Variables and of shared nodes, each with the path under
            which ``values`` has the Variable, or what is in the node.
        places: For each path in ``values``, the node that holds the leaf (None if a root container
            does) and the keys from there.
    """

    values: dict[str, Any]
    aliases: dict[str, str]
    places: dict[str, tuple[Any, Any]]


def named_leaves(obj: Any) -> NamedLeaves:
    """Name the leaves of a node or container by where they are, never by when they were made.

    What can be reached in several ways is named after the shortest, and the first in alphabetical
    order among equals, so that the order of attributes does not matter either.

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
    structure, leaves, nodes = graph.structure, graph.live_leaves(), graph.live_nodes()
    levels = _levels(structure)
    holders, aliases = _node_names(structure, levels)
    met = structure.variable_places
    candidates: list[list[tuple[int, str]]] = [[] for _ in leaves]
    for holder, keys, index in met or ():
        candidates[index].append((_level(levels, holder), _join(holders, holder, keys)))
    for index, (holder, keys) in enumerate(structure.leaf_places):
        if not candidates[index]:
            candidates[index].append((0, _join(holders, holder, keys)))
    paths = [min(found)[1] for found in candidates]
    belonging = dict(_companion_names(graph, paths, holders))
    for index, found in enumerate(candidates):
        if index not in belonging:
            aliases |= {path: paths[index] for _, path in found if path != paths[index]}
    for index, path in belonging.items():
        paths[index] = path
    places = [
        (nodes[holder] if holder >= 0 else None, keys) for holder, keys in structure.leaf_places
    ]
    return NamedLeaves(
        dict(zip(paths, leaves, strict=True)), aliases, dict(zip(paths, places, strict=True))
    )


def _levels(structure: Structure) -> list[int]:
    levels: list[int] = []
    for holder, _ in structure.node_places:
        levels.append(_level(levels, holder) + 1)
    return levels


def _level(levels: list[int], holder: int) -> int:
    return levels[holder] if holder >= 0 else -1


def _join(paths: list[str], holder: int, keys: Any) -> str:
    above = paths[holder] if holder >= 0 else ""
    return above if keys is None else (above + key_text(keys)).removeprefix(".")


def _node_names(structure: Structure, levels: list[int]) -> tuple[list[str], dict[str, str]]:
    """The path of each node, and the further paths of those that are held several times."""
    incoming: list[list[Place]] = [[] for _ in levels]
    for holder, keys, index in structure.edges:
        incoming[index].append((holder, keys))
    paths: list[str] = []
    # The walk goes level by level, so the paths of all possible holders are known in time.
    for index, level in enumerate(levels):
        paths.append(
            min(
                (
                    _join(paths, holder, keys)
                    for holder, keys in incoming[index]
                    if _level(levels, holder) < level
                ),
                default="",
            )
        )
    aliases: dict[str, str] = {}
    for index, places in enumerate(incoming):
        if len(places) > 1 and paths[index]:
            found = {_join(paths, *place): paths[index] for place in places}
            aliases |= {path: target for path, target in found.items() if path != target}
    return paths, aliases


def _companion_names(
    graph: Graph, paths: list[str], holders: list[str]
) -> Iterator[tuple[int, str]]:
    outside = _outside_paths(graph)
    places = graph.structure.leaf_places
    for index, target, slot in graph.structure.companions:
        name = paths[target] if isinstance(target, int) else outside[id(target.target())]
        if name:
            yield index, _join(holders, places[index][0], slot) + f"[{name}]"


def _outside_paths(graph: Graph) -> Mapping[int, str]:
    """The paths of Variables outside of the graph that some inside belong to."""
    targets: list[Variable] = [
        target.target()
        for _, target, _ in graph.structure.companions
        if not isinstance(target, int)
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
