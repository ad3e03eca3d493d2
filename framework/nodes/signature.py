"""Signatures: what is known of a node without looking at its values."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Mapping
from typing import Any

from framework.nodes.kinds import KIND_OF_TYPE, Kind

__all__ = ["IMPLICIT", "Signature", "signature_of"]

IMPLICIT = frozenset(("_implicit_vars", "_implicit_nodes"))
"""The attributes that hold what is registered implicitly; an empty one is as good as none."""

# Beyond so many attributes, signatures are not learned while they are set: the time would be
# quadratic in their number.
MAX_LEARNED = 64


class Signature:
    """What all nodes of one class with the same attributes share.

    A node learns its signature while its attributes are set, so that a walk need not look at what
    is simple in it. Variables and the rest are in alphabetical order here, so that two nodes are
    equal whatever the order in which their attributes were set.

    Args:
        cls: The class.
        names: The attributes in the order of the node, the bookkeeping first.
        types: Their types.

    Attributes:
        variable_keys: The attributes that hold Variables.
        rest_keys: All others.
        rest_kinds: Their kinds.
        coded: The positions among the rest of what is not coded by itself.
        rest: The values of these, from the attributes of a node.
        own_keys: The attributes that hold Variables, in the order of the node.
        positions: All attributes in the order of the node but the bookkeeping, each with its
            position among Variables and rest.
        holding: The attributes in which nodes and Variables may be, in the order of the node.
        canonically_holding: These by name.
    """

    __slots__ = (
        "_after", "_hash", "_key", "canonically_holding", "cls", "coded", "count", "has_implicit",
        "holding", "names", "own_keys", "positions", "rest", "rest_keys", "rest_kinds", "types",
        "variable_keys",
    )  # fmt: skip

    def __init__(self, cls: type, names: tuple[str, ...], types: tuple[type, ...]) -> None:
        self.cls, self.names, self.types, self.count = cls, names, types, len(names)
        self._after: dict[tuple[str, type], Signature] = {}
        kinds = dict(zip(names, map(KIND_OF_TYPE.__getitem__, types), strict=True))
        exact = dict(zip(names, types, strict=True))
        self.own_keys = tuple(k for k in names if kinds[k] == Kind.VARIABLE)
        self.holding = tuple(k for k in names if kinds[k] in Kind.HOLDING)
        # Nodes first: a path by attributes reads better than one through containers.
        nodes_first = sorted(sorted(self.holding), key=lambda k: kinds[k] != Kind.NODE)
        self.canonically_holding = tuple(nodes_first)
        self.variable_keys = tuple(sorted(self.own_keys))
        self.rest_keys = tuple(
            sorted(k for k in names if kinds[k] not in (Kind.VARIABLE, Kind.META))
        )
        self.rest_kinds = tuple(kinds[k] for k in self.rest_keys)
        coded = (i for i, kind in enumerate(self.rest_kinds) if kind != Kind.ATOM)
        self.coded = tuple(sorted(coded, key=lambda i: self.rest_kinds[i] != Kind.NODE))
        self.rest = _items(self.rest_keys)
        arranged = {key: i for i, key in enumerate((*self.variable_keys, *self.rest_keys))}
        self.positions = tuple((key, arranged[key]) for key in names if key in arranged)
        self.has_implicit = not IMPLICIT.isdisjoint(names)
        # The exact types of atoms count, since 1 == True.
        atoms = tuple(exact[k] if kinds[k] == Kind.ATOM else None for k in self.rest_keys)
        self._key = (cls, self.variable_keys, self.rest_keys, self.rest_kinds, atoms)
        self._hash = hash(self._key)

    def after(self, name: str, cls: type) -> Signature | None:
        """The signature once an attribute is set to an instance of a class.

        None if there are so many attributes that it is worked out more cheaply at the next walk.
        """
        following = self._after.get((name, cls))
        if following is None and self.count <= MAX_LEARNED:
            types = dict(zip(self.names, self.types, strict=True)) | {name: cls}
            following = signature_of(self.cls, tuple(types), tuple(types.values()))
            if len(self._after) == MAX_LEARNED:
                self._after.clear()
            self._after[name, cls] = following
        return following

    def __eq__(self, other: object) -> bool:
        return self is other or (type(other) is Signature and self._key == other._key)

    def __hash__(self) -> int:
        return self._hash


def _items(keys: tuple[str, ...]) -> Callable[[Mapping[str, Any]], tuple[Any, ...]]:
    """The values under some keys, as a tuple however many they are."""
    if len(keys) > 1:
        return operator.itemgetter(*keys)
    if keys:
        return lambda attributes, key=keys[0]: (attributes[key],)
    return lambda _: ()


@functools.lru_cache(maxsize=4096)
def signature_of(cls: type, names: tuple[str, ...], types_: tuple[type, ...]) -> Signature:
    """The signature of a class for attributes of these names and types."""
    return Signature(cls, names, types_)
