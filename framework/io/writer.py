"""Writing a checkpoint file: leaves, aliases and metadata to one msgpack stream."""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, BinaryIO
from zlib import crc32

import numpy as np

from framework.errors import CheckpointError
from framework.io.atomic import replacing, start_writeback
from framework.io.layout import (
    BIN_LIMIT,
    PREAMBLE_SIZE,
    Header,
    LeafInfo,
    framing,
    pack_header,
    place,
    seal,
)
from framework.io.leaf_types import Array, Leaf, LeafType, leaf_type
from framework.io.leaves import host_array
from framework.nodes.collection import no_garbage_collection

__all__ = ["write_file"]

# Below this, handing the checksum to the other thread costs more than it saves.
_WORTH_A_THREAD = 1 << 20
_CHUNK = 1 << 24
# Leaves of at most so many bytes are written together, so many pieces at a time.
_SMALL, _MANY = 1 << 16, 128


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
    with no_garbage_collection():
        types = [_type_of(name, leaf) for name, leaf in leaves.items()]
        # Most leaves of a file are of few types.
        known = {type_: type_.nbytes for type_ in set(types)}
        sizes = [known[type_] for type_ in types]
        infos = tuple(
            map(LeafInfo, leaves, types, place(sizes, bin_limit), sizes, itertools.repeat(0))
        )
        header = Header(infos, dict(aliases or {}), dict(meta or {}), structure, bin_limit)
        packed = pack_header(header)
    with replacing(path) as file, ThreadPoolExecutor(1) as helper:
        # Holds the place until the checksums are known.
        file.write(bytes(PREAMBLE_SIZE + len(packed)))
        checksums: list[int] = []
        position = 0
        # Small leaves are put together before they are written.
        pending: list[bytes | Array] = []
        for info, leaf in zip(infos, leaves.values(), strict=True):
            array = _array_of(info, leaf)
            if info.nbytes <= min(_SMALL, bin_limit) and array.dtype.isbuiltin == 1:
                start, stop = info.offset, info.offset + info.nbytes
                pending += (framing(position, start, stop), array)
                checksums.append(crc32(array))
                position = stop
                if len(pending) > _MANY:
                    file.write(b"".join(pending))
                    pending.clear()
                continue
            file.write(b"".join(pending))
            pending.clear()
            # Extended dtypes have no buffer protocol, bytes do.
            data = array.reshape(-1).view(np.uint8).data
            # zlib and the system call both release the GIL: checksum and copy run side by side.
            future = helper.submit(crc32, data) if info.nbytes >= _WORTH_A_THREAD else None
            written = 0
            for start, stop in header.segments(info):
                file.write(framing(position, start, stop))
                _write_run(file, data[written : written + stop - start], start, stop)
                written += stop - start
                position = stop
            checksums.append(future.result() if future else crc32(data))
        file.write(b"".join(pending))
        file.seek(0)
        file.write(seal(packed, checksums))


def _type_of(name: str, leaf: Leaf) -> LeafType:
    try:
        return leaf_type(leaf)
    except CheckpointError as error:
        raise CheckpointError(f"cannot save {name!r}: it {error}") from None
    except RuntimeError as error:
        raise CheckpointError(f"cannot save {name!r}: {error}") from error


def _array_of(info: LeafInfo, leaf: Leaf) -> Array:
    try:
        return host_array(leaf, info.type)
    except RuntimeError as error:  # JAX: the buffer was donated, or is on another machine
        raise CheckpointError(f"cannot save {info.path!r}: {error}") from error


def _write_run(file: BinaryIO, data: memoryview, start: int, stop: int) -> None:
    if stop - start < _CHUNK:
        file.write(data)
        return
    for position in range(start, stop, _CHUNK):
        end = min(position + _CHUNK, stop)
        file.write(data[position - start : end - start])
        start_writeback(file, position, end)
