"""The static side of an object graph: what a treedef holds, compares and rebuilds from."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

from framework.nodes.kinds import Kind
from framework.nodes.places import Places, node_paths, public
from framework.nodes.records import Record, coded_attributes
from framework.nodes.static import Static

__all__ = ["Structure"]

# Longer texts of an attribute are cut off.
MAX_TEXT = 80


class Structure:
    """All that is static of an object graph; the auxiliary data of its PyTree.

    It holds no arrays. Equality and hash look at classes, attributes, sharing and static values,
    not at names, so two instances of one architecture are equal.

    Args:
        root: Kind and code of the root: node 0, or a container.
        records: The nodes.
        names: Their names, where they had one.
        companions: Variables that belong to another: leaf, leaf or handle of the other, role.
        arrays: The leaves that are arrays; all others are Variables.
        partial: Whether some of its objects are referred to by identity.
    """

    __slots__ = (
        "__weakref__", "_hash", "_places", "arrays", "companions", "names", "partial", "records",
        "root",
    )  # fmt: skip

    def __init__(
        self,
        root: tuple[int, Any],
        records: tuple[Record, ...],
        names: list[str | None],
        companions: list[tuple[int, Any, str]],
        arrays: list[int],
        partial: bool = False,
    ) -> None:
        self.root = root
        self.records = records
        self.names = names
        self.companions = companions
        self.arrays = arrays
        self.partial = partial
        self._hash: int | None = None
        self._places: Places | None = None

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        return (
            type(other) is Structure
            and hash(self) == hash(other)
            and self.root == other.root
            and self.records == other.records
        )

    def __hash__(self) -> int:
        if self._hash is None:
            self._hash = hash((self.root, self.records))
        return self._hash

    def with_records(self, records: Iterable[Record]) -> Structure:
        """The structure of the same nodes and leaves with other static attributes."""
        return Structure(
            self.root, tuple(records), self.names, self.companions, self.arrays, self.partial
        )

    @property
    def places(self) -> Places:
        """Where everything stands."""
        if self._places is None:
            self._places = Places(self.root, self.records)
        return self._places

    def __repr__(self) -> str:
        """One line per node, in text that diffs well."""
        lines = (
            f"{path.removeprefix('.') or '.'}: {record[0].cls.__name__}({_attributes_text(record)})"
            for path, record in zip(node_paths(self.places.nodes), self.records, strict=True)
        )
        return "\n" + "\n".join(lines)


def _attributes_text(record: Record) -> str:
    return ", ".join(
        f"{public(key)}={_shortened(_code_text(kind, code))}"
        for key, kind, code in coded_attributes(record)
    )


def _shortened(text: str) -> str:
    return text if len(text) <= MAX_TEXT else f"{text[: MAX_TEXT - 3]}..."


def _code_text(kind: int, code: Any) -> str:
    if kind in (Kind.VARIABLE, Kind.NODE, Kind.ARRAY):
        return f"{('variable', 'node', 'array')[kind - Kind.VARIABLE]} {code}"
    if kind in Kind.CONTAINERS and type(code) is not Static:
        items = itertools.islice(zip(code[1], code[2], strict=True), MAX_TEXT)
        return "{" + ", ".join(f"{k!r}: {_code_text(*c)}" for k, c in items) + "}"
    if kind == Kind.ATOM and type(code) is tuple:
        code = code[1]
    return getattr(code, "__qualname__", None) or repr(code)
