"""Writing a checkpoint file: leaves, aliases and metadata to one msgpack stream."""

from __future__ import annotations

import os
import zlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, BinaryIO

from framework.errors import CheckpointError
from framework.io.atomic import replacing
from framework.io.layout import BIN_LIMIT, framing, pack_head
from framework.io.leaves import Array, Leaf, LeafType, host_array, leaf_type

__all__ = ["write_file"]

_NO_CHECKSUM = "0" * 8
# Below this, handing the checksum to the other thread costs more than it saves.
_WORTH_A_THREAD = 1 << 20


def write_file(
    path: str | os.PathLike[str],
    leaves: Mapping[str, Leaf],
    aliases: Mapping[str, str] | None = None,
    meta: Mapping[str, Any] | None = None,
    structure: Any = None,
    *,
    bin_limit: int = BIN_LIMIT,
) -> None:
    """Writes a checkpoint file, replacing the one that is there only when it is complete.

    Args:
        path: The file.
        leaves: Path of each leaf and the leaf: JAX and NumPy arrays of any shape and dtype, typed
            PRNG keys, NumPy and Python scalars, text and bytes.
        aliases: Further paths of leaves, each with the path under which `leaves` has it.
        meta: Anything that JSON could hold; read back as it is.
        structure: Description of the tree that the leaves came from, likewise.
        bin_limit: Longest run of bytes in one msgpack object, a multiple of 64; for tests.

    Raises:
        CheckpointError: A leaf cannot be stored, or the file cannot be written. The message names
            it, and the file that was there before is untouched.

    Example:
        >>> import tempfile, numpy
        >>> folder = tempfile.mkdtemp()
        >>> write_file(f"{folder}/a.msgpack", {"w": numpy.zeros(3)}, meta={"step": 7})
    """
    types = {name: _type_of(name, leaf) for name, leaf in leaves.items()}
    described = [(name, type_, _NO_CHECKSUM) for name, type_ in types.items()]
    rest = (dict(aliases or {}), dict(meta or {}), structure, bin_limit)
    head, placed = pack_head(described, *rest)
    with replacing(path) as file, ThreadPoolExecutor(1) as helper:
        # Holds the place; a file that is cut off here is recognised by its checksum.
        file.write(bytes(len(head)))
        position = 0
        for i, (name, type_, parts) in enumerate(zip(leaves, types.values(), placed, strict=True)):
            array = host_array(leaves[name], type_)
            crc32 = _write_leaf(file, array, parts, position, helper)
            described[i] = (name, type_, f"{crc32:08x}")
            position = parts[-1][1]
        file.seek(0)
        file.write(pack_head(described, *rest)[0])


def _type_of(name: str, leaf: Leaf) -> LeafType:
    try:
        return leaf_type(leaf)
    except CheckpointError as error:
        raise CheckpointError(f"cannot save {name!r}: it {error}") from None


def _write_leaf(
    file: BinaryIO,
    array: Array,
    parts: list[list[int]],
    position: int,
    helper: ThreadPoolExecutor,
) -> int:
    # Extended dtypes have no buffer protocol, bytes do.
    data = memoryview(array.reshape(-1).view("u1"))
    # zlib and the system call both release the GIL, so checksum and copy run side by side.
    future = helper.submit(zlib.crc32, data) if len(data) >= _WORTH_A_THREAD else None
    written = 0
    for start, stop in parts:
        file.write(framing(position, start, stop))
        file.write(data[written : written + stop - start])
        written += stop - start
        position = stop
    return future.result() if future else zlib.crc32(data)
