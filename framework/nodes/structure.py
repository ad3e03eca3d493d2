"""The static side of an object graph: what a treedef holds, compares and rebuilds from."""

from __future__ import annotations

import functools
import struct
import types
from collections.abc import Iterable
from typing import Any, NamedTuple
from weakref import ref

import jax
import numpy as np
from jax import tree_util

from framework.nodes.values import frozen_index

__all__ = [
    "KIND_OF_TYPE", "AttributeKey", "Kind", "Late", "Place", "Record", "Signature", "Static",
    "Structure", "children_of", "container_extras", "container_of", "key_text", "node_paths", "signature_of",
    "weak",
]  # fmt: skip


class Kind:
    """How an attribute takes part in the graph."""

    VARIABLE, NODE, ARRAY, ATOM, STATIC, META = range(6)
    LIST, DICT, PYTREE, VIEW, REFERENCES, METHOD = range(6, 12)
    CONTAINERS = frozenset((LIST, DICT, PYTREE))


_ATOMS = (
    int, bool, str, bytes, type(None), type, types.FunctionType, types.BuiltinFunctionType,
    types.ModuleType,
)  # fmt: skip


class _KindOfType(dict[type, int]):
    """The kind of each type of attribute, worked out at first sight."""

    rules: list[tuple[type, int]]

    def __init__(self) -> None:
        super().__init__()
        self.rules = [
            *((atom, Kind.ATOM) for atom in _ATOMS if atom is not type),
            (type, Kind.ATOM),
            (list, Kind.LIST),
            (tuple, Kind.LIST),
            (dict, Kind.DICT),
            (types.MethodType, Kind.METHOD),
        ]

    def declare(self, cls: type, kind: int) -> None:
        """Treat this class and its subclasses as the kind."""
        self.rules.insert(0, (cls, kind))
        self.clear()

    def __missing__(self, cls: type) -> int:
        if len(self) > 4096:
            self.clear()
        kind = self[cls] = self._kind(cls)
        return kind

    def _kind(self, cls: type) -> int:
        if issubclass(cls, (np.ndarray, jax.Array, jax.core.Tracer)):
            return Kind.ARRAY
        for parent, kind in self.rules:
            # Subclasses of built-in types may hold more than their items, so only
            # those that were declared, or that JAX knows, are looked into.
            exact = parent in (list, tuple, dict, *_ATOMS) and parent is not type
            if cls is parent or (not exact and issubclass(cls, parent)):
                return kind
        if issubclass(cls, (float, complex, np.generic, set, frozenset, functools.partial)):
            return Kind.STATIC
        return Kind.PYTREE


KIND_OF_TYPE = _KindOfType()


class Static:
    """A static attribute that plain ``==`` would not compare rightly or safely."""

    __slots__ = ("key", "value")

    def __init__(self, value: Any) -> None:
        self.value = value
        self.key = _static_key(value)

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if type(other) is not Static:
            return False
        try:
            return bool(self.key == other.key)
        except Exception:  # A user's `__eq__` may raise, or return an array.
            return False

    def __hash__(self) -> int:
        return hash(self.key)

    def __repr__(self) -> str:
        return repr(self.value)


class _Identity:
    """Compares an unhashable value by identity."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return type(other) is _Identity and self.value is other.value

    def __hash__(self) -> int:
        return id(self.value)


def _static_key(value: Any) -> Any:
    cls = type(value)
    if cls is float:
        return (float, struct.pack("d", value))
    if cls is complex:
        return (complex, struct.pack("dd", value.real, value.imag))
    if issubclass(cls, np.generic):
        return (cls, value.tobytes())
    if cls in (set, frozenset):
        return (cls, frozenset(map(_static_key, value)))
    if cls is slice:
        return (cls, frozen_index(value))
    try:
        hash(value)
    except TypeError:
        return (cls, _Identity(value))
    return (cls, value)


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


class Signature(NamedTuple):
    """What all nodes of one class with the same attributes share."""

    cls: type
    keys: tuple[str, ...]
    kinds: tuple[int, ...]
    # The exact types of atoms, since 1 == True; None for the others.
    types: tuple[type | None, ...]
    # The positions and keys of Variables, and the positions of what is neither that nor an atom.
    variables: tuple[tuple[int, str], ...]
    others: tuple[int, ...]
    meta: int


@functools.lru_cache(maxsize=4096)
def signature_of(cls: type, keys: tuple[str, ...], types_: tuple[type, ...]) -> Signature:
    """The signature of a class for attributes of these names and types."""
    kinds = tuple(map(KIND_OF_TYPE.__getitem__, types_))
    atoms = tuple(t if k == Kind.ATOM else None for t, k in zip(types_, kinds, strict=True))
    variables = tuple((i, key) for i, key in enumerate(keys) if kinds[i] == Kind.VARIABLE)
    simple = (Kind.VARIABLE, Kind.ATOM, Kind.META)
    others = tuple(i for i, kind in enumerate(kinds) if kind not in simple)
    return Signature(cls, keys, kinds, atoms, variables, others, keys.index("_meta"))


Record = tuple[Signature, tuple[Any, ...]]
"""One node of a graph: its signature, and a code for each attribute.

The code of a Variable, an array or a node is its index in the graph; of a container, its type,
keys and coded items; of anything else, the value itself."""


class AttributeKey(str):
    """The key of a child that a PyTree holds as an attribute."""

    __slots__ = ()


def children_of(value: Any, kind: int) -> tuple[Any, Any]:
    """The keys and children of a container; keys are None for what turns out to have no inside."""
    if kind == Kind.LIST:
        return range(len(value)), value
    if kind == Kind.DICT:
        return tuple(value), tuple(value.values())
    paths, _ = tree_util.tree_flatten_with_path(value, is_leaf=lambda x: x is not value)
    if len(paths) == 1 and not paths[0][0]:
        return None, ()
    return tuple(_plain_key(path[0]) for path, _ in paths), tuple(child for _, child in paths)


def _plain_key(key: Any) -> Any:
    match key:
        case tree_util.GetAttrKey(name=name):
            return AttributeKey(name)
        case tree_util.SequenceKey(idx=index):
            return index
        case _:
            return getattr(key, "key", str(key))


def container_extras(value: Any, kind: int) -> Any:
    """What to know of a container beside keys and children, in hashable form."""
    if kind == Kind.PYTREE:
        return tree_util.tree_structure(value, is_leaf=lambda x: x is not value)
    extras = getattr(value, "__dict__", None)
    return (type(value), tuple((k, Static(v)) for k, v in extras.items()) if extras else ())


def container_of(kind: int, extras: Any, keys: Any, children: list[Any]) -> Any:
    """Make a container again."""
    if kind == Kind.PYTREE:
        return tree_util.tree_unflatten(extras, children)
    cls, attributes = extras
    if cls is list:
        return children
    if cls is tuple:
        return tuple(children)
    value = cls.__new__(cls)
    for name, static in attributes:
        value.__dict__[name] = static.value
    if kind == Kind.LIST:
        list.extend(value, children)
    else:
        dict.update(value, zip(keys, children, strict=True))
    return value


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

    def __reduce__(self) -> tuple[Any, ...]:
        return Structure, (self.root, self.records, self.names, self.companions, self.partial)

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


def key_text(keys: Any) -> str:
    """The text of the keys from a node to what it holds.

    >>> key_text("w"), key_text(("layers", 0, "a"))
    ('.w', ".layers[0]['a']")
    """
    if isinstance(keys, str):
        return f".{_public(keys)}"
    first, *rest = keys
    start = "" if first is None else f".{_public(first)}"
    return start + "".join(
        f".{key}" if type(key) is AttributeKey else f"[{key!r}]" for key in rest
    )


def _public(attribute: str) -> str:
    return attribute.removeprefix("_") if attribute.startswith("_implicit_") else attribute


Place = tuple[int, Any]
"""The index of a holder, and the keys from there: an attribute name, or a tuple of an attribute
name and container keys. The index is -1, and the attribute name None, for a root container."""


class Places:
    """Where the nodes and leaves of a structure stand.

    Attributes:
        nodes: Where the walk first met each node; the keys of the root are None.
        leaves: Where the walk first met each leaf.
        leaf_kinds: ``Kind.VARIABLE`` or ``Kind.ARRAY`` for each leaf.
    """

    def __init__(self, structure: Structure) -> None:
        self.nodes: list[Place] = []
        self.leaves: list[Place] = []
        self.leaf_kinds: list[int] = []
        self._leaf_paths: list[str] | None = None
        self._leaf_keys: tuple[Any, ...] | None = None
        kind, code = structure.root
        if kind == Kind.NODE:
            self.nodes.append((-1, None))
        else:
            self._visit(kind, code, -1, (None,))
        for position, (head, codes) in enumerate(structure.records):
            for index, key in head.variables:
                if codes[index] == len(self.leaves):
                    self.leaves.append((position, key))
                    self.leaf_kinds.append(Kind.VARIABLE)
            for index in head.others:
                self._visit(head.kinds[index], codes[index], position, (head.keys[index],))

    def _visit(self, kind: int, code: Any, holder: int, keys: tuple[Any, ...]) -> None:
        place = keys[0] if len(keys) == 1 and keys[0] is not None else keys
        if type(code) is Static:
            return
        if kind == Kind.NODE:
            if code == len(self.nodes):
                self.nodes.append((holder, place))
        elif kind in (Kind.VARIABLE, Kind.ARRAY):
            if code == len(self.leaves):
                self.leaves.append((holder, place))
                self.leaf_kinds.append(kind)
        elif kind in Kind.CONTAINERS:
            for key, (child_kind, child) in zip(code[1], code[2], strict=True):
                if child_kind != Kind.ATOM:
                    self._visit(child_kind, child, holder, (*keys, key))
        elif kind == Kind.VIEW:
            self._visit(*code[1], holder, keys)

    @property
    def leaf_paths(self) -> list[str]:
        """The path of each leaf, such as ``layers[0].w``."""
        if self._leaf_paths is None:
            above = [*node_paths(self.nodes), ""]
            self._leaf_paths = [
                (above[holder] + key_text(keys)).removeprefix(".") for holder, keys in self.leaves
            ]
        return self._leaf_paths

    @property
    def leaf_keys(self) -> tuple[Any, ...]:
        """The key path entry of each leaf, as JAX wants it."""
        if self._leaf_keys is None:
            self._leaf_keys = tuple(
                _TextKey(path) if path.startswith("[") else tree_util.GetAttrKey(path)
                for path in self.leaf_paths
            )
        return self._leaf_keys


def node_paths(places: Iterable[Place]) -> list[str]:
    """The path of each node: empty for the root, ``.layers[0]`` below."""
    paths: list[str] = []
    for holder, keys in places:
        above = paths[holder] if holder >= 0 else ""
        paths.append(above if keys is None else above + key_text(keys))
    return paths


class _TextKey(NamedTuple):
    text: str

    def __str__(self) -> str:
        return self.text


def _attributes_text(head: Signature, codes: tuple[Any, ...]) -> str:
    return ", ".join(
        f"{_public(key)}={_code_text(kind, code)}"
        for key, kind, code in zip(head.keys, head.kinds, codes, strict=True)
        if kind != Kind.META
    )


def _code_text(kind: int, code: Any) -> str:
    if kind in (Kind.VARIABLE, Kind.NODE, Kind.ARRAY):
        return f"{('variable', 'node', 'array')[kind - Kind.VARIABLE]} {code}"
    if kind in Kind.CONTAINERS and type(code) is not Static:
        items = zip(code[1], code[2], strict=True)
        return "{" + ", ".join(f"{k!r}: {_code_text(*c)}" for k, c in items) + "}"
    if kind == Kind.META:
        return ""
    if isinstance(code, types.FunctionType):
        return code.__qualname__
    text = repr(code)
    return text if len(text) <= 60 else f"{text[:57]}..."


def weak(value: Any) -> Any:
    """A callable that returns the value, keeping it alive only where it can't be held weakly."""
    try:
        return ref(value)
    except TypeError:
        return lambda: value
