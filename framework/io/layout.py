"""The frame of a checkpoint file: preamble, header, and where each leaf's bytes are.

A file is a stream of msgpack objects. The first, the preamble, is a map of fixed size that names
the format and guards the second, the header, which describes every leaf. Then follow the leaves
as `bin` objects; `nil` objects between them bring each leaf's first byte to a multiple of 64.
`docs/format.md` is the specification.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import msgpack

from framework.errors import CheckpointError
from framework.io.leaves import LeafType, check_consistent

__all__ = [
    "ALIGNMENT",
    "BIN_LIMIT",
    "PREAMBLE_SIZE",
    "Header",
    "LeafInfo",
    "framing",
    "pack_head",
    "place",
    "unpack_header",
    "unpack_preamble",
]

FORMAT = "pytree-framework"
VERSION = 1
ALIGNMENT = 64
BIN_LIMIT = 2**32 - ALIGNMENT
"""Longest run of bytes in one msgpack object, a multiple of the alignment below 4 GiB."""

# A bin header (marker and 32-bit length) directly before the data of a leaf.
_BIN_HEAD = 5
_NIL = b"\xc0"


def _packb(value: object) -> bytes:
    return cast("bytes", msgpack.packb(value, unicode_errors="surrogatepass"))


# Fixed-width numbers, so that the size of the preamble is known before it is read.
_PREAMBLE = (
    b"\x84"
    + _packb("format")
    + _packb(FORMAT)
    + _packb("version")
    + b"%c"
    + _packb("header_bytes")
    + b"\xce%b"
    + _packb("crc32")
    + b"\xce"
)
_MAGIC = _PREAMBLE.partition(b"%c")[0]
_AFTER_SIZE = _PREAMBLE.partition(b"%b")[2]
_BEFORE_CHECKSUM = len(_PREAMBLE % (0, bytes(4)))
PREAMBLE_SIZE = _BEFORE_CHECKSUM + 4
# Beyond this, unpacking the header could take gigabytes; it is room for a million leaves.
_MAX_HEADER = 1 << 28


class LeafInfo(NamedTuple):
    """What the header says about one leaf.

    Attributes:
        path: Where the leaf is in the saved object, such as `layers[0].w`.
        type: Kind, dtype and shape.
        segments: Byte ranges `[start, stop]`, counted from the end of the header; one, unless the
            leaf is over 4 GiB.
        crc32: Checksum of the leaf's bytes, eight hexadecimal digits.
    """

    path: str
    type: LeafType
    segments: list[list[int]]
    crc32: str

    @property
    def nbytes(self) -> int:
        """Size of the data in bytes."""
        return sum(stop - start for start, stop in self.segments)


@dataclass(frozen=True, slots=True)
class Header:
    """What a file holds, without the data.

    Attributes:
        leaves: Every leaf in file order.
        aliases: Further paths of leaves, each with the path that holds the data.
        meta: What the user stored next to the leaves.
        structure: What kind of tree the leaves came from; see `docs/format.md`.
    """

    leaves: tuple[LeafInfo, ...]
    aliases: dict[str, str]
    meta: dict[str, Any]
    structure: Any = None


def place(sizes: Iterable[int], limit: int = BIN_LIMIT) -> list[list[list[int]]]:
    """Places leaves one after the other.

    Args:
        sizes: Size of each leaf in bytes.
        limit: Longest run of bytes in one msgpack object; a multiple of `ALIGNMENT`.

    Returns:
        For each leaf its list of `[start, stop]`, counted from the end of the header.

    Example:
        >>> place([100, 4])
        [[[64, 164]], [[192, 196]]]
    """
    placed: list[list[list[int]]] = []
    start = 0
    for size in sizes:
        parts: list[list[int]] = []
        rest = size
        while rest or not parts:
            data = -(-(start + _BIN_HEAD) // ALIGNMENT) * ALIGNMENT
            start = data + min(rest, limit)
            rest -= start - data
            parts.append([data, start])
        placed.append(parts)
    return placed


def framing(previous_stop: int, start: int, stop: int) -> bytes:
    """The bytes between two runs of data: padding, then the head of a msgpack `bin`.

    Args:
        previous_stop: Where the data before ends.
        start: Where the next data starts.
        stop: Where it ends.

    Returns:
        `start - previous_stop` bytes.
    """
    padding = start - previous_stop - _BIN_HEAD
    return _NIL * padding + b"\xc6" + (stop - start).to_bytes(4, "big")


def pack_head(
    leaves: Sequence[tuple[str, LeafType, str]],
    aliases: dict[str, str],
    meta: dict[str, Any],
    structure: Any,
    limit: int = BIN_LIMIT,
) -> tuple[bytes, list[list[list[int]]]]:
    """Packs preamble and header.

    Args:
        leaves: For each leaf its path, type and checksum (eight hexadecimal digits).
        aliases: Further paths of leaves.
        meta: Map of user data; everything in it must be packable by msgpack.
        structure: Description of the tree, likewise packable.
        limit: Longest run of bytes in one msgpack object.

    Returns:
        The first bytes of the file, and for each leaf its segments. The size does not depend on
        the checksums, so that a writer can reserve the place and fill it in at the end.

    Raises:
        CheckpointError: `meta` holds what msgpack cannot, or the header is too large.
    """
    # Offsets count from the end of the header, so its size does not depend on itself.
    placed = place((type_.nbytes for _, type_, _ in leaves), limit)
    header: dict[str, Any] = {
        "leaves": [
            {
                "path": path,
                "kind": type_.kind,
                "dtype": type_.dtype,
                "shape": type_.shape,
                "crc32": crc32,
                "segments": parts,
            }
            | ({"impl": type_.impl} if type_.impl else {})
            for (path, type_, crc32), parts in zip(leaves, placed, strict=True)
        ],
        "aliases": aliases,
        "meta": meta,
        "structure": structure,
    }
    try:
        packed = _packb(header)
    except (TypeError, ValueError, OverflowError) as error:
        raise CheckpointError(
            f"the metadata must consist of dict, list, str, bytes, int, float, bool and None: "
            f"{error}"
        ) from error
    # The header ends aligned, so that offsets counted from there and in the file are so together.
    packed += _NIL * (-(PREAMBLE_SIZE + len(packed)) % ALIGNMENT)
    if len(packed) > _MAX_HEADER:
        raise CheckpointError(
            f"the description of the leaves takes {len(packed):,} bytes, {_MAX_HEADER:,} are "
            "allowed; store fewer leaves or less metadata"
        )
    head = _PREAMBLE % (VERSION, len(packed).to_bytes(4, "big"))
    return head + zlib.crc32(packed, zlib.crc32(head)).to_bytes(4, "big") + packed, placed


def unpack_preamble(start: bytes) -> tuple[int, int]:
    """Reads the preamble.

    Args:
        start: The first `PREAMBLE_SIZE` bytes of a file, or fewer if it is shorter.

    Returns:
        Size of the header in bytes, and the checksum of preamble and header.

    Raises:
        CheckpointError: It is no preamble of a version that this code reads.
    """
    if not start.startswith(_MAGIC):
        raise CheckpointError("does not start like a checkpoint of this package")
    if len(start) < PREAMBLE_SIZE:
        raise CheckpointError("is cut off inside the preamble")
    version = start[len(_MAGIC)]
    if version != VERSION:
        raise CheckpointError(
            f"has format version {version}, this release reads version {VERSION}; "
            "load it with a newer release of the package"
        )
    size, checksum = start[_BEFORE_CHECKSUM - len(_AFTER_SIZE) - 4 :][:4], start[-4:]
    if start != _PREAMBLE % (VERSION, size) + checksum:
        raise CheckpointError("has a damaged preamble")
    header_bytes = int.from_bytes(size, "big")
    if header_bytes > _MAX_HEADER:
        raise CheckpointError(
            f"claims a header of {header_bytes:,} bytes, {_MAX_HEADER:,} are the most ever written"
        )
    return header_bytes, int.from_bytes(checksum, "big")


def unpack_header(preamble: bytes, packed: bytes) -> Header:
    """Reads the header and checks all that it says.

    Args:
        preamble: The first `PREAMBLE_SIZE` bytes of the file.
        packed: The bytes that follow, as many as the preamble says.

    Returns:
        The header; the segments of its leaves lie where `place` would put them.

    Raises:
        CheckpointError: The checksum is wrong, or the content is not what a writer makes.
    """
    header_bytes, checksum = unpack_preamble(preamble)
    if len(packed) < header_bytes:
        raise CheckpointError("is cut off inside the header")
    if zlib.crc32(packed, zlib.crc32(preamble[:-4])) != checksum:
        raise CheckpointError("has a damaged header: its checksum does not match")
    content = _unpack(packed)
    try:
        header = _header(content)
    except (TypeError, KeyError, ValueError, AttributeError, OverflowError) as error:
        raise CheckpointError(f"has a malformed header: {error!r}") from error
    return header


def _unpack(packed: bytes) -> Any:
    try:
        unpacker = msgpack.Unpacker(
            max_buffer_size=len(packed), unicode_errors="surrogatepass", strict_map_key=False
        )
        unpacker.feed(packed)
        # Walking over the bytes allocates nothing, and afterwards every count in them is known
        # to be true, so unpacking cannot be made to reserve room for elements that are not there.
        unpacker.skip()
        end = unpacker.tell()
        if packed[end:] != _NIL * (len(packed) - end) or len(packed) - end >= ALIGNMENT:
            raise CheckpointError("has a malformed header: something follows it")
        return msgpack.unpackb(
            packed[:end], unicode_errors="surrogatepass", strict_map_key=False, max_ext_len=0
        )
    except (ValueError, TypeError, msgpack.UnpackException, RecursionError, MemoryError) as error:
        raise CheckpointError(f"has a malformed header: {error!r}") from error


def _header(content: dict[str, Any]) -> Header:
    known: dict[Any, LeafType] = {}
    leaves = tuple(_leaf_info(entry, known) for entry in content["leaves"])
    paths = {leaf.path for leaf in leaves}
    aliases: dict[str, str] = content["aliases"]
    meta: dict[str, Any] = content["meta"]
    if len(paths) != len(leaves) or not paths.isdisjoint(aliases):
        raise ValueError("a path occurs twice")
    if not all(isinstance(a, str) and path in paths for a, path in aliases.items()):
        raise ValueError("an alias leads to no leaf")
    if not isinstance(meta, dict):
        raise TypeError("the metadata is no map")
    _check_segments(leaves)
    return Header(leaves, aliases, meta, content["structure"])


def _leaf_info(entry: dict[str, Any], known: dict[Any, LeafType]) -> LeafInfo:
    path, crc32 = entry["path"], entry["crc32"]
    # Most leaves of a file are of few types, and checking one costs more than the rest.
    key = (entry["kind"], entry["dtype"], *entry["shape"], entry.get("impl", ""))
    type_ = known.get(key)
    if type_ is None:
        type_ = LeafType(key[0], key[1], tuple(key[2:-1]), key[-1])
        check_consistent(type_)
        known[key] = type_
    if type(path) is not str or type(crc32) is not str:
        raise TypeError("a path or a checksum is not text")
    return LeafInfo(path, type_, entry["segments"], crc32)


def _check_segments(leaves: Iterable[LeafInfo]) -> None:
    previous = 0
    for leaf in leaves:
        total = 0
        for start, stop in leaf.segments:
            gap = start - previous
            if not (_BIN_HEAD <= gap < _BIN_HEAD + ALIGNMENT and 0 <= stop - start < 2**32):
                raise ValueError(f"the bytes of {leaf.path!r} are not where they belong")
            if start % ALIGNMENT:
                raise ValueError(f"the bytes of {leaf.path!r} are not aligned")
            total += stop - start
            previous = stop
        if total != leaf.type.nbytes or not leaf.segments:
            raise ValueError(f"{leaf.path!r} needs {leaf.type.nbytes} bytes and has {total}")
