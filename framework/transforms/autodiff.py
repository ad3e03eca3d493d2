"""Derivatives of stateful functions: `grad`, `vector_grad`, Jacobians, Hessians."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import tree_util

from framework.transforms.derivative import Derivative, Place, Pure

__all__ = ["grad", "hessian", "jacfwd", "jacobian", "jacrev", "vector_grad"]


def grad(
    func: Callable[..., Any] | None = None,
    grad_vars: Any = None,
    argnums: int | Sequence[int] | None = None,
    holomorphic: bool = False,
    allow_int: bool = False,
    has_aux: bool | None = None,
    return_value: bool = False,
) -> Any:
    """Differentiate a scalar function that may read and write Variables.

    Args:
        func: Returns a scalar; with ``has_aux`` a pair of a scalar and anything else. Without it,
            a decorator is returned.
        grad_vars: Variables, objects, and lists, tuples and dicts of them.
        argnums: Positions of arguments: arrays, trees of arrays, or objects. 0 if there are no
            ``grad_vars`` either.
        holomorphic: Whether the function is holomorphic.
        allow_int: Whether integer targets are allowed; their gradients are of dtype float0.
        has_aux: Whether the function returns something beside the value.
        return_value: Whether to return the value, too.

    Returns:
        A function that returns the gradients in the shape of ``grad_vars``, or of the arguments,
        or a pair of both; followed by the value and by what comes beside it, if asked for.

    Raises:
        TypeError: At a call, if the function does not return a scalar.

    >>> from framework.nodes.variable import Variable
    >>> w = Variable(jnp.array([1.0, 2.0]))
    >>> grad(lambda x: jnp.sum(w * x), w)(3.0)
    Array([3., 3.], dtype=float32)
    """

    def differentiate(pure: Pure, values: list[Any], arrays: list[Any], place: Place) -> Any:
        def checked(*targets: Any) -> tuple[Any, Any]:
            value, rest = pure(*targets)
            if isinstance(value, (tuple, list, dict)):
                raise TypeError(
                    f"grad needs a function that returns a scalar, but it returned a "
                    f"{type(value).__name__}. If the rest is not to be differentiated, return "
                    "(value, rest) and pass has_aux=True."
                )
            return value, rest

        differentiated = jax.value_and_grad(
            checked, (0, 1), has_aux=True, holomorphic=holomorphic, allow_int=allow_int
        )
        (_, rest), grads = differentiated(values, arrays)
        return place(*grads), rest

    return _derivative(func, differentiate, grad_vars, argnums, has_aux, return_value, allow_int)


def vector_grad(
    func: Callable[..., Any] | None = None,
    grad_vars: Any = None,
    argnums: int | Sequence[int] | None = None,
    return_value: bool = False,
    has_aux: bool | None = None,
) -> Any:
    """Differentiate the sum of all outputs: the vector-Jacobian product with ones.

    Args:
        func: Returns an array, or a tree of arrays.
        grad_vars: See :func:`grad`.
        argnums: See :func:`grad`.
        return_value: See :func:`grad`.
        has_aux: See :func:`grad`.

    Returns:
        A function that returns what one of :func:`grad` does.

    >>> vector_grad(lambda x: x**2)(jnp.array([1.0, 2.0]))
    Array([2., 4.], dtype=float32)
    """

    def differentiate(pure: Pure, values: list[Any], arrays: list[Any], place: Place) -> Any:
        value, pullback, rest = jax.vjp(pure, values, arrays, has_aux=True)
        return place(*pullback(tree_util.tree_map(_one, value))), rest

    return _derivative(func, differentiate, grad_vars, argnums, has_aux, return_value)


def jacrev(
    func: Callable[..., Any] | None = None,
    grad_vars: Any = None,
    argnums: int | Sequence[int] | None = None,
    return_value: bool = False,
    has_aux: bool | None = None,
    holomorphic: bool = False,
    allow_int: bool = False,
) -> Any:
    """Compute the Jacobian in reverse mode, one output at a time.

    Args:
        func: Returns an array, or a tree of arrays.
        grad_vars: See :func:`grad`.
        argnums: See :func:`grad`.
        return_value: See :func:`grad`.
        has_aux: See :func:`grad`.
        holomorphic: See :func:`grad`.
        allow_int: See :func:`grad`.

    Returns:
        A function that returns, in the place of each array of the output, the derivatives as
        :func:`grad` returns them, each of shape ``(*output.shape, *target.shape)``.

    >>> jacrev(lambda x: x**2)(jnp.array([1.0, 2.0]))
    Array([[2., 0.],
           [0., 4.]], dtype=float32)
    """
    transform = functools.partial(jax.jacrev, holomorphic=holomorphic, allow_int=allow_int)
    differentiate = _jacobian_of(transform, _rows)
    return _derivative(func, differentiate, grad_vars, argnums, has_aux, return_value, allow_int)


def jacfwd(
    func: Callable[..., Any] | None = None,
    grad_vars: Any = None,
    argnums: int | Sequence[int] | None = None,
    return_value: bool = False,
    has_aux: bool | None = None,
    holomorphic: bool = False,
) -> Any:
    """Compute the Jacobian in forward mode, one input at a time.

    Args:
        func: Returns an array, or a tree of arrays.
        grad_vars: See :func:`grad`.
        argnums: See :func:`grad`.
        return_value: See :func:`grad`.
        has_aux: See :func:`grad`.
        holomorphic: See :func:`grad`.

    Returns:
        A function that returns what one of :func:`jacrev` does.

    >>> jacfwd(lambda x: x**2)(jnp.array([1.0, 2.0]))
    Array([[2., 0.],
           [0., 4.]], dtype=float32)
    """
    differentiate = _jacobian_of(functools.partial(jax.jacfwd, holomorphic=holomorphic), _rows)
    return _derivative(func, differentiate, grad_vars, argnums, has_aux, return_value)


jacobian = jacrev


def hessian(
    func: Callable[..., Any] | None = None,
    grad_vars: Any = None,
    argnums: int | Sequence[int] | None = None,
    return_value: bool = False,
    has_aux: bool | None = None,
    holomorphic: bool = False,
) -> Any:
    """Compute the second derivatives.

    Args:
        func: Returns an array, or a tree of arrays.
        grad_vars: See :func:`grad`.
        argnums: See :func:`grad`.
        return_value: See :func:`grad`.
        has_aux: See :func:`grad`.
        holomorphic: See :func:`grad`.

    Returns:
        A function that returns, in the place of each target, derivatives with respect to all
        targets, each of shape ``(*output.shape, *target.shape, *other_target.shape)``.

    >>> hessian(lambda x: jnp.sum(x**3))(jnp.array([1.0, 2.0]))
    Array([[ 6.,  0.],
           [ 0., 12.]], dtype=float32)
    """
    differentiate = _jacobian_of(functools.partial(jax.hessian, holomorphic=holomorphic), _blocks)
    return _derivative(func, differentiate, grad_vars, argnums, has_aux, return_value)


def _derivative(
    func: Callable[..., Any] | None,
    differentiate: Any,
    grad_vars: Any,
    argnums: int | Sequence[int] | None,
    has_aux: bool | None,
    return_value: bool,
    allow_int: bool = False,
) -> Any:
    def decorate(fun: Callable[..., Any]) -> Derivative:
        return Derivative(
            fun, differentiate, grad_vars, argnums, bool(has_aux), return_value, allow_int
        )

    return decorate if func is None else decorate(func)


def _jacobian_of(transform: Callable[..., Any], placed: Callable[[Place, Any], Any]) -> Any:
    """How to differentiate by one of JAX's transforms, which see the output as a list."""

    def differentiate(pure: Pure, values: list[Any], arrays: list[Any], place: Place) -> Any:
        structure: list[Any] = []

        def flat(*targets: Any) -> tuple[list[Any], Any]:
            value, rest = pure(*targets)
            leaves, treedef = tree_util.tree_flatten(value)
            structure[:] = [treedef]
            return leaves, rest

        derivatives, rest = transform(flat, argnums=(0, 1), has_aux=True)(values, arrays)
        images = [placed(place, derivative) for derivative in derivatives]
        return tree_util.tree_unflatten(structure[0], images), rest

    return differentiate


def _rows(place: Place, derivative: Any) -> Any:
    return place(*derivative)


def _blocks(place: Place, derivative: Any) -> Any:
    of_variables, of_arrays = derivative
    return place([place(*row) for row in of_variables], [place(*row) for row in of_arrays])


def _one(value: Any) -> Any:
    if jnp.issubdtype(jnp.result_type(value), jnp.inexact):
        return jnp.ones_like(value)
    return np.zeros(np.shape(value), jax.dtypes.float0)
