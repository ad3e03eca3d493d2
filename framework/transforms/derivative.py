"""The common part of all derivatives: targets in, derivatives in their image out, state kept."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from framework.nodes.frames import store_all
from framework.nodes.variable import Variable
from framework.transforms.body import arrays_in
from framework.transforms.functionalize import Output, functionalize
from framework.transforms.targets import Targets

__all__ = ["Derivative", "Place", "Pure"]

Pure = Callable[[list[Any], list[Any]], tuple[Any, Any]]
"""Values of Variables and arrays in; value and all the rest out."""

Place = Callable[[list[Any], list[Any]], Any]
"""Puts one result for each Variable, and one for each array, where the caller expects them."""


class Derivative:
    """A function that computes derivatives of another. Made by :func:`grad` and the like.

    Args:
        fun: The function to differentiate.
        differentiate: Takes a pure function, the values of its targets, and how to place results;
            returns the placed derivatives and the rest.
        grad_vars: Variables, objects, and lists, tuples and dicts of them.
        argnums: Positions of arguments.
        has_aux: Whether the function returns a pair of its value and anything else.
        return_value: Whether to return the value, too.
        allow_int: Whether integer Variables may be targets.
    """

    def __init__(
        self,
        fun: Callable[..., Any],
        differentiate: Callable[[Pure, list[Any], list[Any], Place], tuple[Any, Any]],
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
        """Compute the derivatives, and whatever else was asked for."""
        positions = self._positions(len(args))
        targets = Targets(self.grad_vars, [args[i] for i in positions], self.allow_int)
        written: list[Variable] = []

        def pure(values: list[Any], arrays: list[Any]) -> tuple[Any, Any]:
            full = list(args)
            for position, argument in zip(positions, targets.arguments(arrays), strict=True):
                full[position] = argument
            known = dict(zip(targets.variables, values, strict=True))
            # Variables in the result are read while the frame is active.
            (value, aux), frame = functionalize(self._split_output, known, full, kwargs)
            written[:] = frame.writes
            return value, (Output(aux, frame.serial), value, [frame.values[v] for v in written])

        def place(of_variables: list[Any], of_arrays: list[Any]) -> Any:
            return self._placed(*targets.image(of_variables, of_arrays))

        values = [variable.value for variable in targets.variables]
        grads, (aux, value, new) = self.differentiate(pure, values, targets.arrays, place)
        store_all(written, new)
        result = (grads,)
        if self.return_value:
            result += (value,)
        if self.has_aux:
            result += (aux,)
        return result if len(result) > 1 else grads

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

    def _split_output(self, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        out = self.fun(*args, **kwargs)
        if self.has_aux:
            if not isinstance(out, tuple) or len(out) != 2:
                raise TypeError(
                    "With has_aux=True the function must return a pair (value, aux), but it "
                    f"returned a {type(out).__name__}."
                )
            return arrays_in(out[0]), out[1]
        return arrays_in(out), None

    def _placed(self, of_grad_vars: Any, of_arguments: Any) -> Any:
        if isinstance(self.argnums, int):
            of_arguments = of_arguments[0]
        elif self.argnums is not None:
            of_arguments = tuple(of_arguments)
        if self.grad_vars is None:
            return of_arguments
        return of_grad_vars if self.argnums is None else (of_grad_vars, of_arguments)
