"""Reading a checkpoint file: verified, bounded, and without copying where that can be."""

from __future__ import annotations

import functools
import mmap
import os
import stat
import zlib
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from io import BufferedReader
from pathlib import Path
from typing import Self

import numpy as np

from framework.errors import CheckpointError
from framework.io.layout import (
    ALIGNMENT,
    PREAMBLE_SIZE,
    Header,
    LeafInfo,
    framing,
    unpack_header,
    unpack_preamble,
)
from framework.io.leaf_types import Array, dtype_named
from framework.io.sniff import describe_foreign

__all__ = ["CheckpointFile"]

_THREADS = min(4, os.cpu_count() or 1)
# Below this, handing the checksum to another thread costs more than it saves.
_WORTH_A_THREAD = 1 << 20


class CheckpointFile:
    """An open checkpoint file whose header has been read and checked.

    Args:
        path: The file.

    Attributes:
        path: The file.
        header: What it holds.

    Raises:
        CheckpointError: The file is missing, damaged, cut off, or of another kind.

    Example:
        >>> import tempfile
        >>> from framework.io.writer import write_file
        >>> name = tempfile.mkdtemp() + "/a.msgpack"
        >>> write_file(name, {"w": np.arange(3)})
        >>> with CheckpointFile(name) as file:
        ...     print(file.header.leaves[0].path, file.read(file.header.leaves))
        w [array([0, 1, 2])]
    """

    path: Path
    header: Header

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._file = _open_regular(self.path)
        self._mapped: Array | None = None
        try:
            self.header, self._data_start = _read_head(self._file)
        except CheckpointError as error:
            self._file.close()
            raise self._error(describe_foreign(self.path) or error) from None
        except OSError as error:
            self._file.close()
            raise self._error(f"cannot be read: {error.strerror}") from error

    def read(self, leaves: Iterable[LeafInfo], *, use_mmap: bool = True) -> list[Array]:
        """Reads and verifies the numbers of some leaves.

        Args:
            leaves: Which of `header.leaves`; the bytes of others are not touched.
            use_mmap: Map the file into memory instead of copying it. The arrays then stay valid
                when the file is replaced or removed, but not when another program writes into it.

        Returns:
            For each leaf an array of its dtype and shape. Writing to it never changes the file.

        Raises:
            CheckpointError: Bytes are damaged; the message lists the paths concerned.
        """
        leaves = list(leaves)
        try:
            parts = self._map(leaves) if use_mmap else self._copy(leaves)
        except (OSError, ValueError, MemoryError) as error:
            raise self._error(f"cannot be read: {error}") from error
        damaged = _damaged(leaves, parts)
        if damaged:
            raise self._error(f"is damaged: the bytes of {_listed(damaged)} are not those saved")
        # Only leaves over 4 GiB have several parts; they alone are copied.
        buffers = [part[0] if len(part) == 1 else np.concatenate(part) for part in parts]
        try:
            return [
                buffer.view(dtype_named(leaf.type.dtype)).reshape(leaf.type.shape)
                for leaf, buffer in zip(leaves, buffers, strict=True)
            ]
        except (ValueError, MemoryError) as error:
            raise self._error(f"holds an impossible shape: {error}") from error
        except CheckpointError as error:
            raise self._error(f"cannot be read here: {error}") from None

    def verify(self) -> None:
        """Reads every byte of the file and compares all checksums.

        Raises:
            CheckpointError: Bytes are damaged; the message lists the paths concerned.
        """
        damaged = _damaged(self.header.leaves, self._map(self.header.leaves))
        if damaged:
            raise self._error(f"is damaged: the bytes of {_listed(damaged)} are not those saved")

    def close(self) -> None:
        """Closes the file; arrays that were read stay valid."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _error(self, problem: object) -> CheckpointError:
        return CheckpointError(f"{str(self.path)!r} {problem}")

    def _map(self, leaves: Sequence[LeafInfo]) -> list[list[Array]]:
        if self._mapped is None:
            # A private mapping: writing to a NumPy array made of it copies the page.
            mapped = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_COPY)
            self._mapped = np.frombuffer(mapped, np.uint8)[self._data_start :]
        whole = self._mapped
        view = whole.data
        self._check_framing(leaves, lambda start, stop: bytes(view[start:stop]))
        return [
            [whole[start:stop] for start, stop in self.header.segments(leaf)] for leaf in leaves
        ]

    def _copy(self, leaves: Sequence[LeafInfo]) -> list[list[Array]]:
        self._check_framing(leaves, self._read_range)
        return [[self._copy_leaf(leaf)] for leaf in leaves]

    def _copy_leaf(self, leaf: LeafInfo) -> Array:
        buffer = _aligned_empty(leaf.nbytes)
        filled = 0
        for start, stop in self.header.segments(leaf):
            self._file.seek(self._data_start + start)
            if self._file.readinto(buffer[filled : filled + stop - start].data) != stop - start:
                raise self._error("became shorter while it was read")
            filled += stop - start
        return buffer

    def _read_range(self, start: int, stop: int) -> bytes:
        self._file.seek(self._data_start + start)
        return self._file.read(stop - start)

    def _check_framing(self, leaves: Sequence[LeafInfo], read: Callable[[int, int], bytes]) -> None:
        for leaf in leaves:
            position = self._previous_stop[leaf.path]
            for start, stop in self.header.segments(leaf):
                if read(position, start) != framing(position, start, stop):
                    raise self._error(f"is damaged directly before {leaf.path!r}")
                position = stop

    @functools.cached_property
    def _previous_stop(self) -> dict[str, int]:
        """For each leaf, where the data before it ends."""
        leaves = self.header.leaves
        stops = [0, *map(self.header.stop, leaves)]
        return {leaf.path: stop for leaf, stop in zip(leaves, stops, strict=False)}


def _open_regular(path: Path) -> BufferedReader:
    try:
        # Opening a pipe would wait for a writer.
        if stat.S_ISREG(path.stat().st_mode):
            return path.open("rb")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise CheckpointError(f"cannot read {str(path)!r}: {reason}") from error
    raise CheckpointError(f"{str(path)!r} {describe_foreign(path)}")


def _read_head(file: BufferedReader) -> tuple[Header, int]:
    size = os.fstat(file.fileno()).st_size
    preamble = file.read(PREAMBLE_SIZE)
    header_bytes, _ = unpack_preamble(preamble)
    data_start = PREAMBLE_SIZE + header_bytes
    if data_start > size:
        raise CheckpointError("is cut off inside the header")
    header = unpack_header(preamble, file.read(header_bytes))
    end = data_start
    if header.leaves:
        end += header.stop(header.leaves[-1])
    if size != end:
        problem = "is cut off" if size < end else "is followed by something else"
        raise CheckpointError(f"{problem}: it has {size:,} bytes instead of {end:,}")
    return header, data_start


def _damaged(leaves: Sequence[LeafInfo], parts: Sequence[list[Array]]) -> list[str]:
    with ThreadPoolExecutor(_THREADS) as pool:
        # zlib releases the GIL, and large leaves are independent of each other.
        sums = [
            pool.submit(_crc32, part) if leaf.nbytes >= _WORTH_A_THREAD else _crc32(part)
            for leaf, part in zip(leaves, parts, strict=True)
        ]
        found = [value if isinstance(value, int) else value.result() for value in sums]
    return [leaf.path for leaf, value in zip(leaves, found, strict=True) if value != leaf.crc32]


def _crc32(parts: list[Array]) -> int:
    value = 0
    for part in parts:
        value = zlib.crc32(part.data, value)
    return value


def _aligned_empty(size: int) -> Array:
    # JAX takes memory over without a copy only if it is aligned.
    raw = np.empty(size + ALIGNMENT, np.uint8)
    return raw[-raw.ctypes.data % ALIGNMENT :][:size]


def _listed(paths: Sequence[str], most: int = 8) -> str:
    more = f" and {len(paths) - most} more" if len(paths) > most else ""
    return ", ".join(map(repr, paths[:most])) + more
