"""`while_loop` over functions that read and write Variables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
from jax import lax, tree_util

from framework.nodes.array import raw
from framework.nodes.frames import in_trace
from framework.nodes.ownership import full_path
from framework.transforms.body import Body, State, arrays_in, settled
from framework.transforms.compiled import compiled
from framework.transforms.deprecated import warn_declared_state
from framework.transforms.functionalize import (
    Output,
    flatten_by_reference,
    functionalize,
    run_as_one,
)
from framework.transforms.steps import check_carry

__all__ = ["while_loop"]


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
            out = run_as_one(_while_in_python, body_fun, cond_fun, args)
        except jax.errors.ConcretizationTypeError:
            # The condition differs between the lanes of a vmap, say; JAX does the same.
            out = _while((body_fun, cond_fun), args)
    elif in_trace():
        out = _while((body_fun, cond_fun), args)
    else:
        out = compiled(_while, (body_fun, cond_fun), args)
    return out if several else out[0]


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


def _while_in_python(body_fun: Any, cond_fun: Any, operands: Any) -> tuple[Any, ...]:
    args = arrays_in(operands)
    body = _keeping(body_fun)
    while _tested(cond_fun, {}, args):
        args = arrays_in(body(*args))
    return args
