"""Children: taking the plain containers of an object apart, and making them again."""

from __future__ import annotations

from typing import Any

from jax import tree_util

from framework.nodes.kinds import Kind
from framework.nodes.static import Static

__all__ = ["AttributeKey", "children_of", "container_extras", "container_of"]


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
