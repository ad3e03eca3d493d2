"""Weak references: handles, by which our transforms pass objects through JAX's flattening."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from weakref import ref

__all__ = ["Handle", "weak", "weak_all"]


class Handle:
    """A weak, hashable reference that stands for an object in a treedef.

    Two handles are equal if they refer to the same living object.
    """

    __slots__ = ("_hash", "_ref")

    def __init__(self, target: Any) -> None:
        self._ref = ref(target)
        self._hash = id(target)

    def target(self) -> Any:
        """The object.

        Raises:
            ReferenceError: It is gone.
        """
        target = self._ref()
        if target is None:
            raise ReferenceError("The object that this structure refers to no longer exists.")
        return target

    def alive(self) -> bool:
        """Tell whether the object still exists."""
        return self._ref() is not None

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if type(other) is not Handle or self._hash != other._hash:
            return False
        target = self._ref()
        return target is not None and target is other._ref()

    def __hash__(self) -> int:
        return self._hash

    def __repr__(self) -> str:
        target = self._ref()
        return f"<{'dead' if target is None else type(target).__name__}>"


def weak(value: Any) -> Any:
    """A callable that returns the value, keeping it alive only where it can't be held weakly."""
    try:
        return ref(value)
    except TypeError:
        return lambda: value


def weak_all(values: Sequence[Any]) -> list[Any]:
    """What :func:`weak` makes of each value."""
    try:
        return list(map(ref, values))
    except TypeError:
        return [weak(value) for value in values]
