"""One step for one array: what every algorithm has in common around its rule."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from types import SimpleNamespace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from framework.optim.precision import as_real, computation_dtype, from_real, stored
from framework.optim.registry import SINCE

__all__ = ["ACCUMULATED", "MASTER", "How", "Slots", "change", "step"]

ACCUMULATED = "accumulated"
"""The slot with the sum of the gradients of micro-batches."""
MASTER = "master"
"""The slot with the parameter itself in the computation dtype."""

Rule = Callable[[jax.Array, jax.Array, Any, Any], jax.Array]


class How(NamedTuple):
    """What is static in a step.

    Attributes:
        rule: The maths of the algorithm.
        maximize: Whether to go up the gradient.
        decoupled: Whether weight decay is applied before the rule.
        flags: Static settings of the algorithm.
    """

    rule: Rule
    maximize: bool
    decoupled: bool
    flags: tuple[tuple[str, Any], ...]


class Slots:
    """The slots of one parameter as attributes, in the dtype of the computation.

    What a rule assigns is rounded to the dtype of the slot at once, and read as it was rounded:
    an array that is needed in both would take more memory than the slot saves. Iterating gives the
    names.

    Args:
        kept: The slots as they are kept.
        dtype: The dtype to compute in.
        t: The number of the update.
    """

    __slots__ = ("_dtype", "_kept", "_t")

    _dtype: Any
    _kept: dict[str, jax.Array]
    _t: jax.Array

    def __init__(self, kept: Mapping[str, jax.Array], dtype: Any, t: jax.Array) -> None:
        for key, value in (("_kept", dict(kept)), ("_dtype", dtype), ("_t", t)):
            object.__setattr__(self, key, value)

    def __getattr__(self, key: str) -> jax.Array:
        if key not in self._kept:
            raise AttributeError(f"There is no slot {key!r}, only {', '.join(self._kept)}.")
        return self._kept[key].astype(self._dtype)

    def __setattr__(self, key: str, value: jax.Array) -> None:
        if key not in self._kept:
            raise AttributeError(f"There is no slot {key!r} to set, only {', '.join(self._kept)}.")
        self._kept[key] = stored(value, self._kept[key].dtype, self._t)

    def __iter__(self) -> Iterator[str]:
        return iter(self._kept)

    def as_dict(self) -> dict[str, jax.Array]:
        """The slots as they are to be kept."""
        return dict(self._kept)


def change(
    how: How, p: jax.Array, g: jax.Array, s: Any, h: Mapping[str, Any], t: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Apply a rule to real arrays of the computation dtype.

    Args:
        how: What is static.
        p: The parameter.
        g: Its gradient.
        s: The slots as attributes, which are changed.
        h: The hyperparameters.
        t: The number of the update.

    Returns:
        The new parameter, and the old less the new one.
    """
    settings = SimpleNamespace(**dict(how.flags), t=t.astype(p.dtype))
    for key, value in h.items():
        setattr(settings, key, value.astype(p.dtype))
    decay: Any = None
    decayed = p
    if how.decoupled and "weight_decay" in h:
        decay = settings.lr * settings.weight_decay * p
        decayed = p - decay
    moved = how.rule(decayed, -g if how.maximize else g, s, settings)
    return decayed - moved, moved if decay is None else moved + decay


# Compiled by itself, so that equal shapes are traced once.
@functools.partial(jax.jit, static_argnums=0)
def step(
    how: How, p: Any, g: Any, slots: dict[str, Any], h: dict[str, Any], t: Any
) -> tuple[Any, dict[str, Any]]:
    """Make one step for one parameter of any dtype.

    Args:
        how: What is static.
        p: The parameter.
        g: Its gradient, as JAX gives it: for a complex parameter the conjugate of the direction.
        slots: Its slots.
        h: The hyperparameters.
        t: The number of the update.

    Returns:
        The new parameter and the new slots.
    """
    dtype = computation_dtype(p.dtype)
    s = Slots({k: x for k, x in slots.items() if k not in (MASTER, SINCE)}, dtype, t)
    age = t - slots[SINCE] if SINCE in slots else t
    old = as_real(p, dtype)
    if MASTER in slots:
        # Where the parameter was set from outside meanwhile, that is what counts.
        old = jnp.where(slots[MASTER].astype(p.dtype) == p, slots[MASTER], old)
    new, _ = change(how, old, as_real(jnp.conj(jnp.asarray(g)), dtype), s, h, age)
    kept = s.as_dict()
    if MASTER in slots:
        kept[MASTER] = new
    return from_real(new, p.dtype), kept
