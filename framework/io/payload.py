"""Leaves in the containers of other programs: arrays by name, and an index of what they are.

Formats such as `.npz` know fewer types than we do. What a format cannot hold is stored as bytes,
and an index, one more array, says which leaf each array is, so that a round trip loses nothing.
Files without an index come from other programs; their arrays are taken as they are.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import msgpack
import numpy as np

from framework.errors import CheckpointError
from framework.io.leaf_types import (
    Array,
    Frozen,
    LeafType,
    check_consistent,
    dtype_named,
    leaf_type,
)

__all__ = ["INDEX", "Payload", "pack", "unpack"]

INDEX = "framework_index"
"""Name of the array that holds the index."""

# BrainPy's names for the arrays that tell which Variables are shared.
_BRAINPY_ALIASES = ("duplicate_keys", "duplicate_targets")


class Payload(NamedTuple):
    """All that a file of another format holds.

    Attributes:
        leaves: Leaf by path.
        aliases: Further paths of leaves and subtrees.
        meta: Metadata of the user.
        structure: Description of the tree.
    """

    leaves: dict[str, Frozen]
    aliases: dict[str, str]
    meta: dict[str, Any]
    structure: Any = None


def pack(
    payload: Payload, native: Collection[str], name_pattern: str = r"[\w.\[\]'-]+"
) -> dict[str, Array]:
    """Turns leaves into arrays that a format can hold.

    Args:
        payload: What to store.
        native: Names of the dtypes that the format has.
        name_pattern: What names the format allows; other leaves get a number.

    Returns:
        Array by name, the index among them.
    """
    arrays: dict[str, Array] = {}
    entries: list[Any] = []
    for number, (path, (type_, array)) in enumerate(payload.leaves.items()):
        fits = re.fullmatch(name_pattern, path, re.ASCII) and path not in (INDEX, "file")
        name = path if fits else f"leaf_{number}"
        data = array.reshape(-1).view(np.uint8)
        arrays[name] = array if type_.dtype in native else data
        entries.append([name, path, *type_, zlib.crc32(data.data)])
    index = [entries, payload.aliases, payload.meta, payload.structure]
    packed: Any = msgpack.packb(index, unicode_errors="surrogatepass")
    arrays[INDEX] = np.frombuffer(packed, np.uint8)
    return arrays


def unpack(arrays: Mapping[str, Array]) -> Payload:
    """Turns arrays back into leaves.

    Args:
        arrays: Array by name, as a library read them.

    Returns:
        What was packed; of a file without an index, the arrays as they are.

    Raises:
        CheckpointError: An array is not what the index says.
    """
    if INDEX not in arrays:
        return _without_index(arrays)
    entries, aliases, meta, structure = msgpack.unpackb(
        np.asarray(arrays[INDEX], np.uint8).tobytes(),
        unicode_errors="surrogatepass",
        strict_map_key=False,
    )
    leaves: dict[str, Frozen] = {}
    for name, path, kind, dtype, shape, impl, crc32 in entries:
        type_ = LeafType(kind, dtype, tuple(shape), impl)
        check_consistent(type_)
        array = np.ascontiguousarray(arrays[name])
        wanted = dtype_named(dtype)
        if array.nbytes == type_.nbytes and array.dtype == np.uint8:
            array = array.reshape(-1).view(wanted)
        array = array.astype(wanted, copy=False).reshape(type_.shape)
        if zlib.crc32(array.reshape(-1).view(np.uint8).data) != crc32:
            raise CheckpointError(f"is damaged: the bytes of {path!r} are not those saved")
        leaves[path] = Frozen(type_, array)
    return Payload(leaves, aliases, meta, structure)


def _without_index(arrays: Mapping[str, Array]) -> Payload:
    leaves: dict[str, Frozen] = {}
    for name, array in arrays.items():
        if name not in _BRAINPY_ALIASES:
            try:
                leaves[name] = Frozen(leaf_type(array), np.asarray(array, order="C"))
            except CheckpointError as error:
                raise CheckpointError(f"has the array {name!r}, which {error}") from None
    keys, targets = (_texts(arrays.get(name)) for name in _BRAINPY_ALIASES)
    return Payload(leaves, dict(zip(keys, targets, strict=True)), {})


def _texts(array: Array | None) -> list[str]:
    if array is None:
        return []
    items = [t.decode() if isinstance(t, bytes) else str(t) for t in array.reshape(-1).tolist()]
    return [text.strip() for item in items for text in item.split("+")]
