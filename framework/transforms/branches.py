"""Branches: `cond`, `switch` and `ifelse` over functions that read and write Variables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax, tree_util

from framework.nodes.array import raw
from framework.nodes.frames import is_tracer
from framework.transforms.body import Body, State, arrays_in, settled
from framework.transforms.deprecated import warn_declared_state
from framework.transforms.functionalize import Output, flatten_by_reference, run_as_one

__all__ = ["cond", "ifelse", "switch"]


def cond(
    pred: Any,
    true_fun: Any,
    false_fun: Any,
    operands: Any = (),
    *,
    dyn_vars: Any = None,
    child_objs: Any = None,
) -> Any:
    """Run one of two functions, which may read and write Variables.

    Args:
        pred: A boolean scalar. If it is known, just the chosen function runs.
        true_fun: Runs if it holds. A constant stands for a function that returns it.
        false_fun: Runs otherwise; returns arrays of the same shapes and dtypes.
        operands: Arguments of the functions; a tuple or list is several. Variables arrive as
            arrays.
        dyn_vars: Ignored; state is found by itself.
        child_objs: Ignored; state is found by itself.

    Returns:
        What the function returned.

    Raises:
        TypeError: ``pred`` is no scalar, or the results don't match.

    >>> from framework.nodes.variable import Variable
    >>> v = Variable(1.0)
    >>> def double(x):
    ...     v.value *= 2
    ...     return x
    >>> cond(v < 3, double, 0.0, 5.0), v.value
    (5.0, Array(2., dtype=float32...))
    """
    warn_declared_state(dyn_vars=dyn_vars, child_objs=child_objs)
    pred = _scalar(pred, "pred")
    index = int(not pred) if not is_tracer(pred) else jnp.where(pred, 0, 1)
    return _branch(index, [true_fun, false_fun], operands)


def switch(index: Any, branches: Sequence[Any], operands: Any = ()) -> Any:
    """Run one of several functions, which may read and write Variables.

    Args:
        index: Which one: an integer scalar, clamped to the number of functions. If it is known,
            just the chosen function runs.
        branches: The functions; constants stand for functions that return them.
        operands: Arguments of the functions; a tuple or list is several. Variables arrive as
            arrays.

    Returns:
        What the function returned.

    Raises:
        ValueError: There are no branches.
        TypeError: ``index`` is no integer scalar, or the results don't match.

    >>> switch(1, [lambda x: x, lambda x: 2 * x], 3)
    6
    """
    if not branches:
        raise ValueError("switch needs at least one branch.")
    index = _scalar(index, "index")
    if not jnp.issubdtype(jnp.result_type(index), jnp.integer):
        raise TypeError(f"index must be an integer, but got {jnp.result_type(index)}.")
    if not is_tracer(index):
        index = min(max(int(index), 0), len(branches) - 1)
    return _branch(index, branches, operands)


def ifelse(
    conditions: Any,
    branches: Sequence[Any],
    operands: Any = None,
    *,
    dyn_vars: Any = None,
    child_objs: Any = None,
) -> Any:
    """Run the function of the first condition that holds, or the last one.

    Args:
        conditions: Boolean scalars.
        branches: Functions that may read and write Variables, or constants: one for each condition,
            and one for when none holds.
        operands: Arguments of the functions; a tuple or list is several. Variables arrive as
            arrays.
        dyn_vars: Ignored; state is found by itself.
        child_objs: Ignored; state is found by itself.

    Returns:
        What the function returned.

    Raises:
        ValueError: There is not one branch more than there are conditions.

    >>> ifelse([False, True], ["a", "b", "c"])
    'b'
    """
    warn_declared_state(dyn_vars=dyn_vars, child_objs=child_objs)
    if not isinstance(conditions, (tuple, list)):
        conditions = [conditions]
    if len(branches) != len(conditions) + 1:
        raise ValueError(
            f"ifelse needs one branch for each of the {len(conditions)} conditions and one for "
            f"when none holds, but got {len(branches)} branches."
        )
    conditions = [_scalar(condition, "a condition") for condition in conditions]
    index: Any = len(conditions)
    for number, condition in reversed(list(enumerate(conditions))):
        if is_tracer(condition):
            index = jnp.where(condition, number, index)
        elif condition:
            index = number
    return _branch(index, branches, () if operands is None else operands)


def _scalar(value: Any, what: str) -> Any:
    value = raw(value)
    if jnp.shape(value):
        raise TypeError(f"{what} must be a scalar, but has shape {jnp.shape(value)}.")
    return value


def _branch(index: Any, branches: Sequence[Any], operands: Any) -> Any:
    operands = arrays_in(operands)
    args = tuple(operands) if isinstance(operands, (tuple, list)) else (operands,)
    funs = tuple(fun if callable(fun) else _constant(fun) for fun in branches)
    if not is_tracer(index):
        # As a frame of its own, so that an exception leaves no half of it.
        return run_as_one(lambda: arrays_in(funs[int(index)](*args)))
    leaves, treedef = flatten_by_reference(args)

    def pure(fun: Callable[..., Any], state: State) -> Callable[..., Any]:
        body = Body(fun, state, may_resize=True)

        def branch(values: list[Any], leaves: list[Any]) -> tuple[Output, list[Any]]:
            out, frame, new = body(values, *tree_util.tree_unflatten(treedef, leaves))
            return Output(out, frame.serial), new

        return branch

    def record(state: State) -> None:
        for fun in funs:
            jax.eval_shape(pure(fun, state), [], leaves)

    def run(state: State) -> Any:
        return lax.switch(index, [pure(fun, state) for fun in funs], state.values, leaves)

    return settled(funs, record, run)


def _constant(value: Any) -> Callable[..., Any]:
    return lambda *_: value
