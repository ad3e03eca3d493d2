"""Watches: what the containers of a graph held, to notice changes in place.

Setting an attribute is counted; a list or a dictionary that a node holds has no such hook, and is
compared with what it held. That runs at each flatten and at each jitted call.
"""

from __future__ import annotations

from itertools import chain
from operator import call, is_
from typing import Any
from weakref import ref

from framework.nodes.children import children_of, container_extras
from framework.nodes.collectors import Collector
from framework.nodes.handles import weak
from framework.nodes.kinds import KIND_OF_TYPE, Kind, kinds_among

__all__ = ["Watch", "Watches"]

_kind_of = KIND_OF_TYPE.__getitem__
# From so many lists on, it pays to compare them all at once.
_MANY = 16


class Watches:
    """What the containers held that the nodes of a graph have as attributes.

    Lists of objects are the common case, and are compared without a call for each of them.
    """

    __slots__ = ("_lists", "_others")

    def __init__(self) -> None:
        self._lists: list[tuple[ref[Any], str, type, list[ref[Any]]]] = []
        self._others: list[tuple[ref[Any], str, Watch]] = []

    def add(self, node: ref[Any], attribute: str, value: Any, kind: int, nested: bool) -> None:
        """Watch a container, unless it is a tuple of what can't change in place.

        Args:
            node: The node that holds it, weakly.
            attribute: The attribute.
            value: The container.
            kind: Its kind.
            nested: Whether there are containers in it.
        """
        if kind == Kind.LIST and not nested:
            if type(value) is tuple:
                return
            try:
                items = list(map(ref, value))
            except TypeError:
                pass
            else:
                self._lists.append((node, attribute, type(value), items))
                return
        self._others.append((node, attribute, Watch(value, kind)))

    def hold(self) -> bool:
        """Tell whether all containers still hold the same objects."""
        if len(self._lists) > _MANY:
            if not self._lists_hold():
                return False
        else:
            for node, attribute, cls, items in self._lists:
                held: Any = getattr(node(), attribute, None)
                if type(held) is not cls or len(held) != len(items):
                    return False
                if items and not all(map(is_, map(call, items), held)):
                    return False
        for node, attribute, watch in self._others:
            if not watch.matches(getattr(node(), attribute, None)):
                return False
        return True

    def _lists_hold(self) -> bool:
        """The same for many lists, all at once."""
        lists: Any = [getattr(node(), attribute, None) for node, attribute, _, _ in self._lists]
        shapes = [(cls, len(items)) for _, _, cls, items in self._lists]
        try:
            if [(type(held), len(held)) for held in lists] != shapes:
                return False
        except TypeError:  # Something else took the place of a list.
            return False
        items = chain.from_iterable([items for _, _, _, items in self._lists])
        return all(map(is_, map(call, items), chain.from_iterable(lists)))


class Watch:
    """What a container held when it was walked, to notice changes in place.

    Args:
        value: A list, a dictionary, or another PyTree.
        kind: Its kind.
    """

    __slots__ = ("container", "extras", "held", "keys", "kind", "nested", "version")

    def __init__(self, value: Any, kind: int) -> None:
        self.kind = kind
        self.version: int | None = None
        self.keys, children = children_of(value, kind)
        # Only custom PyTrees change otherwise than by their children.
        self.extras = container_extras(value, kind) if kind == Kind.PYTREE else None
        # Containers inside are watched by content: held, they would keep alive what they hold.
        self.nested: dict[int, Watch] = {}
        if not Kind.WATCHED.isdisjoint(kinds_among(children)):
            for index, child in enumerate(children):
                child_kind = _kind_of(type(child))
                watch = Watch(child, child_kind) if child_kind in Kind.WATCHED else None
                if watch is not None and watch.keys is not None:
                    self.nested[index] = watch
        try:
            self.held: list[Any] = list(map(ref, children))
        except TypeError:
            self.held = [None if i in self.nested else weak(c) for i, c in enumerate(children)]
        if isinstance(value, Collector) and not self.nested:
            self.container, self.version = ref(value), value._version

    def matches(self, value: Any) -> bool:
        """Tell whether the container still holds the same objects. Runs at every jitted call."""
        if self.version is not None:
            return value is self.container() and value._version == self.version
        kind = self.kind
        if _kind_of(type(value)) != kind:
            return False
        if kind == Kind.LIST:
            children = value
        elif kind == Kind.DICT:
            if tuple(value) != self.keys:
                return False
            children = value.values()
        else:
            keys, children = children_of(value, kind)
            if keys != self.keys:
                return False
            if kind == Kind.PYTREE and container_extras(value, kind) != self.extras:
                return False
        if len(children) != len(self.held):
            return False
        if not self.nested:
            return all(map(is_, map(call, self.held), children))
        for index, (hold, child) in enumerate(zip(self.held, children, strict=True)):
            watch = self.nested.get(index)
            if not (hold() is child if watch is None else watch.matches(child)):
                return False
        return True
