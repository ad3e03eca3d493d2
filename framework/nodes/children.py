"""Children: taking the plain containers of an object apart, and making them again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from jax import tree_util

from framework.nodes.kinds import KIND_OF_TYPE, Kind
from framework.nodes.static import Static

__all__ = [
    "AttributeKey",
    "StateInSetError",
    "child_at",
    "children_of",
    "container_extras",
    "container_of",
    "members_of_set",
    "with_child",
]


class AttributeKey(str):
    """The key of a child that a PyTree holds as an attribute."""

    __slots__ = ()


def children_of(value: Any, kind: int) -> tuple[Any, Any]:
    """The keys and children of a container; keys are None for what turns out to have no inside.

    A set has no children: its members serve as keys.
    """
    if kind == Kind.LIST:
        return range(len(value)), value
    if kind == Kind.DICT:
        return tuple(value), tuple(value.values())
    if kind == Kind.REFERENCES:
        return tuple(value), tuple(value.values())
    if kind == Kind.SET:
        return frozenset(value), ()
    if tree_util.all_leaves((value,)):
        return None, ()
    paths, _ = tree_util.tree_flatten_with_path(value, is_leaf=lambda x: x is not value)
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
    extras = getattr(value, "__dict__", None) or {}
    public = tuple((k, Static(v)) for k, v in extras.items() if k != "_version")
    return (type(value), public)


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


def child_at(value: Any, keys: Iterable[Any]) -> Any:
    """What stands under nested keys, as :func:`children_of` gives them.

    Raises:
        LookupError: Nothing does.
    """
    for key in keys:
        value = _items(value).get(key, _MISSING)
        if value is _MISSING:
            raise LookupError(key)
    return value


def with_child(value: Any, keys: Sequence[Any], new: Any) -> Any:
    """A new container with something else under nested keys."""
    if not keys:
        return new
    key, *rest = keys
    kind = KIND_OF_TYPE[type(value)]
    items = _items(value)
    items[key] = with_child(items[key], rest, new)
    return container_of(kind, container_extras(value, kind), tuple(items), list(items.values()))


def _items(value: Any) -> dict[Any, Any]:
    keys, children = children_of(value, KIND_OF_TYPE[type(value)])
    return dict(zip(keys or (), children, strict=True))


_MISSING = object()


class StateInSetError(TypeError):
    """A set holds nodes or Variables."""

    def at(self, node: Any, attribute: str) -> StateInSetError:
        """The error with the path of the set."""
        return StateInSetError(
            f"`{node.name}.{attribute}` has a set with a {self} in it, but a set has no order to "
            "find its members by. Use a list or a dict."
        )


def members_of_set(value: Any) -> frozenset[Any]:
    """The members of a set, none of which may be a node or Variable.

    Raises:
        StateInSetError: One is.
    """
    for member in value:
        if KIND_OF_TYPE[type(member)] in (Kind.VARIABLE, Kind.NODE, Kind.VIEW):
            raise StateInSetError(type(member).__name__)
    return frozenset(value)
