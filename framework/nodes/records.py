"""Records: how a structure codes its nodes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from framework.nodes.kinds import Kind
from framework.nodes.signature import Signature
from framework.nodes.static import Static

__all__ = ["Late", "Place", "Record", "coded_attributes", "meetings", "variable_indices"]


class Late:
    """The code of a value that is known only at the end of the walk."""

    __slots__ = ("code",)

    code: Any

    def __eq__(self, other: object) -> bool:
        return type(other) is Late and self.code == other.code

    def __hash__(self) -> int:
        return hash(self.code)

    def __repr__(self) -> str:
        return repr(self.code)


Record = tuple[Signature, Any, tuple[Any, ...]]
"""One node of a graph: its signature, the leaves that are its Variables, a code for each of the
rest.

The Variables are given by the index of the first if the walk met them here for the first time and
they therefore have consecutive indices, otherwise by a tuple of indices. The code of an array or a
node is its index in the graph; of a container, its type, keys and coded items; of anything else,
the value itself."""


def variable_indices(record: Record) -> Sequence[int]:
    """The leaves that are the Variables of a node, in the order of its signature."""
    head, variables, _ = record
    if type(variables) is tuple:
        return variables
    return range(variables, variables + len(head.variable_keys))


def coded_attributes(record: Record) -> Iterator[tuple[str, int, Any]]:
    """Name, kind and code of each attribute of a node, the Variables first."""
    head, _, codes = record
    for key, index in zip(head.variable_keys, variable_indices(record), strict=True):
        yield key, Kind.VARIABLE, index
    yield from zip(head.rest_keys, head.rest_kinds, codes, strict=True)


Place = tuple[int, Any]
"""The index of a holder, and the keys from there: an attribute name, or a tuple of an attribute
name and container keys. The index is -1, and the attribute name None, for a root container."""


def meetings(root: tuple[int, Any], records: Iterable[Record]) -> Iterator[tuple[int, Place, int]]:
    """All places where a node or leaf stands, in the order of the walk: what, where, and its index.

    A leaf that is reached through a view is said to be a ``Kind.VIEW``.
    """
    kind, code = root
    if kind != Kind.NODE:
        yield from _meetings_in(kind, code, -1, (None,))
    for position, record in enumerate(records):
        head, _, codes = record
        for key, index in zip(head.variable_keys, variable_indices(record), strict=True):
            yield Kind.VARIABLE, (position, key), index
        for place in head.coded:
            yield from _meetings_in(
                head.rest_kinds[place], codes[place], position, (head.rest_keys[place],)
            )


def _meetings_in(
    kind: int, code: Any, holder: int, keys: tuple[Any, ...]
) -> Iterator[tuple[int, Place, int]]:
    if type(code) is Static:
        return
    if kind in (Kind.NODE, Kind.VARIABLE, Kind.ARRAY):
        yield kind, (holder, keys[0] if len(keys) == 1 and keys[0] is not None else keys), code
    elif kind in Kind.CONTAINERS:
        for key, (child_kind, child) in zip(code[1], code[2], strict=True):
            if child_kind != Kind.ATOM:
                yield from _meetings_in(child_kind, child, holder, (*keys, key))
    elif kind == Kind.VIEW:
        target_kind, target = code[1]
        for found, place, index in _meetings_in(target_kind, target, holder, keys):
            yield (Kind.VIEW if found == Kind.VARIABLE else found), place, index
