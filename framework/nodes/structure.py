"""The static side of an object graph: what a treedef holds, compares and rebuilds from."""

from __future__ import annotations

import functools
import itertools
import operator
from collections.abc import Callable, Sequence
from typing import Any

from framework.nodes.handles import weak
from framework.nodes.kinds import KIND_OF_TYPE, Kind
from framework.nodes.places import Place, Places, key_text, node_paths, public
from framework.nodes.static import Static

__all__ = [
    "IMPLICIT",
    "KIND_OF_TYPE",
    "Kind",
    "Late",
    "Place",
    "Record",
    "Signature",
    "Static",
    "Structure",
    "key_text",
    "signature_of",
    "weak",
]

IMPLICIT = frozenset(("_implicit_vars", "_implicit_nodes"))
"""The attributes that hold what is registered implicitly; an empty one is as good as none."""

# Longer texts of an attribute are cut off.
MAX_TEXT = 80


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


class Signature:
    """What all nodes of one class with the same attributes share.

    Attributes are in alphabetical order here, so that two nodes are equal whatever the order in
    which theirs were set; ``arrange`` and ``restore`` convert values from and to that order.

    Args:
        cls: The class.
        names: The attributes in the order of the node.
        types: Their types.
    """

    __slots__ = (
        "_key", "arrange", "cls", "has_implicit", "keys", "kinds", "meta", "names", "others",
        "restore", "variables",
    )  # fmt: skip

    def __init__(self, cls: type, names: tuple[str, ...], types: tuple[type, ...]) -> None:
        self.cls, self.names = cls, names
        order = sorted(range(len(names)), key=names.__getitem__)
        self.arrange = _getter(order)
        self.restore = _getter(sorted(order, key=order.__getitem__))
        self.keys = keys = self.arrange(names)
        self.kinds = kinds = tuple(map(KIND_OF_TYPE.__getitem__, self.arrange(types)))
        # The positions and keys of Variables; the positions of what is neither that nor an atom.
        self.variables = tuple((i, k) for i, k in enumerate(keys) if kinds[i] == Kind.VARIABLE)
        simple = (Kind.VARIABLE, Kind.ATOM, Kind.META)
        others = (i for i, kind in enumerate(kinds) if kind not in simple)
        # Nodes first: a path by attributes reads better than one through containers.
        self.others = tuple(sorted(others, key=lambda i: kinds[i] != Kind.NODE))
        self.meta = keys.index("_meta")
        self.has_implicit = not IMPLICIT.isdisjoint(names)
        # The exact types of atoms count, since 1 == True.
        atoms = zip(self.arrange(types), kinds, strict=True)
        self._key = (cls, keys, kinds, tuple(t if k == Kind.ATOM else None for t, k in atoms))

    def __eq__(self, other: object) -> bool:
        return self is other or (type(other) is Signature and self._key == other._key)

    def __hash__(self) -> int:
        return hash(self._key)


def _getter(order: Sequence[int]) -> Callable[[Sequence[Any]], tuple[Any, ...]]:
    if list(order) == list(range(len(order))):
        return tuple
    return operator.itemgetter(*order)


@functools.lru_cache(maxsize=4096)
def signature_of(cls: type, names: tuple[str, ...], types_: tuple[type, ...]) -> Signature:
    """The signature of a class for attributes of these names and types."""
    return Signature(cls, names, types_)


Record = tuple[Signature, tuple[Any, ...]]
"""One node of a graph: its signature, and a code for each attribute.

The code of a Variable, an array or a node is its index in the graph; of a container, its type,
keys and coded items; of anything else, the value itself."""


class Structure:
    """All that is static of an object graph; the auxiliary data of its PyTree.

    It holds no arrays. Equality and hash look at classes, attributes, sharing and static values,
    not at names, so two instances of one architecture are equal.

    Args:
        root: Kind and code of the root: node 0, or a container.
        records: The nodes.
        names: Their names, where they had one.
        companions: Variables that belong to another: leaf, leaf or handle of the other, role.
        partial: Whether some of its objects are referred to by identity.
    """

    __slots__ = (
        "__weakref__", "_hash", "_places", "companions", "names", "partial", "records", "root",
    )  # fmt: skip

    def __init__(
        self,
        root: tuple[int, Any],
        records: tuple[Record, ...],
        names: list[str | None],
        companions: list[tuple[int, Any, str]],
        partial: bool = False,
    ) -> None:
        self.root = root
        self.records = records
        self.names = names
        self.companions = companions
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

    @property
    def places(self) -> Places:
        """Where everything stands."""
        if self._places is None:
            self._places = Places(self)
        return self._places

    def __repr__(self) -> str:
        """One line per node, in text that diffs well."""
        lines = (
            f"{path.removeprefix('.') or '.'}: {head.cls.__name__}({_attributes_text(head, codes)})"
            for path, (head, codes) in zip(node_paths(self.places.nodes), self.records, strict=True)
        )
        return "\n" + "\n".join(lines)


def _attributes_text(head: Signature, codes: tuple[Any, ...]) -> str:
    return ", ".join(
        f"{public(key)}={_shortened(_code_text(kind, code))}"
        for key, kind, code in zip(head.keys, head.kinds, codes, strict=True)
        if kind != Kind.META
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
