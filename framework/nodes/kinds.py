"""Kinds: how a value takes part in an object graph, by its type."""

from __future__ import annotations

import functools
import types
from collections.abc import Iterable
from typing import Any

import jax
import numpy as np
from jax.core import Tracer

__all__ = ["KIND_OF_TYPE", "Kind", "kinds_among"]


class Kind:
    """How an attribute takes part in the graph."""

    VARIABLE, NODE, ARRAY, ATOM, STATIC, META = range(6)
    LIST, DICT, PYTREE, VIEW, REFERENCES, METHOD, SET = range(6, 13)
    CONTAINERS = frozenset((LIST, DICT, PYTREE))
    # What nodes and Variables are found in, beside the Variables themselves.
    HOLDING = CONTAINERS | {NODE, VIEW, REFERENCES, SET}
    # What a walk that looks for nodes and Variables has to look at.
    MET = HOLDING | {VARIABLE}
    # What may change without a node, Variable or array moving.
    STAYING = frozenset((ATOM, STATIC, META))
    # What can change in place without a count.
    WATCHED = CONTAINERS | {REFERENCES, SET}


_ATOMS = (
    int, bool, str, bytes, type(None), type, types.FunctionType, types.BuiltinFunctionType,
    types.ModuleType,
)  # fmt: skip


class _KindOfType(dict[type, int]):
    """The kind of each type of attribute, worked out at first sight."""

    rules: list[tuple[type, int]]

    def __init__(self) -> None:
        super().__init__()
        self.rules = [
            *((atom, Kind.ATOM) for atom in _ATOMS if atom is not type),
            (type, Kind.ATOM),
            (list, Kind.LIST),
            (tuple, Kind.LIST),
            (dict, Kind.DICT),
            (set, Kind.SET),
            (frozenset, Kind.SET),
            (types.MethodType, Kind.METHOD),
        ]

    def declare(self, cls: type, kind: int) -> None:
        """Treat this class and its subclasses as the kind."""
        self.rules.insert(0, (cls, kind))
        self.clear()

    def __missing__(self, cls: type) -> int:
        if len(self) > 4096:
            self.clear()
        kind = self[cls] = self._kind(cls)
        return kind

    def _kind(self, cls: type) -> int:
        if issubclass(cls, (np.ndarray, jax.Array, Tracer)):
            return Kind.ARRAY
        for parent, kind in self.rules:
            # Subclasses of built-in types may hold more than their items, so only
            # those that were declared, or that JAX knows, are looked into.
            exact = parent in (list, tuple, dict, set, frozenset, *_ATOMS) and parent is not type
            if cls is parent or (not exact and issubclass(cls, parent)):
                return kind
        if issubclass(cls, (float, complex, np.generic, set, frozenset, functools.partial)):
            return Kind.STATIC
        return Kind.PYTREE


KIND_OF_TYPE = _KindOfType()
_kind_of = KIND_OF_TYPE.__getitem__


def kinds_among(values: Iterable[Any]) -> set[int]:
    """The kinds of which there are values."""
    return set(map(_kind_of, set(map(type, values))))
