"""From a stateful function to a pure one: the one place that all transforms stand on."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

from jax import tree_util

from framework.nodes.frames import Frame, active, local
from framework.nodes.variable import Variable

__all__ = ["EVERYTHING", "Output", "flatten_by_reference", "functionalize", "run_as_one"]

EVERYTHING = sys.maxsize
"""A serial number above all others: every object that exists is passed by reference."""


def functionalize(
    fun: Callable[..., Any], known: Mapping[Variable, Any], args: Any = (), kwargs: Any = None
) -> tuple[Any, Frame]:
    """Run a function so that it changes no Variable.

    Args:
        fun: Any callable. Call this from the function that JAX traces.
        known: What certain Variables read as, usually tracers. Others read as outside.
        args: Its positional arguments.
        kwargs: Its keyword arguments.

    Returns:
        The result; and the frame, whose ``values`` tell what each Variable of ``reads`` was and
        what each Variable of ``writes`` has become.
    """
    frame = Frame(dict(known))
    with frame.active():
        out = fun(*args, **(kwargs or {}))
    return out, frame


def run_as_one(fun: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """Run a function as it is, but so that an exception undoes all that it wrote."""
    out, frame = functionalize(fun, {}, args, kwargs)
    frame.commit()
    return out


def flatten_by_reference(tree: Any, up_to: int = EVERYTHING) -> tuple[list[Any], Any]:
    """Flatten with handles in the place of objects, which the treedef refers to weakly.

    Args:
        tree: Arguments or results.
        up_to: Objects with a higher serial number flatten to their arrays all the same.
    """
    # Written out rather than `with by_reference(up_to)`: this runs at every call.
    handles, local.handles_up_to = local.handles_up_to, up_to
    active.append(None)
    try:
        return tree_util.tree_flatten(tree)
    finally:
        active.pop()
        local.handles_up_to = handles


class Output:
    """The result of a traced function: existing objects by reference, new ones by value.

    A PyTree that, once JAX rebuilds it around computed arrays, is the result itself.

    Args:
        out: The result.
        up_to: The serial number of the frame; objects with a higher one are new.
    """

    __slots__ = ("leaves", "treedef")

    def __init__(self, out: Any, up_to: int) -> None:
        self.leaves, self.treedef = flatten_by_reference(out, up_to)


tree_util.register_pytree_node(
    Output,
    lambda output: (output.leaves, output.treedef),
    tree_util.tree_unflatten,
)
