"""Files of any format behind one interface, chosen by suffix."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np

from framework.errors import CheckpointError
from framework.io.atomic import replacing
from framework.io.flax_msgpack import read_flax, starts_like_a_map
from framework.io.layout import Header, LeafInfo, starts_like_ours
from framework.io.leaf_types import Array, Leaf
from framework.io.leaves import freeze_all
from framework.io.other_formats import OTHER_FORMATS
from framework.io.payload import Payload
from framework.io.reader import CheckpointFile
from framework.io.sniff import describe_foreign
from framework.io.writer import write_file

__all__ = ["Source", "open_source", "write_source"]


class Source(Protocol):
    """An open file of any format."""

    path: Path
    header: Header

    def read(self, leaves: Iterable[LeafInfo], *, use_mmap: bool = True) -> list[Array]:
        """Reads and verifies the numbers of some leaves."""
        ...

    def verify(self) -> None:
        """Compares all checksums that the format has."""
        ...


class _Loaded:
    """A file whose whole content a library has read."""

    def __init__(self, path: Path, payload: Payload) -> None:
        self.path = path
        self._arrays = {name: leaf.array for name, leaf in payload.leaves.items()}
        infos = (
            LeafInfo(name, type_, 0, array.nbytes, _crc32(array))
            for name, (type_, array) in payload.leaves.items()
        )
        self.header = Header(tuple(infos), payload.aliases, payload.meta, payload.structure)

    def read(self, leaves: Iterable[LeafInfo], *, use_mmap: bool = True) -> list[Array]:
        return [self._arrays[info.path] for info in leaves]

    def verify(self) -> None:
        """The checksums were compared when the file was read."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def open_source(path: str | os.PathLike[str]) -> AbstractContextManager[Source]:
    """Opens a file of any format.

    Args:
        path: The file. Its suffix says what it is; whatever has no suffix of another format is a
            checkpoint of this package, or a msgpack file of Flax or BrainPy.

    Returns:
        The open file, a context manager.

    Raises:
        CheckpointError: It is missing, damaged, or of another kind; or a library is not installed.
    """
    path = Path(path)
    other = OTHER_FORMATS.get(path.suffix.lower())
    # What is no regular file must not even be opened: a pipe would wait for a writer.
    if other is None or not path.is_file():
        return _Loaded(path, read_flax(path)) if _may_be_flax(path) else CheckpointFile(path)
    try:
        return _Loaded(path, other.read(path))
    except Exception as error:
        raise _named(path, error, "cannot be read") from error


def write_source(
    path: str | os.PathLike[str],
    leaves: Mapping[str, Leaf],
    aliases: Mapping[str, str] | None = None,
    meta: Mapping[str, Any] | None = None,
    structure: Any = None,
) -> None:
    """Writes a file of any format, by suffix; arguments as for `write_file`.

    Raises:
        CheckpointError: A leaf cannot be stored, the file cannot be written, or a library is not
            installed. The file that was there before is untouched.
    """
    other = OTHER_FORMATS.get(Path(path).suffix.lower())
    if other is None:
        write_file(path, leaves, aliases, meta, structure)
        return
    payload = Payload(freeze_all(leaves), dict(aliases or {}), dict(meta or {}), structure)
    try:
        with replacing(path) as file:
            other.write(file, payload)
    except Exception as error:
        raise _named(path, error, "cannot be written") from error


def _named(path: str | os.PathLike[str], error: Exception, what: str) -> CheckpointError:
    name, reason = repr(os.fspath(path)), str(error) or repr(error)
    if not isinstance(error, CheckpointError):
        reason = f"{what}: {reason}"
    return CheckpointError(reason if name in reason else f"{name} {reason}")


def _may_be_flax(path: Path) -> bool:
    return (
        path.is_file()
        and not starts_like_ours(path)
        and not describe_foreign(path)
        and starts_like_a_map(path)
    )


def _crc32(array: Array) -> int:
    return zlib.crc32(array.reshape(-1).view(np.uint8).data)
