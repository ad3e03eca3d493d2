"""Steps: the body of a scan as JAX wants it, arrays and state in, arrays and state out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import tree_util

from framework.transforms.body import Body, State
from framework.transforms.functionalize import Output, flatten_by_reference

__all__ = ["Steps", "check_carry", "length_of", "pair_of"]


class Steps:
    """The steps of a scan.

    Args:
        fun: The user's function, from a carried value and a slice to a pair.
        init: The first carried value.

    Attributes:
        leaves: The arrays of the first carried value.
        treedef: Its structure.
        output: The structure of the outputs, once a step has been traced.
    """

    def __init__(self, fun: Callable[..., Any], init: Any) -> None:
        self.fun = fun
        self.leaves, self.treedef = flatten_by_reference(init)
        self.output: Any = None

    def record(self, state: State, xs: Any) -> None:
        """Trace one step abstractly, to see which state it changes.

        Args:
            state: Where to note it.
            xs: The operands.
        """
        body = Body(self.fun, state)

        def step(leaves: list[Any], x: Any) -> Output:
            out, frame, _ = body([], tree_util.tree_unflatten(self.treedef, leaves), x)
            return Output(out, frame.serial)

        jax.eval_shape(step, self.leaves, slices_of(xs))

    def taking(self, state: State) -> Callable[[Any, Any], tuple[Any, list[Any]]]:
        """A step for `jax.lax.scan`.

        Args:
            state: The Variables that it changes.

        Returns:
            A function from state and carried arrays, and a slice, to the same and the outputs.
        """
        body = Body(self.fun, state)

        def step(carry: Any, x: Any) -> tuple[Any, list[Any]]:
            values, leaves = carry
            out, frame, new = body(values, tree_util.tree_unflatten(self.treedef, leaves), x)
            carried, y = pair_of(out)
            leaves, treedef = flatten_by_reference(carried, frame.serial)
            check_carry(self.treedef, treedef)
            outputs, self.output = flatten_by_reference(y, frame.serial)
            return (new, leaves), outputs

        return step

    def shapes(self, xs: Any) -> tuple[list[Any], list[Any]]:
        """The shapes of what one step gives: the carried arrays, and the outputs.

        Args:
            xs: The operands.
        """

        def step(leaves: list[Any], x: Any) -> Any:
            state = State([], recording=True)
            out, frame, _ = Body(self.fun, state)(
                [], tree_util.tree_unflatten(self.treedef, leaves), x
            )
            return [flatten_by_reference(part, frame.serial)[0] for part in pair_of(out)]

        carried, outputs = jax.eval_shape(step, self.leaves, slices_of(xs))
        return carried, outputs


def slices_of(xs: Any) -> Any:
    """The shapes of what one step gets."""
    return tree_util.tree_map(
        lambda x: jax.ShapeDtypeStruct(jnp.shape(x)[1:], jnp.result_type(x)), xs
    )


def pair_of(out: Any) -> tuple[Any, Any]:
    """What the body of a scan returned.

    Raises:
        TypeError: It is no pair.
    """
    if not isinstance(out, tuple) or len(out) != 2:
        raise TypeError(
            "The body of a scan must return a pair (carry, output), but it returned "
            f"{'a tuple of ' + str(len(out)) if isinstance(out, tuple) else type(out).__name__}."
        )
    return out


def check_carry(before: Any, after: Any) -> None:
    """Compare the structure of a carried value before and after a step.

    Raises:
        TypeError: It has changed.
    """
    if before != after:
        raise TypeError(
            "What a loop carries must keep its structure, but it was "
            f"{before} and the body returned {after}."
        )


def length_of(xs: Any, length: int | None = None) -> int:
    """The number of steps over operands.

    Args:
        xs: Arrays of one leading length.
        length: That length; must be given where there are no operands.

    Raises:
        ValueError: It is not known, or not the same everywhere.
    """
    lengths: set[int] = {jnp.shape(x)[0] for x in tree_util.tree_leaves(xs)}
    if length is not None:
        lengths.add(length)
    if not lengths:
        raise ValueError("A loop without operands needs `length=`.")
    if len(lengths) > 1:
        raise ValueError(
            "What a loop runs over must have one leading length, but there are "
            f"{', '.join(map(str, sorted(lengths)))}."
        )
    return lengths.pop()
