"""Places: where the nodes and leaves of a structure stand, and their paths."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from jax import tree_util

from framework.nodes.children import AttributeKey
from framework.nodes.kinds import Kind
from framework.nodes.static import Static

if TYPE_CHECKING:
    from framework.nodes.structure import Structure

__all__ = ["PathKey", "Place", "Places", "key_text", "node_paths", "public"]


def key_text(keys: Any) -> str:
    """The text of the keys from a node to what it holds.

    >>> key_text("w"), key_text(("layers", 0, "a"))
    ('.w', ".layers[0]['a']")
    """
    if isinstance(keys, str):
        return f".{public(keys)}"
    first, *rest = keys
    start = "" if first is None else f".{public(first)}"
    return start + "".join(f".{key}" if type(key) is AttributeKey else f"[{key!r}]" for key in rest)


def public(attribute: str) -> str:
    """The name of an attribute as users know it."""
    return attribute.removeprefix("_") if attribute.startswith("_implicit_") else attribute


Place = tuple[int, Any]
"""The index of a holder, and the keys from there: an attribute name, or a tuple of an attribute
name and container keys. The index is -1, and the attribute name None, for a root container."""


class Places:
    """Where the nodes and leaves of a structure stand.

    Attributes:
        nodes: Where the walk first met each node; the keys of the root are None.
        leaves: Where the walk first met each leaf.
        leaf_kinds: ``Kind.VARIABLE`` or ``Kind.ARRAY`` for each leaf.
    """

    def __init__(self, structure: Structure) -> None:
        self.nodes: list[Place] = []
        self.leaves: list[Place] = []
        self.leaf_kinds: list[int] = []
        self._leaf_keys: tuple[Any, ...] | None = None
        kind, code = structure.root
        if kind == Kind.NODE:
            self.nodes.append((-1, None))
        else:
            self._visit(kind, code, -1, (None,))
        for position, (head, codes) in enumerate(structure.records):
            for index, key in head.variables:
                if codes[index] == len(self.leaves):
                    self.leaves.append((position, key))
                    self.leaf_kinds.append(Kind.VARIABLE)
            for index in head.others:
                self._visit(head.kinds[index], codes[index], position, (head.keys[index],))

    def _visit(self, kind: int, code: Any, holder: int, keys: tuple[Any, ...]) -> None:
        place = keys[0] if len(keys) == 1 and keys[0] is not None else keys
        if type(code) is Static:
            return
        if kind == Kind.NODE:
            if code == len(self.nodes):
                self.nodes.append((holder, place))
        elif kind in (Kind.VARIABLE, Kind.ARRAY):
            if code == len(self.leaves):
                self.leaves.append((holder, place))
                self.leaf_kinds.append(kind)
        elif kind in Kind.CONTAINERS:
            for key, (child_kind, child) in zip(code[1], code[2], strict=True):
                if child_kind != Kind.ATOM:
                    self._visit(child_kind, child, holder, (*keys, key))
        elif kind == Kind.VIEW:
            target_kind, target = code[1]
            self._visit(target_kind, target, holder, keys)

    @property
    def leaf_paths(self) -> list[str]:
        """The path of each leaf, such as ``layers[0].w``."""
        return [key.name for key in self.leaf_keys]

    @property
    def leaf_keys(self) -> tuple[Any, ...]:
        """The key path entry of each leaf, as JAX wants it."""
        if self._leaf_keys is None:
            self._leaf_keys = tuple(PathKey.of(self.nodes, place) for place in self.leaves)
        return self._leaf_keys


class PathKey(tree_util.GetAttrKey):
    """The key path entry from a root down to a leaf, which JAX and others take for an attribute.

    Its text is made when it is asked for: together, the paths of a long chain are of quadratic
    length.
    """

    _nodes: list[Place]
    _place: Place

    @classmethod
    def of(cls, nodes: list[Place], place: Place) -> PathKey:
        """Make the key of a leaf.

        Args:
            nodes: The places of all nodes.
            place: The place of the leaf.
        """
        self = cls("")
        self._nodes, self._place = nodes, place
        return self

    def __str__(self) -> str:
        parts: list[str] = []
        holder, keys = self._place
        while keys is not None:
            parts.append(key_text(keys))
            if holder < 0:
                break
            holder, keys = self._nodes[holder]
        return "".join(reversed(parts))

    __repr__ = __str__

    @property
    def name(self) -> str:
        """The path, as an attribute is named."""
        return str(self).removeprefix(".")

    def __eq__(self, other: object) -> bool:
        return type(other) is PathKey and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))


def node_paths(places: Iterable[Place]) -> list[str]:
    """The path of each node: empty for the root, ``.layers[0]`` below."""
    paths: list[str] = []
    for holder, keys in places:
        above = paths[holder] if holder >= 0 else ""
        paths.append(above if keys is None else above + key_text(keys))
    return paths
