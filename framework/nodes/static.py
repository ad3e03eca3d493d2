"""Static values: what a structure holds beside nodes and leaves, comparable and hashable."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

from framework.nodes.values import frozen_index

__all__ = ["Static"]


class Static:
    """A static attribute that plain ``==`` would not compare rightly or safely."""

    __slots__ = ("key", "value")

    def __init__(self, value: Any) -> None:
        self.value = value
        self.key = _static_key(value)

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if type(other) is not Static:
            return False
        try:
            return bool(self.key == other.key)
        except Exception:  # noqa: BLE001 - a user's `__eq__` may raise, or return an array.
            return False

    def __hash__(self) -> int:
        return hash(self.key)

    def __repr__(self) -> str:
        return repr(self.value)


class _Identity:
    """Compares an unhashable value by identity."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return type(other) is _Identity and self.value is other.value

    def __hash__(self) -> int:
        return id(self.value)


def _static_key(value: Any) -> Any:
    cls = type(value)
    if cls is float:
        return (float, struct.pack("d", value))
    if cls is complex:
        return (complex, struct.pack("dd", value.real, value.imag))
    if issubclass(cls, np.generic):
        return (cls, value.tobytes())
    if cls in (set, frozenset):
        return (cls, frozenset(map(_static_key, value)))
    if cls is slice:
        return (cls, frozen_index(value))
    try:
        hash(value)
    except TypeError:
        return (cls, _Identity(value))
    return (cls, value)
