"""The bytes of leaves: from arrays and scalars to what a file holds, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from framework.errors import CheckpointError
from framework.io.leaf_types import (
    BYTE_KINDS,
    Array,
    Frozen,
    Leaf,
    LeafType,
    dtype_name,
    dtype_named,
    leaf_type,
    plain_type,
    utf8,
)

__all__ = ["decode", "freeze", "freeze_all", "host_array"]

# When to hand arrays to JAX together: of at most so many bytes, at least so many, so many at once.
_SMALL, _MANY, _TOGETHER = 65_536, 2_000, 16
_ANY_JAX_ARRAY = LeafType("jax", "", ())
# Classes of JAX arrays that are numbers, not PRNG keys.
_plain_classes: set[type] = set()


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
    elif type_.kind in BYTE_KINDS:
        leaf = np.frombuffer(utf8(leaf) if type_.kind == "str" else leaf, np.uint8)
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
        return Frozen(plain_type(dtype_name(array.dtype), array.shape), array)
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
