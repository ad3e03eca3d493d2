"""Targets of differentiation: Variables, containers of them, whole objects, and arguments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import tree_util

from framework.errors import MathError
from framework.nodes.frames import by_value
from framework.nodes.graph import Node
from framework.nodes.variable import Variable

__all__ = ["Targets"]


class Targets:
    """What to differentiate with respect to, and results in its image.

    A Variable that stands in several places is one target: its gradient is that of all its uses,
    found under each of its places.

    Attributes:
        variables: The distinct Variables.
        arrays: The arrays among the arguments.
    """

    def __init__(self, grad_vars: Any, arguments: Any, allow_int: bool) -> None:
        self._grad_vars = grad_vars
        self._arguments, self._treedef = tree_util.tree_flatten(arguments, is_leaf=_is_object)
        self._allow_int = allow_int
        found: dict[Variable, None] = {}
        self._collect(grad_vars, found)
        for item in self._arguments:
            if _is_object(item):
                self._collect(item, found)
        self.variables = list(found)
        self.arrays = [item for item in self._arguments if not _is_object(item)]

    def _collect(self, tree: Any, found: dict[Variable, None]) -> None:
        if isinstance(tree, Variable):
            if not (self._allow_int or jnp.issubdtype(tree.dtype, jnp.inexact)):
                raise TypeError(
                    f"{tree._label()} has dtype {tree.dtype}, which has no gradient. Leave it "
                    "out of `grad_vars`, or pass `allow_int=True`."
                )
            found[tree] = None
        elif isinstance(tree, Node):
            found |= dict.fromkeys(leaf for leaf in _leaves(tree) if _is_differentiable(leaf))
        elif isinstance(tree, Mapping):
            for child in tree.values():
                self._collect(child, found)
        elif isinstance(tree, (list, tuple)):
            for child in tree:
                self._collect(child, found)
        elif tree is not None:
            raise MathError(
                "grad_vars takes Variables, objects, and lists, tuples and dicts of them, but "
                f"got a {type(tree).__name__}. For arguments use `argnums`."
            )

    def arguments(self, arrays: list[Any]) -> Any:
        """The arguments with other arrays."""
        remaining = iter(arrays)
        items = [item if _is_object(item) else next(remaining) for item in self._arguments]
        return tree_util.tree_unflatten(self._treedef, items)

    def image(self, of_variables: list[Any], of_arrays: list[Any]) -> tuple[Any, Any]:
        """Put one result for each target in its place.

        Returns:
            Results in the shape of ``grad_vars``, and in the shape of the arguments.
        """
        results = dict(zip(self.variables, of_variables, strict=True))
        remaining = iter(of_arrays)
        items = [
            _image(item, results) if _is_object(item) else next(remaining)
            for item in self._arguments
        ]
        of_grad_vars = None if self._grad_vars is None else _image(self._grad_vars, results)
        return of_grad_vars, tree_util.tree_unflatten(self._treedef, items)


def _is_object(x: Any) -> bool:
    return isinstance(x, (Node, Variable))


def _leaves(node: Node) -> list[Any]:
    with by_value():
        return tree_util.tree_leaves(node, is_leaf=lambda x: isinstance(x, Variable))


def _is_differentiable(leaf: Any) -> bool:
    return isinstance(leaf, Variable) and bool(jnp.issubdtype(leaf.dtype, jnp.inexact))


def _image(tree: Any, results: dict[Variable, Any]) -> Any:
    if isinstance(tree, Variable):
        return results[tree]
    if isinstance(tree, Mapping):
        return {key: _image(child, results) for key, child in tree.items()}
    if isinstance(tree, (list, tuple)):
        images = [_image(child, results) for child in tree]
        if not isinstance(tree, tuple):
            return images
        return type(tree)(*images) if hasattr(tree, "_fields") else tuple(images)
    with by_value():
        leaves, treedef = tree_util.tree_flatten(tree, is_leaf=lambda x: isinstance(x, Variable))
        return tree_util.tree_unflatten(treedef, [_leaf_image(leaf, results) for leaf in leaves])


def _leaf_image(leaf: Any, results: dict[Variable, Any]) -> Any:
    """A Variable of gradients; of `float0` where there is none, as in JAX."""
    nothing = np.zeros(np.shape(leaf), jax.dtypes.float0)
    if not isinstance(leaf, Variable):
        return nothing
    return type(leaf)._rebuilt(results.get(leaf, nothing), leaf._meta, None)
