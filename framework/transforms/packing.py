"""Packing: small arrays of one type in a few buffers, while a compiled function has them on loan.

JAX spends some microseconds on each array that goes into a compiled function and comes out again,
and XLA starts a kernel for each that it updates. Of arrays that stand together, both are spared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

__all__ = ["Packing"]

LARGEST = 65_536
"""Bytes; what is larger takes longer than what can be spared."""

TOGETHER = 8
"""How many arrays share a buffer. XLA's time to compile grows with the square of the number."""


class Packing:
    """Which arrays of a list stand in one buffer.

    Equal if the same arrays do. Arrays that are large, or alone in their kind, stay as they are.

    Args:
        values: Arrays outside of all transforms.

    Attributes:
        groups: The indices of the arrays in each buffer.

    >>> packing = Packing([jnp.ones(3), jnp.ones(2), jnp.zeros(3)])
    >>> buffers = packing.packed([jnp.ones(3), jnp.ones(2), jnp.zeros(3)])
    >>> [buffer.shape for buffer in buffers]
    [(2, 3), (2,)]
    >>> [value.shape for value in packing.unpacked(buffers)]
    [(3,), (2,), (3,)]
    """

    __slots__ = ("_hash", "groups")

    groups: tuple[tuple[int, ...], ...]

    def __init__(self, values: Sequence[Any]) -> None:
        alike: dict[Any, list[int]] = {}
        for index, value in enumerate(values):
            alike.setdefault(_kind(value) or index, []).append(index)
        self.groups = tuple(
            tuple(indices[start : start + TOGETHER])
            for indices in alike.values()
            for start in range(0, len(indices), TOGETHER)
        )
        self._hash = hash(self.groups)

    def packed(self, values: Sequence[Any] | Mapping[int, Any]) -> list[Any]:
        """The buffers with the values of the arrays, inside or outside of a trace."""
        return [
            values[group[0]] if len(group) == 1 else _joined(*[values[index] for index in group])
            for group in self.groups
        ]

    def unpacked(self, buffers: Sequence[Any]) -> list[Any]:
        """The arrays again, inside or outside of a trace."""
        found: dict[int, Any] = {}
        for group, buffer in zip(self.groups, buffers, strict=True):
            parts = [buffer] if len(group) == 1 else _parted(buffer)
            found |= zip(group, parts, strict=True)
        return [found[index] for index in range(len(found))]

    def __eq__(self, other: object) -> bool:
        return type(other) is Packing and self.groups == other.groups

    def __hash__(self) -> int:
        return self._hash


def _kind(value: Any) -> Any:
    """What arrays in one buffer have in common; None for those that are not packed."""
    if value.nbytes > LARGEST or value.weak_type or len(value.sharding.device_set) > 1:
        return None
    return value.shape, value.dtype, value.sharding, getattr(value, "committed", None)


@partial(jax.jit, inline=True)
def _joined(*values: Any) -> jax.Array:
    return jnp.stack(values)


@partial(jax.jit, inline=True)
def _parted(buffer: jax.Array) -> list[jax.Array]:
    return [lax.index_in_dim(buffer, i, keepdims=False) for i in range(buffer.shape[0])]
