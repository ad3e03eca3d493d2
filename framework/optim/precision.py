"""Precision: in which dtype a step computes, and how its results are stored."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

__all__ = ["as_real", "computation_dtype", "from_real", "real_shape", "stored"]


def computation_dtype(dtype: Any) -> Any:
    """The real dtype to compute in: at least float32.

    >>> [str(computation_dtype(dtype)) for dtype in (jnp.bfloat16, jnp.float32, jnp.complex64)]
    ['float32', 'float32', 'float32']
    """
    dtype = jnp.dtype(dtype)
    if jnp.issubdtype(dtype, jnp.complexfloating):
        dtype = jnp.finfo(dtype).dtype
    return dtype if jnp.finfo(dtype).bits >= 32 else jnp.dtype(jnp.float32)


def real_shape(x: Any) -> tuple[int, ...]:
    """The shape of :func:`as_real`.

    >>> real_shape(jnp.zeros(3)), real_shape(jnp.zeros(3, complex))
    ((3,), (3, 2))
    """
    is_complex = jnp.issubdtype(x.dtype, jnp.complexfloating)
    return (*x.shape, 2) if is_complex else tuple(x.shape)


def as_real(x: jax.Array, dtype: Any) -> jax.Array:
    """The array in a real dtype; a complex one with a last axis of real and imaginary part."""
    if jnp.issubdtype(x.dtype, jnp.complexfloating):
        x = jnp.stack([x.real, x.imag], -1)
    return x.astype(dtype)


def from_real(x: jax.Array, dtype: Any) -> jax.Array:
    """The reverse of :func:`as_real`."""
    if jnp.issubdtype(dtype, jnp.complexfloating):
        return jax.lax.complex(x[..., 0], x[..., 1]).astype(dtype)
    return x.astype(dtype)


def stored(x: jax.Array, dtype: Any, t: jax.Array) -> jax.Array:
    """Convert what a step computed to the dtype of its slot.

    A running mean whose steps are smaller than half the spacing of bfloat16 would stand still, so
    bfloat16 is rounded up or down at random, with the right mean: the same way in every run, as a
    function of the step and of the element.

    Args:
        x: The computed array.
        dtype: The dtype of the slot.
        t: The number of the update.
    """
    if dtype != jnp.bfloat16 or x.dtype != jnp.float32:
        return x.astype(dtype)
    bits = jax.lax.bitcast_convert_type(x, jnp.uint32)
    index = jax.lax.iota(jnp.uint32, x.size).reshape(x.shape)
    noise = _mixed(index ^ _mixed(t.astype(jnp.uint32))) & jnp.uint32(0xFFFF)
    # The upper half of a float32 is the bfloat16 below it; a carry from the noise is the one above.
    rounded = jax.lax.bitcast_convert_type(
        ((bits + noise) >> jnp.uint32(16)).astype(jnp.uint16), jnp.bfloat16
    )
    return jnp.where(jnp.isfinite(x), rounded, x.astype(dtype))


def _mixed(x: jax.Array) -> jax.Array:
    """Scatter the bits of integers (the finalizer of MurmurHash3, by Austin Appleby)."""
    x = (x ^ (x >> jnp.uint32(16))) * jnp.uint32(0x85EBCA6B)
    x = (x ^ (x >> jnp.uint32(13))) * jnp.uint32(0xC2B2AE35)
    return x ^ (x >> jnp.uint32(16))
