"""The frame of a checkpoint file: preamble, header, and where each leaf's bytes are.

A file is a stream of msgpack objects. The first, the preamble, is a map of fixed size that names
the format and guards the second, the header, which describes every leaf. Then follow the leaves
as `bin` objects; `nil` objects between them bring each leaf's first byte to a multiple of 64.
`docs/format.md` is the specification.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast

import msgpack

from framework.errors import CheckpointError
from framework.io.leaf_types import LeafType, check_consistent
from framework.nodes.collection import no_garbage_collection

__all__ = [
    "ALIGNMENT",
    "BIN_LIMIT",
    "PREAMBLE_SIZE",
    "Header",
    "LeafInfo",
    "framing",
    "pack_header",
    "place",
    "seal",
    "starts_like_ours",
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
        offset: Where its first byte is, counted from the end of the header.
        nbytes: Size of the data in bytes, without the frames between segments.
        crc32: Checksum of the data.
    """

    path: str
    type: LeafType
    offset: int
    nbytes: int
    crc32: int


@dataclass(frozen=True, slots=True)
class Header:
    """What a file holds, without the data.

    Attributes:
        leaves: Every leaf in file order.
        aliases: Further paths of leaves, each with the path that holds the data.
        meta: What the user stored next to the leaves.
        structure: What kind of tree the leaves came from; see `docs/format.md`.
        bin_limit: Longest run of bytes in one msgpack object; longer leaves are split.
    """

    leaves: tuple[LeafInfo, ...]
    aliases: dict[str, str]
    meta: dict[str, Any]
    structure: Any = None
    bin_limit: int = BIN_LIMIT

    def stop(self, leaf: LeafInfo) -> int:
        """Where the bytes of a leaf end, counted from the end of the header."""
        split = leaf.nbytes > self.bin_limit
        return self.segments(leaf)[-1][1] if split else leaf.offset + leaf.nbytes

    def segments(self, leaf: LeafInfo) -> list[tuple[int, int]]:
        """Byte ranges of a leaf, counted from the end of the header; one, unless it was split."""
        if leaf.nbytes <= self.bin_limit:
            return [(leaf.offset, leaf.offset + leaf.nbytes)]
        full = range(0, leaf.nbytes, self.bin_limit)
        return [
            (start, start + min(self.bin_limit, leaf.nbytes - done))
            for i, done in enumerate(full)
            for start in [leaf.offset + done + i * ALIGNMENT]
        ]


def place(sizes: Iterable[int], limit: int = BIN_LIMIT) -> list[int]:
    """Places leaves one after the other.

    Args:
        sizes: Size of each leaf in bytes.
        limit: Longest run of bytes in one msgpack object; a multiple of `ALIGNMENT`.

    Returns:
        The offset of each leaf and of the first free byte, counted from the end of the header.

    Example:
        >>> place([100, 4])
        [64, 192, 196]
    """
    offsets: list[int] = []
    end = 0
    for size in sizes:
        offset = -(-(end + _BIN_HEAD) // ALIGNMENT) * ALIGNMENT
        offsets.append(offset)
        # Segments are full but for the last, so the frame before the next is one alignment long.
        end = offset + size + (ALIGNMENT * ((size - 1) // limit) if size > limit else 0)
    return [*offsets, end]


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


def pack_header(header: Header) -> bytes:
    """Packs a header whose checksums are still to come.

    Args:
        header: What the file is to say. Its checksums do not matter.

    Returns:
        The header, padded, with room for the checksums at its end; `seal` fills it in.

    Raises:
        CheckpointError: `meta` holds what msgpack cannot, or the header is too large.
    """
    content: dict[str, Any] = {
        "aliases": header.aliases,
        "meta": header.meta,
        "structure": header.structure,
        "bin_limit": header.bin_limit,
    }
    try:
        items = _packb("leaves") + _packed_leaves(header.leaves)
        items += b"".join(_packb(key) + _packb(value) for key, value in content.items())
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise CheckpointError(
            f"the metadata must consist of dict, list, str, bytes, int, float, bool and None: "
            f"{error}"
        ) from error
    # The checksums come last, where they are easily replaced. The header ends aligned, so that
    # offsets counted from there and from the start of the file are aligned together.
    checksums = _packb("crc32") + _packb(bytes(4 * len(header.leaves)))
    size = PREAMBLE_SIZE + 1 + len(items) + len(_packb("padding") + _packb(b"")) + len(checksums)
    padding = _packb("padding") + _packb(bytes(-size % ALIGNMENT))
    map_head = bytes([0x80 + len(content) + 3])
    packed = map_head + items + padding + checksums
    if len(packed) > _MAX_HEADER:
        raise CheckpointError(
            f"the description of the leaves takes {len(packed):,} bytes, {_MAX_HEADER:,} are "
            "allowed; store fewer leaves or less metadata"
        )
    return packed


def seal(packed: bytes, checksums: Sequence[int]) -> bytes:
    """Completes a header with the checksums of the leaves, and its own.

    Args:
        packed: From `pack_header`.
        checksums: The CRC-32 of each leaf.

    Returns:
        The first bytes of the file: preamble and header.
    """
    packed = packed[: len(packed) - 4 * len(checksums)] + struct.pack(
        f">{len(checksums)}I", *checksums
    )
    preamble = _PREAMBLE % (VERSION, len(packed).to_bytes(4, "big"))
    return preamble + zlib.crc32(packed, zlib.crc32(preamble)).to_bytes(4, "big") + packed


def starts_like_ours(path: Path) -> bool:
    """Tells whether a file begins with the name of this format, damaged or not."""
    try:
        with path.open("rb") as file:
            return FORMAT.encode() in file.read(2 * PREAMBLE_SIZE)
    except OSError:
        return True


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
    try:
        with no_garbage_collection():
            return _header(_unpack(packed))
    except _MALFORMED as error:
        raise CheckpointError(f"has a malformed header: {error!r}") from error


_MALFORMED = (
    *(TypeError, KeyError, ValueError, AttributeError, OverflowError, RecursionError),
    *(MemoryError, struct.error, msgpack.UnpackException),
)


def _unpack(packed: bytes) -> Any:
    unpacker = msgpack.Unpacker(max_buffer_size=len(packed))
    unpacker.feed(packed)
    # Walking over the bytes allocates nothing, and afterwards every count in them is known to be
    # true, so that unpacking cannot be made to reserve room for elements that are not there.
    unpacker.skip()
    return msgpack.unpackb(
        packed, unicode_errors="surrogatepass", strict_map_key=False, max_ext_len=0
    )


def _packed_leaves(leaves: Sequence[LeafInfo]) -> bytes:
    """A list of maps, one for each leaf."""
    packer = msgpack.Packer(unicode_errors="surrogatepass")
    pack = cast("Callable[[object], bytes]", packer.pack)
    parts: list[bytes] = [cast("bytes", packer.pack_array_header(len(leaves)))]
    # Most leaves of a file are of few types, and those differ in path and offset only.
    known: dict[tuple[LeafType, int], tuple[bytes, bytes, bytes]] = {}
    for path, type_, offset, nbytes, _ in leaves:
        around = known.get((type_, nbytes))
        if around is None:
            around = known[type_, nbytes] = _around(type_, nbytes)
        parts += (around[0], pack(path), around[1], pack(offset), around[2])
    return b"".join(parts)


def _around(type_: LeafType, nbytes: int) -> tuple[bytes, bytes, bytes]:
    """What stands before, between and after path and offset in the map of a leaf."""
    before = {"kind": type_.kind, "dtype": type_.dtype, "shape": type_.shape}
    after = {"nbytes": nbytes} | ({"impl": type_.impl} if type_.impl else {})
    items = [b"".join(_packb(x) for item in part.items() for x in item) for part in (before, after)]
    size = 2 + len(before) + len(after)
    return bytes([0x80 + size]) + _packb("path"), items[0] + _packb("offset"), items[1]


def _header(content: dict[str, Any]) -> Header:
    entries: list[dict[str, Any]] = content["leaves"]
    checksums = struct.unpack(f">{len(entries)}I", content["crc32"])
    known: dict[Any, tuple[LeafType, int]] = {}
    leaves = tuple(
        _leaf_info(entry, crc32, known) for entry, crc32 in zip(entries, checksums, strict=True)
    )
    paths = {leaf.path for leaf in leaves}
    aliases: dict[str, str] = content["aliases"]
    meta: dict[str, Any] = content["meta"]
    limit: int = content["bin_limit"]
    if len(paths) != len(leaves) or not paths.isdisjoint(aliases):
        raise ValueError("a path occurs twice")
    if not all(type(path) is str for alias in aliases.items() for path in alias):
        raise TypeError("an alias is not text")
    if not isinstance(meta, dict):
        raise TypeError("the metadata is no map")
    if not isinstance(content["structure"], list | dict | None):
        raise TypeError("the structure is neither a list nor a map")
    if not (0 < limit <= BIN_LIMIT and limit % ALIGNMENT == 0):
        raise ValueError(f"the limit {limit} of a segment is impossible")
    if place((leaf.nbytes for leaf in leaves), limit)[:-1] != [leaf.offset for leaf in leaves]:
        raise ValueError("leaves are not where they belong")
    return Header(leaves, aliases, meta, content["structure"], limit)


def _leaf_info(
    entry: dict[str, Any], crc32: int, known: dict[Any, tuple[LeafType, int]]
) -> LeafInfo:
    path: str = entry["path"]
    # Most leaves of a file are of few types, and checking one costs more than the rest.
    key = (entry["kind"], entry["dtype"], *entry["shape"], entry.get("impl", ""))
    checked = known.get(key)
    if checked is None:
        type_ = LeafType(key[0], key[1], tuple(key[2:-1]), key[-1])
        checked = known[key] = type_, check_consistent(type_)
    type_, nbytes = checked
    if type(path) is not str or entry["nbytes"] != nbytes:
        raise ValueError(f"the path or the size of {path!r} is impossible")
    return LeafInfo(path, type_, entry["offset"], nbytes, crc32)
