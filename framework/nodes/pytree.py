"""Registration of nodes and containers as PyTrees."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from jax import tree_util

from framework.nodes.frames import local
from framework.nodes.graph import Node
from framework.nodes.handles import Handle
from framework.nodes.kinds import KIND_OF_TYPE, Kind
from framework.nodes.rebuild import rebuild
from framework.nodes.structure import Structure
from framework.nodes.walk import graph_of, walk

__all__ = ["flatten_root", "register_container", "register_node", "unflatten_root"]


def flatten_root(root: Any) -> tuple[tuple[Any, ...], Structure | Handle]:
    """Flatten all that is reachable from a node or container.

    Returns:
        The distinct Variables and the arrays held as attributes; and the static rest.
    """
    handles_up_to = local.handles_up_to
    if handles_up_to is None:
        graph = graph_of(root)
    elif not isinstance(root, Node) or root._meta.serial <= handles_up_to:
        return (), Handle(root)
    else:
        graph = walk(root, handles_up_to)
    return tuple(graph.live_leaves()), graph.structure


def unflatten_root(aux: Structure | Handle, leaves: Iterable[Any]) -> Any:
    """Rebuild what was flattened around other leaves."""
    return aux.target() if type(aux) is Handle else rebuild(aux, tuple(leaves))  # pyright: ignore[reportArgumentType, reportAttributeAccessIssue]


def _flatten_with_keys(root: Any) -> tuple[Any, Any]:
    leaves, aux = flatten_root(root)
    return (
        (leaves, aux)
        if type(aux) is Handle
        else (tuple(zip(aux.places.leaf_keys, leaves, strict=True)), aux)  # pyright: ignore[reportAttributeAccessIssue]
    )


def register_node(cls: type) -> None:
    """Make a subclass of Node a PyTree."""
    tree_util.register_pytree_with_keys(
        cls, _flatten_with_keys, unflatten_root, lambda root: root.tree_flatten()
    )


def register_container(cls: type[Any]) -> None:
    """Make a subclass of list or dict a PyTree that is flattened as a whole."""
    KIND_OF_TYPE.declare(cls, Kind.LIST if issubclass(cls, list) else Kind.DICT)
    tree_util.register_pytree_with_keys(cls, _flatten_with_keys, unflatten_root, flatten_root)
