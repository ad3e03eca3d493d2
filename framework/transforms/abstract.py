"""Functions seen as programs: `eval_shape`, `make_jaxpr` and `checkpoint`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax import tree_util

from framework.nodes.frames import peek, store_all
from framework.nodes.variable import Variable
from framework.transforms.arguments import Arguments
from framework.transforms.discovery import FirstTrace, candidates, state_outputs
from framework.transforms.functionalize import Output, flatten_by_reference, functionalize
from framework.transforms.roots import roots_of

__all__ = ["checkpoint", "eval_shape", "make_jaxpr", "remat"]


def eval_shape(fun: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Find the shapes and dtypes of a function's result without computing or allocating it.

    Args:
        fun: Any function, or a class. It leaves all Variables as they are.
        *args: Arrays, `jax.ShapeDtypeStruct`, trees of them, or objects.
        **kwargs: The same by name.

    Returns:
        The result with a `jax.ShapeDtypeStruct` in the place of each array; an object made by the
        function has them in its Variables.

    >>> from framework.nodes.base import BrainPyObject
    >>> class Big(BrainPyObject):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.w = Variable((10**6, 10**6))
    >>> eval_shape(Big).w.shape
    (1000000, 1000000)
    """
    leaves, treedef = flatten_by_reference((args, kwargs))

    def pure(leaves: list[Any]) -> Output:
        args, kwargs = tree_util.tree_unflatten(treedef, leaves)
        out, frame = functionalize(fun, {}, args, kwargs)
        return Output(out, frame.serial)

    return jax.eval_shape(pure, leaves)


def make_jaxpr(
    fun: Callable[..., Any],
    static_argnums: int | Sequence[int] = (),
    return_shape: bool = False,
) -> Callable[..., Any]:
    """Show a function as JAX sees it.

    Args:
        fun: Any function. It leaves all Variables as they are.
        static_argnums: Positions of arguments that are Python values.
        return_shape: Whether to return the shapes of the result, too.

    Returns:
        A function that takes the arguments and returns a `jax.extend.core.ClosedJaxpr`. Its inputs
        are the Variables that are read or written, in the order in which they are met, and the
        arrays among the arguments; its outputs the arrays of the result and the Variables that are
        written.

    >>> v = Variable(2.0)
    >>> make_jaxpr(lambda x: v * x)(3.0).in_avals
    [...float32[]..., ...float32[]...]
    """
    arguments = Arguments(fun, static_argnums)

    @functools.wraps(fun)
    def made(*args: Any, **kwargs: Any) -> Any:
        dynamic, named, static = arguments.split(args, kwargs)
        leaves, treedef = flatten_by_reference((dynamic, named))

        def trace(known: dict[Variable, Any], leaves: list[Any]) -> Any:
            args, kwargs = _joined(treedef, leaves, static)
            return functionalize(fun, known, args, kwargs)

        roots, _ = roots_of(functools.partial(fun, *args, **kwargs))
        labels = [str(index) for index in range(len(leaves))]
        first = FirstTrace(trace, candidates(roots.values()), (), fun, labels, leaves)
        used = [*first.read, *first.written]

        def pure(values: list[Any], leaves: list[Any]) -> Any:
            # Not around the kept trace, which JAX would show as a function inside of this one.
            out, frame = trace(dict(zip(used, values, strict=True)), leaves)
            return state_outputs(out, frame, first.written)

        jaxpr, (shape, _) = jax.make_jaxpr(pure, return_shape=True)(list(map(peek, used)), leaves)
        return (jaxpr, shape) if return_shape else jaxpr

    return made


def checkpoint(
    fun: Callable[..., Any] | None = None,
    *,
    prevent_cse: bool = True,
    policy: Callable[..., bool] | None = None,
    static_argnums: int | Sequence[int] = (),
) -> Any:
    """Let gradients compute a function anew instead of keeping its intermediate values.

    Args:
        fun: Any function that may read and write Variables. Without it, a decorator is returned.
        prevent_cse: As in `jax.checkpoint`.
        policy: Which intermediate values to keep all the same, as in `jax.checkpoint`.
        static_argnums: Positions of arguments that are Python values.

    Returns:
        A function that does the same.

    >>> import jax.numpy as jnp
    >>> w = Variable(3.0)
    >>> jax.grad(checkpoint(lambda x: jnp.sin(w * x)))(0.0)
    Array(3., dtype=float32...)
    """

    def decorate(fun: Callable[..., Any]) -> Callable[..., Any]:
        arguments = Arguments(fun, static_argnums)

        @functools.wraps(fun, updated=())
        def rematerialized(*args: Any, **kwargs: Any) -> Any:
            dynamic, named, static = arguments.split(args, kwargs)
            leaves, treedef = flatten_by_reference((dynamic, named))
            written: list[Variable] = []

            def pure(leaves: list[Any]) -> Any:
                args, kwargs = _joined(treedef, leaves, static)
                out, frame = functionalize(fun, {}, args, kwargs)
                written[:] = frame.writes
                return Output(out, frame.serial), [frame.values[v] for v in written]

            wrapped = jax.checkpoint(pure, prevent_cse=prevent_cse, policy=policy)
            out, new = wrapped(leaves)
            store_all(written, new)
            return out

        return rematerialized

    return decorate if fun is None else decorate(fun)


remat = checkpoint


def _joined(treedef: Any, leaves: list[Any], static: Any) -> tuple[Any, Any]:
    args, kwargs = tree_util.tree_unflatten(treedef, leaves)
    return Arguments.join(args, kwargs, static)
