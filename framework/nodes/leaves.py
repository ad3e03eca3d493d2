"""The leaves of an object by structural path: what files are keyed by."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from operator import itemgetter
from typing import Any, NamedTuple

from framework.nodes.graph import Graph
from framework.nodes.kinds import Kind
from framework.nodes.ownership import path_from_root
from framework.nodes.places import key_text
from framework.nodes.records import Place, meetings
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
    edges: list[list[Place]] = [[] for _ in nodes]
    met: list[list[Place]] = [[] for _ in leaves]
    seen: list[list[Place]] = [[] for _ in leaves]
    for kind, place, index in meetings(structure.root, structure.records):
        (edges if kind == Kind.NODE else seen if kind == Kind.VIEW else met)[index].append(place)
    levels: list[int] = []
    for holder, _ in structure.places.nodes:
        levels.append(_level(levels, holder) + 1)
    holders, aliases = _node_names(edges, levels)
    paths: list[str] = []
    chosen: list[Place] = []
    further: list[list[str]] = []
    for direct, by_view in zip(met, seen, strict=True):
        # A view is no place of its own: its target is named after it only for want of another.
        found = [
            (_level(levels, holder), _join(holders, holder, keys), holder, keys)
            for holder, keys in direct or by_view
        ]
        _, path, *place = min(found, key=itemgetter(0, 1))
        paths.append(path)
        chosen.append((place[0], place[1]))
        further.append([other for _, other, *_ in found if other != path])
    belonging = dict(
        _companion_names(graph, paths, [holders[h] if h >= 0 else "" for h, _ in chosen])
    )
    for index, others in enumerate(further):
        if index in belonging:
            paths[index] = belonging[index]
        else:
            aliases |= dict.fromkeys(others, paths[index])
    places = {
        path: (nodes[holder] if holder >= 0 else None, keys)
        for path, (holder, keys) in zip(paths, chosen, strict=True)
    }
    return NamedLeaves(dict(zip(paths, leaves, strict=True)), aliases, places)


def _level(levels: list[int], holder: int) -> int:
    return levels[holder] if holder >= 0 else -1


def _join(paths: list[str], holder: int, keys: Any) -> str:
    above = paths[holder] if holder >= 0 else ""
    return above if keys is None else (above + key_text(keys)).removeprefix(".")


def _node_names(edges: list[list[Place]], levels: list[int]) -> tuple[list[str], dict[str, str]]:
    """The path of each node, and the further paths of those that are held several times."""
    paths: list[str] = []
    # The walk goes level by level, so the paths of all possible holders are known in time.
    for places, level in zip(edges, levels, strict=True):
        above = (place for place in places if _level(levels, place[0]) < level)
        paths.append(min((_join(paths, holder, keys) for holder, keys in above), default=""))
    aliases: dict[str, str] = {}
    for path, places in zip(paths, edges, strict=True):
        if len(places) > 1 and path:
            others = (_join(paths, holder, keys) for holder, keys in places)
            aliases |= {other: path for other in others if other != path}
    return paths, aliases


def _companion_names(graph: Graph, paths: list[str], above: list[str]) -> Iterator[tuple[int, str]]:
    outside = _outside_paths(graph)
    for index, target, role in graph.structure.companions:
        name = paths[target] if isinstance(target, int) else outside[id(target.target())]
        if name:
            yield index, f"{above[index]}.{role}[{name}]".removeprefix(".")


def _outside_paths(graph: Graph) -> Mapping[int, str]:
    """The paths of Variables outside of the graph that some inside belong to."""
    targets: list[Variable] = [
        target.target()
        for _, target, _ in graph.structure.companions
        if not isinstance(target, int)
    ]
    roots = {id(root): root for root, _ in map(path_from_root, targets)}
    tables = [_paths_in(root) for root in roots.values()]
    # In a cycle, different Variables lead up to different roots, each of which has them all.
    whole = [table for table in tables if all(id(target) in table for target in targets)]
    if whole:
        return min(whole, key=lambda table: sorted(table[id(target)] for target in targets))
    return {
        id(target): f"{number}.{table[id(target)]}"
        for number, table in enumerate(tables)
        for target in targets
        if table.get(id(target))
    } | {id(target): "" for target in targets if not any(t.get(id(target)) for t in tables)}


def _paths_in(root: Any) -> dict[int, str]:
    if isinstance(root, Variable):
        return {id(root): ""}
    return {id(leaf): path for path, leaf in named_leaves(root).values.items()}
