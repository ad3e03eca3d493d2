"""Which object took a Variable or node first: the paths in error messages."""

from __future__ import annotations

from typing import Any
from weakref import ref

from framework.nodes.children import children_of
from framework.nodes.graph import Node, attributes_of, rebuilt_roots
from framework.nodes.kinds import KIND_OF_TYPE, Kind
from framework.nodes.places import key_text
from framework.nodes.variable import Variable, path_finders
from framework.nodes.walk import graph_of

__all__ = ["adopt", "full_path", "path_from_root"]


def adopt(owner: Node, value: Any, kind: int) -> None:
    """Note that the owner holds the value, and what is in it if it is a container."""
    if kind == Kind.NODE:
        above = owner._meta.owner and owner._meta.owner()
        # A link back to the parent makes no owner.
        if value._meta.owner is None and value is not owner and value is not above:
            value._meta.owner = ref(owner)
    elif kind in (Kind.VARIABLE, Kind.VIEW):
        if value._owner is None:
            value._own_notes().owner = ref(owner)
    elif kind in Kind.CONTAINERS:
        for child in children_of(value, kind)[1]:
            adopt(owner, child, KIND_OF_TYPE[type(child)])


def _owner_of(value: Any) -> Any:
    owner = (
        value._owner if isinstance(value, Variable) else value._meta.owner and value._meta.owner()
    )
    return _owner_in_copies(value) if owner is None else owner


def _owner_in_copies(value: Any) -> Any:
    for root in list(rebuilt_roots.values()):
        graph = graph_of(root)
        if value is not root and any(
            value is x for x in (*graph.live_nodes(), *graph.live_leaves())
        ):
            return next((n for n in graph.live_nodes() if keys_in(n, value) is not None), None)
    return None


def _keys_to(value: Any, target: Any, kind: int) -> tuple[Any, ...] | None:
    if value is target:
        return ()
    if kind in Kind.CONTAINERS:
        keys, children = children_of(value, kind)
        for key, child in zip(keys or (), children, strict=True):
            below = _keys_to(child, target, KIND_OF_TYPE[type(child)])
            if below is not None:
                return (key, *below)
    return None


def keys_in(owner: Node, target: Any) -> tuple[Any, ...] | None:
    """The keys from an owner to what it holds, None if it holds it no longer."""
    for name, value in attributes_of(owner).items():
        keys = _keys_to(value, target, KIND_OF_TYPE[type(value)])
        if keys is not None:
            return (name, *keys)
    return None


def path_from_root(value: Any) -> tuple[Any, str]:
    """Climb from owner to owner.

    Args:
        value: A Variable or node.

    Returns:
        The topmost owner, and the path from there, such as ``layers[0].w``. The value itself and
        an empty path if nothing is known to hold it.
    """
    path = ""
    climbed = {id(value)}
    while (owner := _owner_of(value)) is not None and id(owner) not in climbed:
        keys = keys_in(owner, value)
        if keys is None:
            break
        path = key_text(keys) + path
        climbed.add(id(owner))
        value = owner
    return value, path.removeprefix(".")


def full_path(value: Any, *more: str) -> str:
    """The name of the topmost owner, and the path from there: ``Net0.layers[0].w``.

    Args:
        value: A Variable or node.
        *more: Attributes to add.
    """
    root, path = path_from_root(value)
    parts = (getattr(root, "name", "") if isinstance(root, Node) else "", path, *more)
    return ".".join(part for part in parts if part).replace(".[", "[")


path_finders.append(full_path)
