"""Tables of the nodes and Variables of a graph, by absolute or relative path."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from framework.errors import UniqueNameError
from framework.nodes.children import child_at
from framework.nodes.collection import no_garbage_collection
from framework.nodes.collectors import ArrayCollector, Collector
from framework.nodes.members import Members, members_of
from framework.nodes.records import Place
from framework.nodes.view import VariableView

__all__ = ["collect_nodes", "collect_variables", "dotted", "dotted_variable", "own_variables"]

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


def _levels(members: Members) -> list[int]:
    levels: list[int] = []
    for holder, _ in members.places():
        levels.append(levels[holder] + 1 if holder >= 0 else 0)
    return levels


def _node_rows(members: Members, method: str) -> list[tuple[str, int, int]]:
    """For each row of ``nodes()``: path, index of the node, level."""
    levels = _levels(members)
    if method == "absolute":
        names = _names(members)
        return list(zip(names, range(len(names)), levels, strict=True))
    paths = _paths(members)
    rows = [("", 0, 0)] if members.rooted else []
    met: set[tuple[int, int]] = set()
    for holder, keys, index in members.edges():
        if (holder, index) not in met:
            met.add((holder, index))
            above, level = (paths[holder], levels[holder]) if holder >= 0 else ("", -1)
            rows.append((_below(above, dotted(keys)), index, level + 1))
    _check_distinct([row[0] for row in rows], [row[1] for row in rows])
    return rows


def _paths(members: Members) -> list[str]:
    """The path from the root to the first meeting of each node."""
    paths: list[str] = []
    for holder, keys in members.places():
        above = paths[holder] if holder >= 0 else ""
        paths.append(above if keys is None else _below(above, dotted(keys)))
    return paths


def _names(members: Members) -> list[str]:
    """The name of each node."""
    names: list[Any] = members.names
    if None in names:
        names = [node.name for node in members.live_nodes()]
    if len(set(names)) < len(names):  # Possible after `clear_name_cache()` only.
        name = next(name for name in names if names.count(name) > 1)
        places = [f".{path}" for n, path in zip(names, _paths(members), strict=True) if n == name]
        raise UniqueNameError(
            f"Several nodes have the name {name!r}: {', '.join(places)}. Give them other names, "
            "such as `node.name = 'encoder'`, or collect with method='relative'."
        )
    return names


def _check_distinct(paths: list[str], objects: Sequence[Any]) -> None:
    """Refuse to collect two objects under one path."""
    if len(set(paths)) < len(paths):
        first: dict[str, Any] = {}
        for path, obj in zip(paths, objects, strict=True):
            if first.setdefault(path, obj) is not obj:
                raise ValueError(
                    f"Two objects would be collected as {path!r}. Choose other attribute names "
                    "or dictionary keys for one of them."
                )


def _below(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _absolute_paths(members: Members) -> tuple[list[str], list[int] | None]:
    """The rows of ``vars()`` by name: the paths; the meeting of each, None if in order."""
    if not members.contained:  # Attributes of nodes with distinct names can't clash.
        named = zip(_names(members), members.signatures, strict=True)
        paths = [f"{name}.{key}" for name, head in named for key in head.own_keys]
        return paths, None
    suffixes = _suffixes(members)
    rows = list(suffixes[-1])
    for index, name in enumerate(_names(members)):
        rows += [(f"{name}.{suffix}", meeting) for suffix, meeting in suffixes[index]]
    paths, meetings = [path for path, _ in rows], [meeting for _, meeting in rows]
    variables = members.live_variables()
    _check_distinct(paths, [variables[meeting] for meeting in meetings])
    return paths, meetings


def _template(members: Members) -> dict[str, None]:
    paths, _ = _table(members, _absolute_paths)
    return dict.fromkeys(paths)


def _suffixes(members: Members) -> list[list[tuple[str, int]]]:
    """Key and meeting of each Variable, for each node; at the end, those in a root container."""
    meetings = itertools.count()
    held = [[(key, next(meetings)) for key in head.own_keys] for head in members.signatures]
    held.append([])
    for holder, keys in members.contained:
        held[holder].append((dotted_variable(keys), next(meetings)))
    return held


def _variable_rows(members: Members, method: str) -> list[tuple[str, int, int, int]]:
    """For each row of ``vars()``: path, index of the meeting, row of the node, level."""
    suffixes = _suffixes(members)
    rows = [(suffix, meeting, -1, 0) for suffix, meeting in suffixes[-1]]
    for row, (path, index, level) in enumerate(_table(members, _node_rows, method)):
        prefix = f"{path}." if path else ""
        rows += [(prefix + suffix, meeting, row, level) for suffix, meeting in suffixes[index]]
    variables = members.live_variables()
    _check_distinct([row[0] for row in rows], [variables[row[1]] for row in rows])
    return rows


def _table(members: Members, rows: Callable[..., Any], *args: Any) -> Any:
    """A table of the members, made at first need."""
    key = (rows, *args)
    if key not in members.tables:
        with no_garbage_collection():
            members.tables[key] = rows(members, *args)
    return members.tables[key]


def collect_nodes(root: Any, method: str, level: int, include_self: bool) -> Collector:
    """Collect the nodes at and below a root.

    Args:
        root: A node or container.
        method: ``'absolute'`` for names, ``'relative'`` for paths from the root.
        level: How many edges to go from the root; all if negative.
        include_self: Whether the root is among them.

    Raises:
        ValueError: There is no such method.
    """
    _check_method(method)
    members = members_of(root)
    nodes = members.live_nodes()
    return Collector._trusted(
        (path, nodes[index])
        for row, (path, index, depth) in enumerate(_table(members, _node_rows, method))
        if (level < 0 or depth <= level) and (include_self or row > 0)
    )


def collect_variables(
    root: Any,
    method: str,
    level: int,
    include_self: bool,
    exclude_types: tuple[type, ...] | None,
) -> ArrayCollector:
    """Collect the Variables at and below a root, by the paths of their nodes and attributes.

    Args:
        root: A node or container.
        method: ``'absolute'`` or ``'relative'``, as for nodes.
        level: How many edges to go from the root; all if negative.
        include_self: Whether the root's own Variables are among them.
        exclude_types: Classes to leave out; views if None.

    Raises:
        ValueError: There is no such method.
    """
    _check_method(method)
    members = members_of(root)
    variables = members.live_variables()
    if method == "absolute" and level < 0 and include_self and exclude_types is None:
        again = (_absolute_paths,) in members.tables
        paths, meetings = _table(members, _absolute_paths)
        if meetings is not None:
            variables = [variables[meeting] for meeting in meetings]
        items = zip(paths, variables, strict=True)
        if not again:  # Then a template does not pay yet.
            return ArrayCollector._trusted(items)
        return ArrayCollector._over(_table(members, _template), items)
    table = _table(members, _variable_rows, method)
    rows = ((path, variables[meeting], row, depth) for path, meeting, row, depth in table)
    if exclude_types is not None:
        rows = (
            found
            for found in (*rows, *_view_rows(members, method))
            if not isinstance(found[1], exclude_types)
        )
    return ArrayCollector._trusted(
        (path, variable)
        for path, variable, row, depth in rows
        if (level < 0 or depth <= level) and (include_self or row != 0)
    )


def own_variables(root: Any) -> list[dict[str, Any]]:
    """The Variables that each node itself has, by attribute.

    Args:
        root: A node.

    Returns:
        The Variables of each node at and below the root, in the order of ``nodes()``.
    """
    members = members_of(root)
    variables = members.live_variables()
    found: list[dict[str, Any]] = []
    for suffixes in _suffixes(members)[:-1]:
        own = {key: variables[meeting] for key, meeting in suffixes}
        if len(own) < len(suffixes):
            _check_distinct([key for key, _ in suffixes], [variables[m] for _, m in suffixes])
        found.append(own)
    return found


def _view_rows(members: Members, method: str) -> Iterator[tuple[str, VariableView, int, int]]:
    nodes = members.live_nodes()
    held: dict[int, list[Place]] = {}
    for place in members.views:
        held.setdefault(place[0], []).append(place)
    for row, (path, index, level) in enumerate(_table(members, _node_rows, method)):
        for _, keys in held.get(index, ()):
            yield _below(path, dotted_variable(keys)), at(nodes[index], keys), row, level


def at(node: Any, keys: Any) -> Any:
    """What a node holds under the keys of a place."""
    attribute, *rest = (keys,) if isinstance(keys, str) else keys
    return child_at(getattr(node, attribute), rest)
