"""Tables of the nodes and Variables of a graph, by absolute or relative path."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from framework.nodes.collectors import ArrayCollector, Collector
from framework.nodes.graph import Graph
from framework.nodes.structure import Place
from framework.nodes.view import VariableView

__all__ = ["collect_nodes", "collect_variables", "dotted", "dotted_variable"]

METHODS = ("absolute", "relative")


def dotted(keys: Any) -> str:
    """Keys in the style of BrainPy: ``layers-0`` for a list item, ``blocks.a`` for a dict item.

    >>> dotted("w"), dotted(("layers", 0)), dotted(("blocks", "a"))
    ('w', 'layers-0', 'blocks.a')
    """
    return keys if isinstance(keys, str) else _joined(keys, ".")


def _joined(keys: tuple[Any, ...], before_text: str) -> str:
    attribute, *rest = keys
    if attribute is not None and attribute.startswith("_implicit_"):
        attribute, *rest = rest
    text = "" if attribute is None else str(attribute)
    for key in rest:
        text += f"{before_text if isinstance(key, str) else '-'}{key}"
    return text.lstrip("-.") if attribute is None else text


def dotted_variable(keys: Any) -> str:
    """Keys to a Variable in the style of BrainPy: ``scales-0``, ``scales-a``."""
    return keys if isinstance(keys, str) else _joined(keys, "-")


def _check_method(method: str) -> None:
    if method not in METHODS:
        raise ValueError(f"method must be 'absolute' or 'relative', but got {method!r}.")


def _node_table(graph: Graph, method: str) -> list[tuple[str, int, int]]:
    """For each row of ``nodes()``: path, index of the node, level."""
    nodes, structure = graph.live_nodes(), graph.structure
    levels = [0] * len(nodes)
    for index, (holder, _) in enumerate(structure.node_places):
        levels[index] = levels[holder] + 1 if holder >= 0 else 0
    if method == "absolute":
        return [(node.name, index, levels[index]) for index, node in enumerate(nodes)]
    paths = [""] * len(nodes)
    for index, (holder, keys) in enumerate(structure.node_places):
        if keys is not None:
            paths[index] = _below(paths[holder] if holder >= 0 else "", dotted(keys))
    rows = [] if structure.edges and structure.edges[0][0] < 0 else [("", 0, 0)]
    met: set[tuple[int, int]] = set()
    for holder, keys, index in structure.edges:
        if (holder, index) not in met:
            met.add((holder, index))
            above, level = (paths[holder], levels[holder]) if holder >= 0 else ("", -1)
            rows.append((_below(above, dotted(keys)), index, level + 1))
    return rows


def _below(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _table(graph: Graph, kind: str, method: str) -> Any:
    """A table of the graph, made at first need."""
    _check_method(method)
    key = (kind, method)
    if key not in graph.tables:
        graph.tables[key] = (_node_table if kind == "nodes" else _variable_table)(graph, method)
    return graph.tables[key]


def _variable_table(graph: Graph, method: str) -> list[tuple[str, int, int, int]]:
    """For each row of ``vars()``: path, index of the leaf, index of the node, level."""
    held: list[list[tuple[str, int]]] = [[] for _ in graph.nodes]
    loose: list[tuple[str, int]] = []
    for holder, keys, leaf in graph.structure.variable_places:
        (held[holder] if holder >= 0 else loose).append((dotted_variable(keys), leaf))
    rows = [(suffix, leaf, -1, 0) for suffix, leaf in loose]
    for path, index, level in _table(graph, "nodes", method):
        prefix = f"{path}." if path else ""
        rows += [(prefix + suffix, leaf, index, level) for suffix, leaf in held[index]]
    return rows


def collect_nodes(graph: Graph, method: str, level: int, include_self: bool) -> Collector:
    """Collect the nodes of a graph.

    Args:
        graph: The walk of the root.
        method: ``'absolute'`` for names, ``'relative'`` for paths from the root.
        level: How many edges to go from the root; all if negative.
        include_self: Whether the root is among them.

    Raises:
        ValueError: There is no such method.
    """
    table = _table(graph, "nodes", method)
    nodes = graph.live_nodes()
    return Collector._trusted(
        (path, nodes[index])
        for row, (path, index, depth) in enumerate(table)
        if (level < 0 or depth <= level) and (include_self or row > 0)
    )


def collect_variables(
    graph: Graph,
    method: str,
    level: int,
    include_self: bool,
    exclude_types: tuple[type, ...] | None,
) -> ArrayCollector:
    """Collect the Variables of a graph, by the paths of their nodes and their attributes.

    Args:
        graph: The walk of the root.
        method: ``'absolute'`` or ``'relative'``, as for nodes.
        level: How many edges to go from the root; all if negative.
        include_self: Whether the root's own Variables are among them.
        exclude_types: Classes to leave out; views if None.

    Raises:
        ValueError: There is no such method.
    """
    table = _table(graph, "variables", method)
    leaves = graph.live_leaves()
    if level < 0 and include_self and exclude_types is None:
        return ArrayCollector._trusted([(row[0], leaves[row[1]]) for row in table])
    rows = ((path, leaves[leaf], node, depth) for path, leaf, node, depth in table)
    if exclude_types is not None:
        rows = (row for row in (*rows, *_views(graph, method)) if not isinstance(row[1], exclude_types))
    return ArrayCollector._trusted(
        (path, variable)
        for path, variable, node, depth in rows
        if (level < 0 or depth <= level) and (include_self or node != 0)
    )


def _views(graph: Graph, method: str) -> Iterator[tuple[str, VariableView, int, int]]:
    nodes = graph.live_nodes()
    held: dict[int, list[Place]] = {}
    for place in graph.structure.view_places:
        held.setdefault(place[0], []).append(place)
    for path, index, level in _table(graph, "nodes", method):
        for _, keys in held.get(index, ()):
            yield _below(path, dotted_variable(keys)), at(nodes[index], keys), index, level


def at(node: Any, keys: Any) -> Any:
    """What a node holds under the keys of a place."""
    attribute, *rest = (keys,) if isinstance(keys, str) else keys
    value = getattr(node, attribute)
    for key in rest:
        value = value[key]
    return value
