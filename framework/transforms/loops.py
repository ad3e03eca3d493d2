"""Loops: `scan`, `for_loop` and `while_loop` over functions that read and write Variables."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax, tree_util

from framework.nodes.array import raw
from framework.nodes.frames import in_trace
from framework.nodes.ownership import full_path
from framework.transforms.body import Body, State, arrays_in, settled
from framework.transforms.compiled import compiled
from framework.transforms.deprecated import warn_declared_state
from framework.transforms.functionalize import Output, flatten_by_reference, functionalize
from framework.transforms.parts import scan_in_parts
from framework.transforms.progress import Display, ProgressBar, in_chunks, progress_bar_of
from framework.transforms.steps import Steps, check_carry, length_of, pair_of

__all__ = ["for_loop", "scan", "while_loop"]


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
        return _in_python(_scan_in_python, body_fun, init, operands, reverse, bar, length)
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
        return _in_python(_scan_in_python, step, None, operands, reverse, bar, length)[1]
    if in_trace():
        return _for_loop((body_fun,), operands, *options)
    if display := _display_of_parts(bar, operands, unroll, length):
        return scan_in_parts(body_fun, _Step, None, operands, reverse, display)[1]
    return compiled(_for_loop, (body_fun,), operands, *options)


def while_loop(
    body_fun: Callable[..., Any],
    cond_fun: Callable[..., Any],
    operands: Any = (),
    *,
    dyn_vars: Any = None,
    child_objs: Any = None,
) -> Any:
    """Run a function as long as a condition holds.

    Outside of ``jit`` the loop is compiled once for each pair of functions and shape of arguments.

    Args:
        body_fun: Takes the operands and returns new ones of the same shapes and dtypes; or None to
            keep them. May read and write Variables.
        cond_fun: Takes the operands and returns a boolean scalar. May read Variables.
        operands: The first operands; a tuple or list is several. Variables arrive as arrays.
        dyn_vars: Ignored; state is found by itself.
        child_objs: Ignored; state is found by itself.

    Returns:
        The last operands.

    Raises:
        ValueError: The condition writes a Variable.
        TypeError: The operands change their type.
        MathError: The body changes the shape of a Variable.

    >>> while_loop(lambda x: 2 * x, lambda x: x < 100, 1)
    Array(128, dtype=int32...)
    """
    warn_declared_state(dyn_vars=dyn_vars, child_objs=child_objs)
    several = isinstance(operands, (tuple, list))
    args = tuple(operands) if several else (operands,)
    if jax.config.jax_disable_jit:
        try:
            out = _in_python(_while_in_python, body_fun, cond_fun, args)
        except jax.errors.ConcretizationTypeError:
            # The condition differs between the lanes of a vmap, say; JAX does the same.
            out = _while((body_fun, cond_fun), args)
    elif in_trace():
        out = _while((body_fun, cond_fun), args)
    else:
        out = compiled(_while, (body_fun, cond_fun), args)
    return out if several else out[0]


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


def _while(funs: tuple[Any, ...], operands: Any) -> tuple[Any, ...]:
    body_fun, cond_fun = funs
    leaves, treedef = flatten_by_reference(arrays_in(operands))

    def record(state: State) -> None:
        body = Body(_keeping(body_fun), state)

        def step(leaves: list[Any]) -> Output:
            out, frame, _ = body([], *tree_util.tree_unflatten(treedef, leaves))
            return Output(out, frame.serial)

        jax.eval_shape(step, leaves)

    def run(state: State) -> tuple[Any, list[Any]]:
        body = Body(_keeping(body_fun), state)

        def test(carry: Any) -> Any:
            values, leaves = carry
            known = dict(zip(state.written, values, strict=True))
            args = tree_util.tree_unflatten(treedef, leaves)
            return _tested(cond_fun, known, args)

        def step(carry: Any) -> Any:
            values, leaves = carry
            out, frame, new = body(values, *tree_util.tree_unflatten(treedef, leaves))
            leaves, new_treedef = flatten_by_reference(out, frame.serial)
            check_carry(treedef, new_treedef)
            return new, leaves

        new, out = lax.while_loop(test, step, (state.values, leaves))
        return tree_util.tree_unflatten(treedef, out), new

    return settled(funs, record, run)


def _keeping(body_fun: Callable[..., Any]) -> Callable[..., tuple[Any, ...]]:
    """The body of a `while_loop` that always returns a tuple of operands."""

    def body(*args: Any) -> tuple[Any, ...]:
        out = body_fun(*args)
        if out is None:
            return args
        return tuple(out) if isinstance(out, (tuple, list)) else (out,)

    return body


def _tested(cond_fun: Callable[..., Any], known: Any, args: Any) -> Any:
    out, frame = functionalize(lambda: raw(cond_fun(*args)), known)
    if frame.writes:
        paths = ", ".join(f"`{full_path(variable)}`" for variable in frame.writes)
        raise ValueError(
            f"cond_fun should not have any write states, but it writes {paths}. Write it in "
            "body_fun, and let cond_fun read what it left."
        )
    return out


def _in_python(run: Callable[..., Any], *args: Any) -> Any:
    """Run a loop step by step, in a frame of its own, so that an exception leaves no half of it."""
    out, frame = functionalize(run, {}, args)
    frame.commit()
    return out


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


def _while_in_python(body_fun: Any, cond_fun: Any, operands: Any) -> tuple[Any, ...]:
    args = arrays_in(operands)
    body = _keeping(body_fun)
    while _tested(cond_fun, {}, args):
        args = arrays_in(body(*args))
    return args
