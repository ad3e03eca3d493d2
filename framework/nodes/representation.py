"""The text of an object: an indented tree with shapes and no array contents."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from framework.nodes.children import children_of
from framework.nodes.graph import Node, attributes_of
from framework.nodes.kinds import KIND_OF_TYPE, Kind
from framework.nodes.places import key_text
from framework.nodes.values import summary
from framework.nodes.variable import Variable

__all__ = ["tree_text"]

MAX_LINES = 200
_PLAIN = (bool, int, float, complex, str)


def tree_text(root: Node) -> str:
    """Describe a node and all below it, one line for each node, Variable and array.

    It reads no values and records no reads, so it is safe inside a trace.
    """
    lines: list[str] = []
    seen: dict[int, str] = {}
    stack: list[tuple[int, str, str, Any]] = [(0, "", "", root)]
    while stack:
        depth, label, path, value = stack.pop()
        if len(lines) == MAX_LINES:
            lines.append("…")
            break
        head = "  " * min(depth, 40) + (f"{label}: " if label else "")
        if isinstance(value, Node):
            if id(value) in seen:
                lines.append(f"{head}{type(value).__name__} (see {seen[id(value)] or 'the top'})")
                continue
            seen[id(value)] = path
            lines.append(f"{head}{_node_line(value)}")
            stack += reversed(_children(value, depth, path))
        else:
            lines.append(f"{head}{_leaf_text(value, seen, path)}")
    return "\n".join(lines)


def _node_line(node: Any) -> str:
    settings = ", ".join(
        f"{name}={value!r}"
        for name, value in attributes_of(node).items()
        if type(value) in _PLAIN and not name.startswith("_") and len(repr(value)) <= 40
    )
    name = node._meta.name or node._meta.wanted_name
    text = type(node).__name__ + (f" {name!r}" if name else "")
    return f"{text} ({settings})" if settings else text


def _leaf_text(value: Any, seen: dict[int, str], path: str) -> str:
    if isinstance(value, Variable):
        text = f"{type(value).__name__} {summary(value._shown())}"
        if id(value) in seen:
            return f"{text} (see {seen[id(value)]})"
        seen[id(value)] = path
        return text
    return summary(value)


def _children(node: Any, depth: int, path: str) -> list[tuple[int, str, str, Any]]:
    found = (x for name, value in attributes_of(node).items() for x in _shown_in(value, (name,)))
    rows = ((key_text(keys), value) for keys, value in found)
    return [(depth + 1, label, path + label, value) for label, value in rows]


def _shown_in(value: Any, keys: tuple[Any, ...]) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """The nodes, Variables and arrays in an attribute, with the keys to them."""
    kind = KIND_OF_TYPE[type(value)]
    if kind in (Kind.NODE, Kind.VARIABLE, Kind.VIEW, Kind.ARRAY):
        yield keys, value
    elif kind in Kind.CONTAINERS:
        below, children = children_of(value, kind)
        for key, child in zip(below or (), children, strict=True):
            yield from _shown_in(child, (*keys, key))
