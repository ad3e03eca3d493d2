"""`grad`: derivatives of stateful functions."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax

from framework.nodes.array import raw
from framework.nodes.variable import Variable
from framework.transforms.functionalize import Output, functionalize
from framework.transforms.targets import Targets

__all__ = ["Derivative", "grad"]

Pure = Callable[[list[Any], list[Any]], tuple[Any, Any]]
"""Values of Variables and arrays in; value and all the rest out."""


class Derivative:
    """A function that computes derivatives of another. Made by :func:`grad` and the like.

    Args:
        fun: The function to differentiate.
        differentiate: Takes a pure function and the values of its targets; returns their
            derivatives, the value and the rest.
        grad_vars: Variables, objects, and lists, tuples and dicts of them.
        argnums: Positions of arguments.
        has_aux: Whether the function returns a pair of its value and anything else.
        return_value: Whether to return the value, too.
        allow_int: Whether integer Variables may be targets.
    """

    def __init__(
        self,
        fun: Callable[..., Any],
        differentiate: Callable[[Pure, list[Any], list[Any]], tuple[Any, Any, Any]],
        grad_vars: Any,
        argnums: int | Sequence[int] | None,
        has_aux: bool,
        return_value: bool,
        allow_int: bool = False,
    ) -> None:
        self.fun = fun
        self.differentiate = differentiate
        self.grad_vars = grad_vars
        self.argnums = 0 if argnums is None and grad_vars is None else argnums
        self.has_aux = has_aux
        self.return_value = return_value
        self.allow_int = allow_int
        functools.update_wrapper(self, fun, updated=())

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        positions = self._positions(len(args))
        targets = Targets(self.grad_vars, [args[i] for i in positions], self.allow_int)
        written: list[Variable] = []

        def pure(values: list[Any], arrays: list[Any]) -> tuple[Any, Any]:
            full = list(args)
            for position, argument in zip(positions, targets.arguments(arrays), strict=True):
                full[position] = argument
            known = dict(zip(targets.variables, values, strict=True))
            out, frame = functionalize(self.fun, known, full, kwargs)
            value, aux = self._split(out)
            written[:] = frame.writes
            return value, (Output(aux, frame.serial), value, [frame.values[v] for v in written])

        values = [variable.value for variable in targets.variables]
        of_variables, of_arrays, rest = self.differentiate(pure, values, targets.arrays)
        aux, value, new = rest
        for variable, result in zip(written, new, strict=True):
            variable._store(result)
        return self._arranged(targets.image(of_variables, of_arrays), value, aux)

    def _positions(self, count: int) -> list[int]:
        if self.argnums is None:
            return []
        numbers = (self.argnums,) if isinstance(self.argnums, int) else tuple(self.argnums)
        for number in numbers:
            if not -count <= number < count:
                raise ValueError(
                    f"argnums={self.argnums} asks for argument {number}, but "
                    f"{getattr(self.fun, '__name__', 'the function')} got {count}."
                )
        return [number % count for number in numbers]

    def _split(self, out: Any) -> tuple[Any, Any]:
        if self.has_aux:
            if not isinstance(out, tuple) or len(out) != 2:
                raise TypeError(
                    "With has_aux=True the function must return a pair (value, aux), but it "
                    f"returned a {type(out).__name__}."
                )
            return raw(out[0]), out[1]
        return raw(out), None

    def _arranged(self, images: tuple[Any, Any], value: Any, aux: Any) -> Any:
        of_grad_vars, of_arguments = images
        if isinstance(self.argnums, int):
            of_arguments = of_arguments[0]
        elif self.argnums is not None:
            of_arguments = tuple(of_arguments)
        if self.grad_vars is None:
            grads = of_arguments
        else:
            grads = of_grad_vars if self.argnums is None else (of_grad_vars, of_arguments)
        result = (grads,)
        if self.return_value:
            result += (value,)
        if self.has_aux:
            result += (aux,)
        return result if len(result) > 1 else grads


def grad(
    func: Callable[..., Any],
    grad_vars: Any = None,
    argnums: int | Sequence[int] | None = None,
    holomorphic: bool = False,
    allow_int: bool = False,
    has_aux: bool | None = None,
    return_value: bool = False,
) -> Derivative:
    """Differentiate a scalar function that may read and write Variables.

    Args:
        func: Returns a scalar; with ``has_aux`` a pair of a scalar and anything else.
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
        TypeError: The function does not return a scalar.

    >>> w = Variable(jnp.array([1.0, 2.0]))
    >>> grad(lambda x: jnp.sum(w * x), w)(3.0)
    Array([3., 3.], dtype=float32)
    """

    def differentiate(pure: Pure, values: list[Any], arrays: list[Any]) -> tuple[Any, Any, Any]:
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
        (_, rest), (of_values, of_arrays) = differentiated(values, arrays)
        return of_values, of_arrays, rest

    return Derivative(
        func, differentiate, grad_vars, argnums, bool(has_aux), return_value, allow_int
    )
