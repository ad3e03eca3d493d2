"""Stand-ins: what a rebuilt object holds in the place of an array.

``jax.tree.map`` may put an axis, None or a shape where an array was. The place stays a leaf, which
the value found there does not tell, so the node remembers it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from framework.nodes.children import child_at, with_child
from framework.nodes.kinds import KIND_OF_TYPE, Kind
from framework.nodes.structure import Structure

__all__ = ["MAY_STAND_IN", "StandIn", "marked", "remember_stand_ins"]

MAY_STAND_IN = frozenset((Kind.ATOM, Kind.STATIC, Kind.PYTREE, Kind.SET))


class StandIn:
    """Marks a value as a leaf while a walk looks at it."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


KIND_OF_TYPE.declare(StandIn, Kind.ARRAY)


def remember_stand_ins(structure: Structure, nodes: list[Any], leaves: Iterable[Any]) -> None:
    """Tell nodes which of the leaves that they were rebuilt with stand for arrays."""
    places = structure.places
    for leaf, kind, (holder, keys) in zip(leaves, places.leaf_kinds, places.leaves, strict=True):
        if kind == Kind.ARRAY and holder >= 0 and KIND_OF_TYPE[type(leaf)] in MAY_STAND_IN:
            meta = nodes[holder]._meta
            meta.stand_ins = {**(meta.stand_ins or {}), keys: leaf}


def marked(attributes: dict[str, Any], stand_ins: dict[Any, Any]) -> dict[str, Any]:
    """The attributes of a node, with marks on what still stands for an array."""
    attributes = dict(attributes)
    for keys, value in stand_ins.items():
        attribute, *rest = (keys,) if isinstance(keys, str) else keys
        try:
            if child_at(attributes[attribute], rest) is value:
                attributes[attribute] = with_child(attributes[attribute], rest, StandIn(value))
        except LookupError:  # The place is gone.
            continue
    return attributes
