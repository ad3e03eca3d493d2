"""Values of Variables: conversion at creation, checks, and short descriptions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from framework.errors import MathError
from framework.nodes.array import raw

__all__ = [
    "BATCH_AXIS",
    "cast_to",
    "checked_axis_names",
    "frozen_index",
    "initial_value",
    "plain_index",
    "summary",
    "thawed_index",
]

BATCH_AXIS = "BATCH"
"""Name of the batch axis in ``axis_names``."""


def initial_value(data: Any, dtype: Any) -> jax.Array:
    """The array for a new Variable: zeros for a shape, else the data, never weakly typed."""
    data = raw(data)
    if is_shape(data):
        return jnp.zeros(data, dtype)
    if isinstance(data, jax.Array):
        if dtype is not None and data.dtype != dtype:
            return data.astype(dtype)
        return (
            jax.lax.convert_element_type(data, data.dtype)
            if getattr(data, "weak_type", False)
            else data
        )
    value = jnp.array(data, dtype=dtype)
    if getattr(value, "weak_type", False):
        value = jax.lax.convert_element_type(value, value.dtype)
    return value


def is_shape(data: Any) -> bool:
    if isinstance(data, (list, tuple)):
        return all(isinstance(n, int) and not isinstance(n, bool) for n in data)
    return isinstance(data, int) and not isinstance(data, bool)


def checked_axis_names(
    ndim: int, batch_axis: int | None, names: Sequence[str] | None
) -> tuple[str, ...] | None:
    """The names of all axes.

    Raises:
        MathError: ``batch_axis`` is no axis, or the names don't fit.
    """
    if batch_axis is not None and not 0 <= batch_axis < ndim:
        raise MathError(
            f"batch_axis={batch_axis} is not an axis of an array with {ndim} dimensions. "
            f"Give a number from 0 to {ndim - 1}, or None."
        )
    if names is None:
        return None
    names = tuple(names)
    if batch_axis is not None and len(names) + 1 == ndim:
        names = (*names[:batch_axis], BATCH_AXIS, *names[batch_axis:])
    if len(names) != ndim:
        raise MathError(f"axis_names={names} has {len(names)} names for {ndim} axes.")
    return names


def cast_to(value: Any, dtype: Any) -> jax.Array | None:
    """Convert what may be assigned to an array of the dtype; None for what may not.

    A jax array must have exactly the dtype, unless it is weakly typed; a numpy array may differ in
    precision; a Python scalar is cast. Nothing loses an imaginary part.
    """
    got = getattr(value, "dtype", None)
    if isinstance(value, jax.Array):
        if not getattr(value, "weak_type", False):
            return value if got == dtype else None
        if _is_complex(got) and not _is_complex(dtype):
            return None
        return jax.lax.convert_element_type(value, dtype)
    if jnp.issubdtype(dtype, jax.dtypes.extended) or (
        isinstance(value, complex) and not _is_complex(dtype)
    ):
        return None
    if got is not None and got != dtype and not _differ_in_precision(got, dtype):
        return None
    try:
        return jnp.array(value, dtype=dtype)
    except OverflowError:
        return None


def _is_complex(dtype: Any) -> bool:
    return jnp.issubdtype(dtype, jnp.complexfloating)


_KINDS = (jnp.bool_, jnp.unsignedinteger, jnp.signedinteger, jnp.floating, jnp.complexfloating)


def _differ_in_precision(got: Any, dtype: Any) -> bool:
    return any(jnp.issubdtype(got, kind) and jnp.issubdtype(dtype, kind) for kind in _KINDS)


def summary(value: Any) -> str:
    """Shape and dtype in short form.

    >>> summary(jnp.zeros((3, 4)))
    'f32[3,4]'
    """
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    if shape is None or dtype is None:
        return type(value).__name__
    return f"{_short_dtype(dtype)}[{','.join(map(str, shape))}]"


_SHORT = {"float": "f", "int": "i", "uint": "u", "complex": "c", "bfloat": "bf"}


def _short_dtype(dtype: Any) -> str:
    name = str(dtype)
    stem = name.rstrip("0123456789")
    return f"{_SHORT[stem]}{name[len(stem) :]}" if stem in _SHORT else name


def plain_index(index: Any) -> Any:
    """An index without Variables and lists, which JAX does not take."""
    if isinstance(index, tuple):
        return tuple(map(plain_index, index))
    return np.asarray(index) if isinstance(index, list) else raw(index)


def frozen_index(index: Any) -> Any:
    """A hashable form of an index."""
    if isinstance(index, tuple):
        return (tuple, tuple(map(frozen_index, index)))
    if isinstance(index, slice):
        return (slice, (index.start, index.stop, index.step))
    if isinstance(index, (np.ndarray, jax.Array)):
        array = np.asarray(index)
        return (np.ndarray, (array.dtype.str, array.shape, array.tobytes()))
    return (None, index)


def thawed_index(frozen: Any) -> Any:
    """The index of a hashable form."""
    kind, content = frozen
    if kind is None:
        return content
    if kind is slice:
        return slice(*content)
    if kind is np.ndarray:
        dtype, shape, data = content
        return np.frombuffer(data, dtype).reshape(shape)
    return tuple(map(thawed_index, content))
