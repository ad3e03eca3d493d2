"""What a single leaf is: its kind, dtype and shape.

The kind says which Python type comes back (a JAX array, a NumPy array or scalar, a typed PRNG
key, a Python number, text or bytes), so that a round trip keeps types as well as bits.
"""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.core
import jax.numpy as jnp
import ml_dtypes
import numpy as np

from framework.errors import CheckpointError

__all__ = [
    "BYTE_KINDS",
    "Array",
    "Frozen",
    "Leaf",
    "LeafType",
    "check_consistent",
    "dtype_name",
    "dtype_named",
    "leaf_type",
    "plain_type",
    "utf8",
]

Array: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"
Leaf: TypeAlias = Any
"""A JAX or NumPy array, a typed PRNG key, a NumPy scalar, or a Python scalar, str or bytes."""

_STANDARD = (
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float16", "float32", "float64", "complex64", "complex128"),
    *(f"{kind}64[{unit}]" for kind in ("datetime", "timedelta") for unit in
      ("Y", "M", "W", "D", "h", "m", "s", "ms", "us", "ns", "ps", "fs", "as")),
)  # fmt: skip
_EXTENDED = (
    *("bfloat16", "int2", "uint2", "int4", "uint4", "float4_e2m1fn"),
    *("float6_e2m3fn", "float6_e3m2fn", "float8_e3m4", "float8_e4m3", "float8_e4m3b11fnuz"),
    *("float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu"),
)
_DTYPES: dict[str, np.dtype[Any]] = {name: np.dtype(name) for name in _STANDARD} | {
    name: np.dtype(getattr(ml_dtypes, name)) for name in _EXTENDED if hasattr(ml_dtypes, name)
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
_MAX_NDIM = 32
_PYTHON_DTYPES = {bool: "bool", float: "float64", complex: "complex128"}
_INT64 = range(-(2**63), 2**63)
# Kinds whose bytes are a list of unsigned bytes of any length.
BYTE_KINDS = ("str", "bytes", "bigint")
_KINDS = ("jax", "key", "numpy", "numpy_scalar", "bool", "int", "float", "complex", *BYTE_KINDS)


class LeafType(NamedTuple):
    """Kind, dtype and shape of one leaf.

    Attributes:
        kind: One of `jax`, `key`, `numpy`, `numpy_scalar`, `bool`, `int`, `float`, `complex`,
            `str`, `bytes` and `bigint` (an int that needs more than 64 bits).
        dtype: Name of the dtype of the stored numbers; of a key, of its data.
        shape: Shape of the stored numbers; of a key, of its data.
        impl: Of a key, the name of its PRNG implementation; otherwise empty.
    """

    kind: str
    dtype: str
    shape: tuple[int, ...]
    impl: str = ""

    @property
    def nbytes(self) -> int:
        """Size of the stored numbers in bytes."""
        return math.prod(self.shape) * dtype_named(self.dtype).itemsize

    def __str__(self) -> str:
        if self.kind not in ("jax", "numpy", "key"):
            return self.kind
        name = f"key<{self.impl}>" if self.kind == "key" else self.dtype
        return f"{name}[{','.join(map(str, self.shape))}]"


class Frozen(NamedTuple):
    """A leaf as it was at one moment; files take it in the place of the leaf.

    Attributes:
        type: What the leaf is.
        array: Its numbers, which nobody writes to.
    """

    type: LeafType
    array: Array


def dtype_named(name: str) -> np.dtype[Any]:
    """The NumPy dtype that a file calls `name`.

    Args:
        name: Such as `float32`, `bfloat16` or `datetime64[ns]`.

    Returns:
        The dtype in the byte order of this machine.

    Raises:
        CheckpointError: No such dtype is known here.

    Example:
        >>> dtype_named("bfloat16").itemsize
        2
    """
    try:
        return _DTYPES[name]
    except KeyError:
        raise CheckpointError(
            f"dtype {name!r} is not known to this installation; a newer ml_dtypes may have it"
        ) from None


def leaf_type(leaf: Leaf) -> LeafType:
    """Describes a leaf without copying its data.

    Args:
        leaf: Anything that a file can hold.

    Returns:
        What the file says about it.

    Raises:
        CheckpointError: A leaf of this type or dtype cannot be stored.

    Example:
        >>> leaf_type(np.zeros((2, 3), np.float32))
        LeafType(kind='numpy', dtype='float32', shape=(2, 3), impl='')
    """
    kind = type(leaf)
    if _is_jax(kind):
        name = _NAMES.get(leaf.dtype)
        return plain_type(name, leaf.shape) if name else _jax_type(leaf)
    if kind is Frozen:
        return leaf.type
    if kind is np.ndarray or kind is np.memmap:
        return LeafType("numpy", dtype_name(leaf.dtype), leaf.shape)
    if isinstance(leaf, np.generic):
        return LeafType("numpy_scalar", dtype_name(leaf.dtype), ())
    if kind is int:
        if leaf in _INT64:
            return LeafType("int", "int64", ())
        return LeafType("bigint", "uint8", (leaf.bit_length() // 8 + 1,))
    if kind is str:
        return LeafType("str", "uint8", (len(utf8(leaf)),))
    if kind is bytes:
        return LeafType("bytes", "uint8", (len(leaf),))
    if kind in _PYTHON_DTYPES:
        return LeafType(kind.__name__, _PYTHON_DTYPES[kind], ())
    raise CheckpointError(
        f"is a {kind.__module__}.{kind.__qualname__}, which a file cannot hold; allowed are JAX "
        "and NumPy arrays, PRNG keys, NumPy scalars, and Python bool, int, float, complex, str "
        "and bytes"
    )


def check_consistent(type_: LeafType) -> int:
    """Refuses a leaf description that no writer makes.

    Args:
        type_: As read from a file that may be hostile.

    Returns:
        The size of the stored numbers in bytes.

    Raises:
        ValueError: Kind, dtype and shape do not fit together.
        CheckpointError: The dtype is not known to this installation.
    """
    kind, dtype, shape, impl = type_
    if kind not in _KINDS or type(dtype) is not str or type(impl) is not str:
        raise ValueError(f"there is no kind {kind!r} of dtype {dtype!r}")
    if len(shape) > _MAX_NDIM or any(type(n) is not int or n < 0 for n in shape):
        raise ValueError(f"the shape {shape[: _MAX_NDIM + 1]} is impossible")
    expected = {"int": "int64"} | {t.__name__: name for t, name in _PYTHON_DTYPES.items()}
    if kind in BYTE_KINDS:
        fits = dtype == "uint8" and len(shape) == 1
    elif kind in expected:
        fits = dtype == expected[kind] and shape == ()
    else:
        fits = kind != "numpy_scalar" or shape == ()
    if not fits or (kind == "key") != bool(impl):
        raise ValueError(f"a {kind} cannot have dtype {dtype} and shape {shape}")
    if math.prod(n for n in shape if n) >= 2**63:
        raise ValueError(f"the shape {shape} is too large")
    return type_.nbytes


@functools.cache
def _is_jax(cls: type) -> bool:
    # Asking once for each class: JAX's own check runs Python code for each array.
    if issubclass(cls, jax.core.Tracer):
        raise CheckpointError(
            "is a value inside a JAX transform, which has no data yet; save outside the transform"
        )
    return issubclass(cls, jax.Array)


@functools.lru_cache
def plain_type(dtype: str, shape: tuple[int, ...]) -> LeafType:
    """The type of a JAX array of numbers."""
    return LeafType("jax", dtype, shape)


def _jax_type(array: jax.Array) -> LeafType:
    """The type of an array whose dtype has no name of its own."""
    if jnp.issubdtype(array.dtype, jax.dtypes.prng_key):
        data = jax.random.key_data(array)
        return LeafType("key", dtype_name(data.dtype), data.shape, str(jax.random.key_impl(array)))
    return LeafType("jax", dtype_name(array.dtype), array.shape)


def utf8(text: str) -> bytes:
    """The bytes that a file holds for a text."""
    return text.encode("utf-8", "surrogatepass")


def dtype_name(dtype: np.dtype[Any]) -> str:
    """What a file calls a dtype.

    Raises:
        CheckpointError: It can hold no such array.
    """
    name = _NAMES.get(dtype) or _NAMES.get(dtype.newbyteorder("="))
    if name is None:
        raise CheckpointError(
            f"has the dtype {dtype}, which a file cannot hold; convert it to a numeric dtype"
        )
    return name
