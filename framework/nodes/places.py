"""Places: where the nodes and leaves of a structure stand, and their paths."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from jax import tree_util

from framework.nodes.children import AttributeKey
from framework.nodes.kinds import Kind
from framework.nodes.records import Place, Record, meetings

__all__ = ["PathKey", "Places", "key_text", "node_paths", "public"]


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


class Places:
    """Where the nodes and leaves of a structure stand.

    Args:
        root: Kind and code of the root of the structure.
        records: Its nodes.

    Attributes:
        nodes: Where the walk first met each node; the keys of the root are None.
        leaves: Where the walk first met each leaf.
        leaf_kinds: ``Kind.VARIABLE`` or ``Kind.ARRAY`` for each leaf.
    """

    def __init__(self, root: tuple[int, Any], records: Iterable[Record]) -> None:
        self.nodes: list[Place] = [(-1, None)] if root[0] == Kind.NODE else []
        nodes: dict[int, Place] = {0: (-1, None)} if root[0] == Kind.NODE else {}
        leaves: dict[int, Place] = {}
        kinds: dict[int, int] = {}
        for kind, place, index in meetings(root, records):
            if kind == Kind.NODE:
                nodes.setdefault(index, place)
            else:
                leaves.setdefault(index, place)
                # Only Variables are met through views.
                kinds.setdefault(index, kind if kind == Kind.ARRAY else Kind.VARIABLE)
        self.nodes = [nodes[index] for index in range(len(nodes))]
        self.leaves = [leaves[index] for index in range(len(leaves))]
        self.leaf_kinds = [kinds[index] for index in range(len(leaves))]
        self._leaf_keys: tuple[Any, ...] | None = None

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
