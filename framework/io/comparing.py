"""Looking at leaves of files: statistics of one, differences between two."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from framework.io.layout import LeafInfo
from framework.io.leaf_types import Array, LeafType
from framework.io.paths import resolve
from framework.io.sources import Source, open_source

__all__ = ["Difference", "Statistics", "compare", "statistics"]

# Numbers are widened piece by piece, so that memory stays small beside any leaf.
_PIECE = 1 << 20


class Difference(NamedTuple):
    """One leaf in which two files differ.

    Attributes:
        path: The path of the leaf.
        kind: `only in first`, `only in second`, `type` or `value`.
        first: Type of the leaf in the first file, empty if it is missing.
        second: Type of the leaf in the second file, empty if it is missing.
        largest: The largest absolute difference of values; NaN where it cannot be told.
    """

    path: str
    kind: str
    first: str = ""
    second: str = ""
    largest: float = float("nan")

    def __str__(self) -> str:
        match self.kind:
            case "value":
                return f"{self.path}: values differ by up to {self.largest:.6g}  ({self.first})"
            case "type":
                return f"{self.path}: {self.first} and {self.second}"
            case _:
                return f"{self.path}: {self.kind}  ({self.first or self.second})"


class Statistics(NamedTuple):
    """What the numbers of a leaf are like.

    Attributes:
        path: The path of the leaf.
        type: Its type.
        mean: Mean of the finite numbers; NaN if there are none.
        std: Their standard deviation.
        low: The least of them.
        high: The greatest of them.
        nans: How many numbers are NaN.
        infinities: How many numbers are infinite.
    """

    path: str
    type: str
    mean: float
    std: float
    low: float
    high: float
    nans: int
    infinities: int


def compare(first: str | os.PathLike[str], second: str | os.PathLike[str]) -> Iterator[Difference]:
    """Compares two files leaf by leaf, bit by bit.

    Args:
        first: A file of any format.
        second: Another.

    Yields:
        Each difference, in the order of the first file.

    Raises:
        CheckpointError: A file cannot be read.
    """
    with open_source(first) as a, open_source(second) as b:
        others = {info.path: info for info in b.header.leaves}
        met: set[str] = set()
        for info in a.header.leaves:
            path = resolve(info.path, others, b.header.aliases)
            if path is None:
                yield Difference(info.path, "only in first", first=str(info.type))
                continue
            met.add(path)
            difference = _difference(a, info, b, others[path])
            if difference is not None:
                yield difference
        for path, info in others.items():
            if path not in met and resolve(path, dict.fromkeys(met, 0), a.header.aliases) is None:
                yield Difference(path, "only in second", second=str(info.type))


def statistics(path: str | os.PathLike[str]) -> Iterator[Statistics]:
    """Describes the numbers of each leaf of a file.

    Args:
        path: A file of any format.

    Yields:
        The statistics of each leaf that consists of numbers, in file order.

    Raises:
        CheckpointError: The file cannot be read.
    """
    with open_source(path) as source:
        for info in source.header.leaves:
            if info.type.kind not in ("str", "bytes", "bigint", "key"):
                (array,) = source.read([info])
                yield _statistics(info, array)


def _difference(a: Source, info: LeafInfo, b: Source, other: LeafInfo) -> Difference | None:
    types = (str(info.type), str(other.type))
    if (info.type.dtype, info.type.shape, info.type.impl) != (
        other.type.dtype,
        other.type.shape,
        other.type.impl,
    ):
        return Difference(info.path, "type", *types)
    ((x,), (y,)) = a.read([info]), b.read([other])
    if np.array_equal(_bits(x), _bits(y)):
        return None
    return Difference(info.path, "value", *types, largest=_largest(info.type, x, y))


def _largest(type_: LeafType, x: Array, y: Array) -> float:
    if type_.kind in ("str", "bytes", "bigint", "key"):
        return float("nan")
    largest = 0.0
    for p, q in zip(_pieces(x), _pieces(y), strict=True):
        with np.errstate(all="ignore"):
            gaps = np.abs(p - q)
        # Equal infinities and NaNs in the same place are no difference.
        gaps[(p == q) | (np.isnan(p) & np.isnan(q))] = 0
        gaps[np.isnan(gaps)] = np.inf
        largest = max(largest, float(gaps.max(initial=0.0)))
    return largest


def _statistics(info: LeafInfo, array: Array) -> Statistics:
    count, total, squares, nans, infinities = 0, 0.0, 0.0, 0, 0
    low, high = float("inf"), float("-inf")
    for piece in _pieces(array):
        values = np.abs(piece) if np.iscomplexobj(piece) else piece
        nans += int(np.isnan(values).sum())
        infinities += int(np.isinf(values).sum())
        values = values[np.isfinite(values)]
        if values.size:
            # Means and variances of pieces are merged, which loses no digits.
            mean, delta = values.mean(), values.mean() - (total / count if count else 0.0)
            squares += float(((values - mean) ** 2).sum())
            squares += float(delta**2) * count * values.size / (count + values.size)
            count, total = count + values.size, total + float(values.sum())
            low, high = min(low, float(values.min())), max(high, float(values.max()))
    if not count:
        nan = float("nan")
        return Statistics(info.path, str(info.type), nan, nan, nan, nan, nans, infinities)
    std = (squares / count) ** 0.5
    return Statistics(info.path, str(info.type), total / count, std, low, high, nans, infinities)


def _pieces(array: Array) -> Iterator[Any]:
    flat = array.reshape(-1)
    wide = np.complex128 if flat.dtype.kind == "c" else np.float64
    if flat.dtype.kind in "mM":
        flat = flat.view(np.int64)
    for start in range(0, flat.size, _PIECE):
        yield flat[start : start + _PIECE].astype(wide)


def _bits(array: Array) -> Array:
    return array.reshape(-1).view(np.uint8)
