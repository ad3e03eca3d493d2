"""Loops of a known length: `scan` and `for_loop` over functions that read and write Variables."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax, tree_util

from framework.nodes.frames import in_trace
from framework.transforms.body import State, arrays_in, settled
from framework.transforms.compiled import compiled
from framework.transforms.deprecated import warn_declared_state
from framework.transforms.functionalize import functionalize, run_as_one
from framework.transforms.parts import scan_in_parts
from framework.transforms.progress import Display, ProgressBar, in_chunks, progress_bar_of
from framework.transforms.steps import Steps, length_of, pair_of

__all__ = ["for_loop", "scan"]


def scan(
    body_fun: Callable[[Any, Any], tuple[Any, Any]],
    init: Any,
    operands: Any,
    reverse: bool = False,
    unroll: int | bool = 1,
    remat: bool = False,
    progress_bar: bool | int | ProgressBar = False,
    *,
    length: int | None = None,
) -> tuple[Any, Any]:
    """Run a function over the leading axis of arrays, and hand a value from step to step.

    Outside of ``jit`` the loop is compiled once for each function and shape of arguments.

    Args:
        body_fun: Takes the carried value and the slice of the step; returns the new carried value,
            of the same shapes and dtypes, and an output. May read and write Variables.
        init: The first carried value. Variables in it arrive as arrays, objects as themselves.
        operands: Arrays of the same leading length, or a tree of them.
        reverse: Whether to go from the last slice to the first.
        unroll: How many steps to compile into one.
        remat: Whether gradients compute each step anew instead of keeping its intermediate values.
        progress_bar: Whether, or after how many steps, to show progress; or a ProgressBar.
        length: The number of steps, where there are no operands.

    Returns:
        The last carried value, and the outputs stacked.

    Raises:
        TypeError: The body does not return a pair, or the carried value changes its type.
        MathError: The body changes the shape of a Variable.

    >>> scan(lambda total, x: (total + x, total), 0.0, jnp.arange(4.0))
    (Array(6., dtype=float32...), Array([0., 0., 1., 3.], dtype=float32...))
    """
    bar = progress_bar_of(progress_bar)
    options = (reverse, unroll, remat, bar, length)
    if jax.config.jax_disable_jit:
        return run_as_one(_scan_in_python, body_fun, init, operands, reverse, bar, length)
    if in_trace():
        return _scan((body_fun,), (init, operands), *options)
    if display := _display_of_parts(bar, operands, unroll, length):
        return scan_in_parts(body_fun, _as_it_is, init, operands, reverse, display)
    return compiled(_scan, (body_fun,), (init, operands), *options)


def for_loop(
    body_fun: Callable[..., Any],
    operands: Any,
    reverse: bool = False,
    unroll: int | bool = 1,
    jit: bool | None = None,
    progress_bar: bool | int | ProgressBar = False,
    *,
    remat: bool = False,
    length: int | None = None,
    dyn_vars: Any = None,
    child_objs: Any = None,
) -> Any:
    """Run a function over the leading axis of arrays.

    Outside of ``jit`` the loop is compiled once for each function and shape of arguments.

    Args:
        body_fun: Takes the slice of the step. May read and write Variables.
        operands: Arrays of the same leading length, or a tree of them; a tuple or list is several
            arguments.
        reverse: Whether to go from the last slice to the first.
        unroll: How many steps to compile into one.
        jit: False to run step by step in Python.
        progress_bar: Whether, or after how many steps, to show progress; or a ProgressBar.
        remat: See :func:`scan`.
        length: The number of steps, where there are no operands.
        dyn_vars: Ignored; state is found by itself.
        child_objs: Ignored; state is found by itself.

    Returns:
        The outputs stacked.

    Raises:
        MathError: The body changes the shape of a Variable.

    >>> from framework.nodes.variable import Variable
    >>> v = Variable(1.0)
    >>> def body(x):
    ...     v.value *= x
    ...     return v.value
    >>> for_loop(body, jnp.arange(1.0, 5.0))
    Array([ 1.,  2.,  6., 24.], dtype=float32)
    """
    warn_declared_state(dyn_vars=dyn_vars, child_objs=child_objs)
    bar = progress_bar_of(progress_bar)
    operands = tuple(operands) if isinstance(operands, (tuple, list)) else (operands,)
    options = (reverse, unroll, remat, bar, length)
    if jit is False or (jax.config.jax_disable_jit and jit is None):
        step = _Step(body_fun)
        return run_as_one(_scan_in_python, step, None, operands, reverse, bar, length)[1]
    if in_trace():
        return _for_loop((body_fun,), operands, *options)
    if display := _display_of_parts(bar, operands, unroll, length):
        return scan_in_parts(body_fun, _Step, None, operands, reverse, display)[1]
    return compiled(_for_loop, (body_fun,), operands, *options)


class _Step:
    """The body of a `for_loop` as that of a `scan`."""

    def __init__(self, fun: Callable[..., Any]) -> None:
        self.fun = fun
        self.__code__ = getattr(fun, "__code__", None)

    def __call__(self, carry: Any, x: Any) -> tuple[Any, Any]:
        return carry, self.fun(*x)


def _as_it_is(fun: Callable[..., Any]) -> Callable[..., Any]:
    return fun


def _display_of_parts(
    bar: ProgressBar | None, operands: Any, unroll: int | bool, length: int | None
) -> Display | None:
    """Where a loop that may run in parts shows progress."""
    if bar is None or unroll not in (1, False):
        return None
    if jax.config.jax_debug_nans or jax.config.jax_debug_infs:
        return None
    return bar.start(steps) if (steps := length_of(operands, length)) else None


def _for_loop(funs: tuple[Any, ...], operands: Any, *options: Any) -> Any:
    return _scan((_Step(funs[0]),), (None, operands), *options)[1]


def _scan(
    funs: tuple[Any, ...],
    values: tuple[Any, Any],
    reverse: bool,
    unroll: int | bool,
    remat: bool,
    bar: ProgressBar | None,
    length: int | None,
) -> tuple[Any, Any]:
    init, xs = arrays_in(values)
    steps = Steps(funs[0], init)
    display = bar and bar.start(length_of(xs, length))

    def run(state: State) -> tuple[Any, list[Any]]:
        step = steps.taking(state)
        wrapped = jax.checkpoint(step) if remat else step

        def scanned(carry: Any, xs: Any, count: int | None) -> Any:
            return lax.scan(wrapped, carry, xs, count, reverse, unroll)

        carry = (state.values, steps.leaves)
        if display is None:
            (new, out), ys = scanned(carry, xs, length)
        else:
            (new, out), ys = in_chunks(scanned, display, carry, xs, reverse)
        outputs = tree_util.tree_unflatten(steps.output, ys)
        return (tree_util.tree_unflatten(steps.treedef, out), outputs), new

    return settled(funs, lambda state: steps.record(state, xs), run)


def _scan_in_python(
    body_fun: Callable[..., Any],
    init: Any,
    operands: Any,
    reverse: bool,
    bar: ProgressBar | None,
    length: int | None,
) -> tuple[Any, Any]:
    carry, xs = arrays_in(init), arrays_in(operands)
    count = length_of(xs, length)
    if count == 0:
        return _empty(body_fun, carry, xs)
    display = bar and bar.start(count)
    outputs: list[Any] = []
    due = 0
    for number in range(count):
        if display and number == due:
            due = display.update(number)
        index = count - 1 - number if reverse else number
        x = tree_util.tree_map(lambda a, i=index: a[i], xs)
        carry, y = pair_of(arrays_in(body_fun(carry, x)))
        outputs.append(y)
    if display:
        display.update(count)
    if reverse:
        outputs.reverse()
    return carry, tree_util.tree_map(lambda *ys: jnp.stack(ys), *outputs)


def _empty(body_fun: Callable[..., Any], carry: Any, xs: Any) -> tuple[Any, Any]:
    warnings.warn(
        "A zero-length input: no step runs, and the outputs are empty arrays of the shapes that "
        "one step would give.",
        UserWarning,
        stacklevel=5,
    )

    def step(carry: Any, xs: Any) -> Any:
        x = tree_util.tree_map(lambda a: jnp.zeros(a.shape[1:], a.dtype), xs)
        return functionalize(lambda: arrays_in(body_fun(carry, x)), {})[0][1]

    shapes = jax.eval_shape(step, carry, xs)
    return carry, tree_util.tree_map(lambda s: jnp.zeros((0, *s.shape), s.dtype), shapes)
