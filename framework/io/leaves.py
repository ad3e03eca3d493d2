"""What a single leaf is in a file: its kind, dtype and shape, and its bytes.

The kind says which Python type comes back (a JAX array, a NumPy array or scalar, a typed PRNG
key, a Python number, text or bytes), so that a round trip keeps types as well as bits.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.core
import jax.numpy as jnp
import ml_dtypes
import numpy as np

from framework.errors import CheckpointError

__all__ = [
    "Array",
    "Frozen",
    "Leaf",
    "LeafType",
    "check_consistent",
    "decode",
    "dtype_named",
    "freeze",
    "freeze_all",
    "host_array",
    "leaf_type",
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
_BYTE_KINDS = ("str", "bytes", "bigint")
_KINDS = ("jax", "key", "numpy", "numpy_scalar", "bool", "int", "float", "complex", *_BYTE_KINDS)


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


# When to hand arrays to JAX together: of at most so many bytes, at least so many, so many at once.
_SMALL, _MANY, _TOGETHER = 65_536, 2_000, 16
_ANY_JAX_ARRAY = LeafType("jax", "", ())
# Classes of JAX arrays that are numbers, not PRNG keys.
_plain_classes: set[type] = set()


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
        return _plain_type(name, leaf.shape) if name else _jax_type(leaf)
    if kind is Frozen:
        return leaf.type
    if kind is np.ndarray or kind is np.memmap:
        return LeafType("numpy", _dtype_name(leaf.dtype), leaf.shape)
    if isinstance(leaf, np.generic):
        return LeafType("numpy_scalar", _dtype_name(leaf.dtype), ())
    if kind is int:
        if leaf in _INT64:
            return LeafType("int", "int64", ())
        return LeafType("bigint", "uint8", (leaf.bit_length() // 8 + 1,))
    if kind is str:
        return LeafType("str", "uint8", (len(_utf8(leaf)),))
    if kind is bytes:
        return LeafType("bytes", "uint8", (len(leaf),))
    if kind in _PYTHON_DTYPES:
        return LeafType(kind.__name__, _PYTHON_DTYPES[kind], ())
    raise CheckpointError(
        f"is a {kind.__module__}.{kind.__qualname__}, which a file cannot hold; allowed are JAX "
        "and NumPy arrays, PRNG keys, NumPy scalars, and Python bool, int, float, complex, str "
        "and bytes"
    )


def host_array(leaf: Leaf, type_: LeafType) -> Array:
    """The numbers of a leaf as one contiguous NumPy array, without a copy where that can be.

    Args:
        leaf: Anything that `leaf_type` accepts.
        type_: What `leaf_type` said about it.

    Returns:
        A C-contiguous array of `type_.dtype` and `type_.shape`.
    """
    if type(leaf) is Frozen:
        return leaf.array
    if type_.kind == "key":
        leaf = jax.random.key_data(leaf)
    elif type_.kind == "bigint":
        leaf = np.frombuffer(leaf.to_bytes(type_.shape[0], "little", signed=True), np.uint8)
    elif type_.kind in _BYTE_KINDS:
        leaf = np.frombuffer(_utf8(leaf) if type_.kind == "str" else leaf, np.uint8)
    # For a JAX array, naming the dtype costs more than the rest.
    array = np.asarray(leaf, None if type_.kind == "jax" else dtype_named(type_.dtype))
    # A 0-d array must not become 1-d, which ascontiguousarray would make of it.
    return array if array.flags.c_contiguous else np.ascontiguousarray(array)


def freeze(leaf: Leaf) -> Frozen:
    """Takes a snapshot that later changes do not reach.

    Args:
        leaf: Anything that `leaf_type` accepts.

    Returns:
        The snapshot. For a JAX array on the CPU it shares the array's memory: while it is held,
        JAX copies the buffer instead of donating it.

    Example:
        >>> array = np.zeros(2)
        >>> snapshot = freeze(array)
        >>> array[:] = 1
        >>> snapshot.array
        array([0., 0.])
    """
    if type(leaf) in _plain_classes:
        # On the host, type and contents of an array are told more quickly than on the device.
        array = host_array(leaf, _ANY_JAX_ARRAY)
        return Frozen(_plain_type(_dtype_name(array.dtype), array.shape), array)
    type_ = leaf_type(leaf)
    if type_.kind == "jax":
        _plain_classes.add(type(leaf))
    array = host_array(leaf, type_)
    return Frozen(type_, array.copy() if type_.kind == "numpy" else array)


def freeze_all(leaves: Mapping[str, Leaf]) -> dict[str, Frozen]:
    """Takes snapshots of all leaves that are to be saved.

    Args:
        leaves: The leaves by path.

    Returns:
        What `freeze` makes of each.

    Raises:
        CheckpointError: One cannot be stored; the message names it.
    """
    frozen: dict[str, Frozen] = {}
    name = ""
    try:
        for name, leaf in leaves.items():
            frozen[name] = freeze(leaf)
    except (CheckpointError, RuntimeError) as error:
        raise CheckpointError(f"cannot save {name!r}: it {error}") from error
    return frozen


def decode(paths: Sequence[str], types: Sequence[LeafType], arrays: Sequence[Array]) -> list[Leaf]:
    """Turns stored numbers back into leaves.

    Args:
        paths: Name of each leaf, for error messages.
        types: What the file says about each leaf.
        arrays: For each leaf its numbers, of that dtype and shape. JAX arrays alias their memory
            where the device allows it, so nothing else may write to it afterwards.

    Returns:
        The leaves, in the same order.

    Raises:
        CheckpointError: A leaf needs 64-bit types that JAX has switched off, or a PRNG
            implementation that is not registered.

    Example:
        >>> decode(["a"], [LeafType("int", "int64", ())], [np.array(3)])
        [3]
    """
    leaves: list[Leaf] = list(arrays)
    on_device = [i for i, type_ in enumerate(types) if type_.kind in ("jax", "key")]
    for i in on_device:
        wanted = arrays[i].dtype
        if jax.dtypes.canonicalize_dtype(wanted) != wanted:
            raise CheckpointError(
                f"{paths[i]!r} is a JAX array of {wanted}, and JAX's 64-bit types are off: switch "
                'them on with jax.config.update("jax_enable_x64", True), or load with numpy=True'
            )
    for i, array in zip(on_device, _on_device([arrays[i] for i in on_device]), strict=True):
        leaves[i] = array
    for i, type_ in enumerate(types):
        if type_.kind not in ("jax", "numpy"):
            try:
                leaves[i] = _decode_special(type_, leaves[i])
            except (ValueError, TypeError, KeyError) as error:
                raise CheckpointError(
                    f"{paths[i]!r} does not hold a valid {type_}: {error}"
                ) from error
    return leaves


def _on_device(arrays: list[Array]) -> list[jax.Array]:
    """Hands arrays to JAX, where possible without a copy.

    Thousands of small ones of one type are handed over a few at a time and parted on the device,
    which takes a fifth of the time; of fewer, to compile that would take longer than it saves.
    """
    alike: dict[Any, list[int]] = {}
    for i, array in enumerate(arrays):
        if array.nbytes <= _SMALL and array.dtype.isbuiltin == 1:
            alike.setdefault((array.dtype, array.shape), []).append(i)
    found: dict[int, jax.Array] = {}
    for places in alike.values():
        if len(places) >= _MANY:
            for start in range(0, len(places) - _TOGETHER + 1, _TOGETHER):
                part = places[start : start + _TOGETHER]
                block = jax.device_put(np.stack([arrays[i] for i in part]))
                found |= zip(part, jnp.unstack(block), strict=True)
    rest = [i for i in range(len(arrays)) if i not in found]
    # One call for all: a call per array costs twice as much.
    found |= zip(rest, jax.device_put([arrays[i] for i in rest]), strict=True)
    return [found[i] for i in range(len(arrays))]


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
    if kind in _BYTE_KINDS:
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
def _plain_type(dtype: str, shape: tuple[int, ...]) -> LeafType:
    return LeafType("jax", dtype, shape)


def _jax_type(array: jax.Array) -> LeafType:
    """The type of an array whose dtype has no name of its own."""
    if jnp.issubdtype(array.dtype, jax.dtypes.prng_key):
        data = jax.random.key_data(array)
        return LeafType("key", _dtype_name(data.dtype), data.shape, str(jax.random.key_impl(array)))
    return LeafType("jax", _dtype_name(array.dtype), array.shape)


def _decode_special(type_: LeafType, stored: Any) -> Leaf:
    match type_.kind:
        case "key":
            return jax.random.wrap_key_data(stored, impl=type_.impl)
        case "numpy_scalar":
            return stored[()]
        case "bigint":
            return int.from_bytes(stored.tobytes(), "little", signed=True)
        case "bytes":
            return stored.tobytes()
        case "str":
            return stored.tobytes().decode("utf-8", "surrogatepass")
        case _:
            return stored.item()


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _dtype_name(dtype: np.dtype[Any]) -> str:
    name = _NAMES.get(dtype) or _NAMES.get(dtype.newbyteorder("="))
    if name is None:
        raise CheckpointError(
            f"has the dtype {dtype}, which a file cannot hold; convert it to a numeric dtype"
        )
    return name
