"""Contents: what the plain lists, dicts and sets held that a function finds by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import chain, repeat
from operator import call, is_
from typing import Any
from weakref import ref

from framework.nodes.graph import Node
from framework.nodes.variable import Variable

__all__ = ["Contents", "can_change", "holds_objects"]

# A container with more items, those of containers inside included, is watched by its length only.
MAX_WATCHED = 500
MAX_DEPTH = 4

_CHANGEABLE = (list, dict, set)
# What is taken by value: an equal one leads to the same trace.
_PLAIN = frozenset((int, bool, float, complex, str, bytes))


class Contents:
    """What a container held, to notice that it was changed in place.

    It keeps no object alive that can be held weakly.

    Args:
        container: A list, dict, set or tuple.
        depth: How many containers it is in.
    """

    __slots__ = ("_held", "_length", "_nested", "_plain", "_type")

    def __init__(self, container: Any, depth: int = 0) -> None:
        self._type: type = type(container)
        self._length = len(container)
        self._held: list[Any] | None = None
        self._plain = False
        self._nested: dict[int, Contents | None] = {}
        if depth or _size(container) <= MAX_WATCHED:
            items = list(_items(container))
            self._nested = {
                i: Contents(x, depth + 1) if depth < MAX_DEPTH else None
                for i, x in enumerate(items)
                if _is_container(x)
            }
            # Numbers and strings are compared as they are, all others by what returns them.
            self._plain = _PLAIN.issuperset(map(type, items))
            self._held = (
                items if self._plain else [None if _is_container(x) else _held(x) for x in items]
            )

    def match(self, container: Any) -> bool:
        """Tell whether a container holds the same. Runs at every jitted call."""
        if type(container) is not self._type or len(container) != self._length:
            return False
        held = self._held
        if held is None:
            return True
        if not self._nested:
            found = held if self._plain else map(call, held)
            if all(map(is_, found, _items(container))):
                return True
        for index, (hold, item) in enumerate(zip(held, _items(container), strict=True)):
            if hold is None:
                nested = self._nested.get(index)
                if not _is_container(item) or (nested is not None and not nested.match(item)):
                    return False
            elif (old := hold if self._plain else hold()) is not item and not (
                type(old) is type(item) and type(old) in _PLAIN and old == item
            ):
                return False
        return True


def _held(item: Any) -> Callable[[], Any]:
    """What returns the item, at C speed, and keeps it alive only if it can't be held weakly."""
    try:
        return ref(item)
    except TypeError:
        return repeat(item).__next__


def can_change(value: Any) -> bool:
    """Tell whether the value is a container that can change in place."""
    return _is_container(value) and (
        isinstance(value, _CHANGEABLE) or any(map(_is_container, value))
    )


def holds_objects(value: Any) -> bool:
    """Tell whether the value is a container that directly holds nodes or Variables."""
    return _is_container(value) and any(isinstance(x, (Node, Variable)) for x in _items(value))


def _is_container(value: Any) -> bool:
    return isinstance(value, (list, dict, set, tuple)) and not isinstance(value, Node)


def _items(container: Any) -> Iterable[Any]:
    return chain(container, container.values()) if isinstance(container, dict) else container


def _size(container: Any, depth: int = 0) -> int:
    """The number of items, those of containers inside included, as far as they are watched."""
    count = len(container)
    if depth < MAX_DEPTH and count <= MAX_WATCHED:
        for item in _items(container):
            if _is_container(item):
                count += _size(item, depth + 1)
            if count > MAX_WATCHED:
                break
    return count
