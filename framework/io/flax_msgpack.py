"""Reading the msgpack files of Flax, and of BrainPy, which took over Flax's encoding.

Such a file is one nested map. Arrays are extension objects: shape, dtype name and bytes, packed
once more; those over 1 GiB are maps of chunks.
"""

from __future__ import annotations

import re
import struct
from pathlib import Path
from typing import Any

import msgpack
import numpy as np

from framework.errors import CheckpointError
from framework.io.leaf_types import Array, Frozen, dtype_named
from framework.io.leaves import freeze
from framework.io.payload import Payload

__all__ = ["read_flax", "starts_like_a_map"]

_ARRAY, _COMPLEX, _SCALAR = 1, 2, 3
_CHUNKED = "__msgpack_chunked_array__"
_MALFORMED = (
    *(ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, OSError),
    *(RecursionError, MemoryError, struct.error, msgpack.UnpackException),
)
_MAPS = (*range(0x80, 0x90), 0xDE, 0xDF)


def starts_like_a_map(path: Path) -> bool:
    """Tells whether a file starts like a msgpack map; our own are to be ruled out before."""
    try:
        with path.open("rb") as file:
            return file.read(1)[:1] in [bytes([first]) for first in _MAPS]
    except OSError:
        return False


def read_flax(path: Path) -> Payload:
    """Reads the state dict of a Flax or BrainPy model.

    Args:
        path: The file.

    Returns:
        Its leaves by path: the keys joined by dots, such as `params.Dense_0.kernel`.

    Raises:
        CheckpointError: It is damaged, or of another kind.
    """
    try:
        packed = path.read_bytes()
        unpacker = msgpack.Unpacker(max_buffer_size=len(packed))
        unpacker.feed(packed)
        # As in our own files: once every count is known to be true, unpacking is safe.
        unpacker.skip()
        tree = msgpack.unpackb(packed, ext_hook=_extension, strict_map_key=False)
        leaves: dict[str, Frozen] = {}
        _collect("", tree, leaves)
    except CheckpointError as error:
        raise CheckpointError(f"{str(path)!r} {error}") from None
    except _MALFORMED as error:
        raise CheckpointError(
            f"{str(path)!r} is no msgpack file that we know: {error!r}"
        ) from error
    return Payload(leaves, {}, {})


def _extension(code: int, data: bytes) -> Any:
    if code in (_ARRAY, _SCALAR):
        shape, name, buffer = msgpack.unpackb(data, raw=True)
        array = np.frombuffer(buffer, dtype_named(name.decode())).reshape(shape)
        return array if code == _ARRAY else array[()]
    if code == _COMPLEX:
        return complex(*msgpack.unpackb(data))
    raise CheckpointError(f"holds the unknown msgpack extension {code}")


def _collect(path: str, value: Any, leaves: dict[str, Frozen]) -> None:
    if isinstance(value, dict) and _CHUNKED not in value:
        for key, child in value.items():
            plain = isinstance(key, str) and re.fullmatch(r"[^.\[\]]+", key)
            step = (f".{key}" if path else key) if plain else f"[{key!r}]"
            _collect(path + step, child, leaves)
    elif value is not None:
        leaf = _joined(value) if isinstance(value, dict) else value
        try:
            leaves[path] = freeze(leaf)
        except CheckpointError as error:
            raise CheckpointError(f"has the leaf {path!r}, which {error}") from None


def _joined(value: dict[str, Any]) -> Array:
    shape, chunks = value["shape"], value["chunks"]
    flat = np.concatenate([chunks[str(i)] for i in range(len(chunks))])
    return flat.reshape([shape[str(i)] for i in range(len(shape))])
