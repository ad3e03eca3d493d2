"""Comparing what a file holds with what an object needs, before anything is changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import numpy as np

from framework.errors import CheckpointError
from framework.io.leaf_types import Leaf, LeafType, leaf_type
from framework.io.paths import nearest, resolve
from framework.nodes.variable import Variable

__all__ = ["LoadReport", "Mismatch", "match", "target_type"]

_MOST_LINES = 20
_MOST_CANDIDATES = 500
_ARRAYS = ("jax", "numpy", "numpy_scalar")


class Mismatch(NamedTuple):
    """A leaf whose shape or dtype differs.

    Attributes:
        path: The path in the object.
        expected: What the object has.
        found: What the file has.
    """

    path: str
    expected: str
    found: str


@dataclass
class LoadReport:
    """What loading did, or found wrong.

    Attributes:
        loaded: Paths that were loaded.
        missing: Paths of the object that the file lacks.
        unexpected: Paths of the file that the object lacks.
        mismatched: Leaves of another shape or dtype.
        sources: For each loadable path of the object, the one in the file.
    """

    loaded: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    mismatched: list[Mismatch] = field(default_factory=list)
    sources: dict[str, str] = field(default_factory=dict, repr=False)

    @property
    def fits(self) -> bool:
        """Whether file and object agree about everything."""
        return not (self.missing or self.unexpected or self.mismatched)

    def __str__(self) -> str:
        lines = [f"{len(self.loaded)} leaves loaded"] if self.loaded or self.fits else []
        hints = _hints(self.missing, self.unexpected)
        lines += _section("missing in the file", [m + hints.get(m, "") for m in self.missing])
        lines += _section("only in the file", self.unexpected)
        lines += _section(
            "of another shape or dtype",
            [f"{m.path}: the object has {m.expected}, the file {m.found}" for m in self.mismatched],
        )
        return "\n".join(lines)


def target_type(leaf: Leaf) -> LeafType:
    """What a leaf of an object may be replaced by."""
    return leaf_type(leaf.value if isinstance(leaf, Variable) else leaf)


def match(
    targets: Mapping[str, Leaf],
    target_aliases: Mapping[str, str],
    found: Mapping[str, LeafType],
    found_aliases: Mapping[str, str],
) -> LoadReport:
    """Compares the leaves of an object with those of a file.

    Args:
        targets: Variable, array or scalar of the object, by path.
        target_aliases: Further paths of them.
        found: What the file says about each leaf, by path.
        found_aliases: Further paths of them.

    Returns:
        The report; `loaded` is still empty.
    """
    report = LoadReport()
    used: set[str] = set()
    ways: dict[str, list[str]] = {}
    for alias, path in target_aliases.items():
        ways.setdefault(path, []).append(alias)
    for path, leaf in sorted(targets.items()):
        # A shared leaf may have been stored under any of its names.
        names = (path, *ways.get(path, ()))
        source = next((s for n in names if (s := resolve(n, found, found_aliases))), None)
        if source is None:
            report.missing.append(path)
            continue
        used.add(source)
        expected = target_type(leaf)
        if _fits(leaf, expected, found[source]):
            report.sources[path] = source
        else:
            report.mismatched.append(Mismatch(path, str(expected), str(found[source])))
    report.unexpected = sorted(path for path in found if path not in used)
    return report


def check(report: LoadReport, what: str) -> None:
    """Raises unless everything fits.

    Raises:
        CheckpointError: One message about all that does not.
    """
    if not report.fits:
        raise CheckpointError(
            f"{what} does not fit the object; nothing was changed.\n{report}\n"
            "Rename with rename={'old': 'new'}, choose with include= or exclude=, "
            "or take what fits with strict=False."
        )


def _fits(leaf: Leaf, expected: LeafType, found: LeafType) -> bool:
    if expected.kind not in _ARRAYS or found.kind not in _ARRAYS:
        same_shape = expected.kind in ("str", "bytes", "bigint", "int") or (
            expected.shape == found.shape
        )
        return _scalar_kind(expected) == _scalar_kind(found) and same_shape
    if expected.dtype != found.dtype:
        return False
    if isinstance(leaf, Variable):
        return expected.shape == found.shape or leaf._fits_but_batch(found.shape, expected.shape)
    return expected.shape == found.shape


def _scalar_kind(type_: LeafType) -> tuple[str, str]:
    return ("int" if type_.kind == "bigint" else type_.kind), type_.impl


def converted(value: Any, leaf: Leaf) -> Any:
    """The value in the kind of array that the leaf is, on its device."""
    like = leaf.value if isinstance(leaf, Variable) else leaf
    if isinstance(like, jax.Array):
        if isinstance(value, jax.Array) and value.sharding == like.sharding:
            return value
        return jax.device_put(value, like.sharding)
    if isinstance(like, np.ndarray) and not isinstance(value, np.ndarray):
        return np.array(value)
    return value


def _section(title: str, lines: list[str]) -> list[str]:
    if not lines:
        return []
    shown = [f"    {line}" for line in lines[:_MOST_LINES]]
    if len(lines) > _MOST_LINES:
        shown.append(f"    … and {len(lines) - _MOST_LINES} more")
    return [f"  {title} ({len(lines)}):", *shown]


def _hints(missing: list[str], unexpected: list[str]) -> dict[str, str]:
    # Comparing texts is slow, and nobody reads more.
    pool = unexpected[:_MOST_CANDIDATES]
    return {
        path: f"  (the file has {close!r})"
        for path in missing[:_MOST_LINES]
        if (close := nearest(path, pool)) is not None
    }
