"""Loops in parts: outside of all transforms, the host runs them part by part and shows progress.

A call back into Python makes the code that holds it slower as a whole, so there is none. One
program runs parts of any length, each is under way before the one before has ended, and parts grow
until they take as long as the eye needs.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax, tree_util

from framework.nodes.frames import next_serial
from framework.transforms.body import State, arrays_in, settled
from framework.transforms.compiled import compiled, compiled_in_parts
from framework.transforms.functionalize import flatten_by_reference
from framework.transforms.progress import Display
from framework.transforms.steps import Steps

__all__ = ["scan_in_parts"]


Body = Callable[..., Any]


def scan_in_parts(
    fun: Body,
    body_of: Callable[[Body], Body],
    init: Any,
    operands: Any,
    reverse: bool,
    display: Display,
) -> tuple[Any, Any]:
    """Run a scan and show progress.

    Args:
        fun: The user's function.
        body_of: Makes of it one from a carried value and a slice to a pair.
        init: The first carried value.
        operands: Arrays of one leading length, which is not 0.
        reverse: Whether the loop goes from the last slice to the first.
        display: Where to show progress.

    Returns:
        The last carried value, and the outputs stacked.
    """
    start, total = next_serial(), display.total
    xs = tree_util.tree_map(jnp.asarray, arrays_in(operands))
    carry, outputs = compiled(_prepared, (fun,), (arrays_in(init), xs), body_of, total)
    number, under_way = 0, list[tuple[int, Any]]()

    def show_next() -> None:
        stop, reached = under_way.pop(0)
        reached.block_until_ready()
        display.update(stop)

    room = flatten_by_reference(outputs, start)[0]
    first, options = (carry, xs, 0, 0), (body_of, total, reverse)
    parts = compiled_in_parts(_part, (fun,), first, room, *options)
    with closing(display), parts as run:
        while number < total:
            stop = min(number + display.stride * display.every, total)
            carry, outputs, reached = run((carry, xs, number, stop), room)
            room = flatten_by_reference(outputs, start)[0]
            under_way.append((stop, reached))
            if number == 0:
                display.update(0)
            if len(under_way) > 1:
                show_next()
            number = stop
        show_next()
    return carry, outputs


def _prepared(
    funs: tuple[Any, ...], operands: Any, body_of: Callable[[Body], Body], total: int
) -> tuple[Any, list[Any]]:
    """The first carried value in the types that it will have, and room for the outputs."""
    init, xs = operands
    steps = Steps(body_of(funs[0]), init)
    carried, outputs = steps.shapes(xs)
    leaves = steps.leaves
    if len(leaves) == len(carried):
        leaves = list(map(_typed_as, leaves, carried))
    room = [_room((total, *y.shape), y.dtype) for y in outputs]
    return tree_util.tree_unflatten(steps.treedef, leaves), room


def _room(shape: tuple[int, ...], dtype: Any) -> Any:
    """An array to be written to. To fill a large one first would take as long as to compute it."""
    empty = getattr(lax, "empty", None)
    if empty is None or jnp.issubdtype(dtype, jax.dtypes.extended):  # Before JAX 0.8.
        return lax.full(shape, 0, dtype)
    return empty(shape, dtype)


def _typed_as(x: Any, later: Any) -> Any:
    """Let a weak type give way, as in a scan, so that the second part needs no other trace."""
    gives_way = getattr(x, "weak_type", False) and not later.weak_type
    return lax.convert_element_type(x, later.dtype) if gives_way else x


def _part(
    funs: tuple[Any, ...],
    operands: Any,
    body_of: Callable[[Body], Body],
    total: int,
    reverse: bool,
) -> Any:
    """Some steps of a scan: from a number up to another, both known only when it runs."""
    (carry, xs, number, stop), room = operands
    steps = Steps(body_of(funs[0]), carry)

    def run(state: State) -> tuple[Any, list[Any]]:
        step = steps.taking(state)

        def advance(loop: Any) -> Any:
            number, carry, ys = loop
            at = total - 1 - number if reverse else number
            x = tree_util.tree_map(lambda a: lax.dynamic_index_in_dim(a, at, keepdims=False), xs)
            carry, outputs = step(carry, x)
            pairs = zip(ys, map(jnp.asarray, outputs), strict=True)
            return number + 1, carry, [lax.dynamic_update_index_in_dim(*p, at, 0) for p in pairs]

        first = (number, (state.values, steps.leaves), room)
        reached, (new, leaves), ys = lax.while_loop(lambda loop: loop[0] < stop, advance, first)
        outputs = tree_util.tree_unflatten(steps.output, ys)
        return (tree_util.tree_unflatten(steps.treedef, leaves), outputs, reached), new

    return settled((steps.fun,), lambda state: steps.record(state, xs), run)
