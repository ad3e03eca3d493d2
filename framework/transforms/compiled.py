"""Loops outside of `jit`: each is compiled once for its functions, which it does not keep alive."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import ref

from framework.transforms.jit import Jit
from framework.transforms.roots import WeakCall

__all__ = ["compiled"]

_jits: dict[Any, tuple[Jit, list[Any]]] = {}


class _Call:
    """Runs a construct over functions that it refers to weakly."""

    def __init__(self, run: Callable[..., Any], funs: tuple[WeakCall, ...], options: Any) -> None:
        self.run = run
        self.funs = funs
        self.options = options
        self.__name__ = funs[0].name

    def __call__(self, operands: Any) -> Any:
        return self.run(tuple(fun.get() for fun in self.funs), operands, *self.options)


def compiled(
    run: Callable[..., Any], funs: tuple[Callable[..., Any], ...], operands: Any, *options: Any
) -> Any:
    """Run a construct compiled, from a cache that forgets functions and objects when they die.

    Args:
        run: Takes the functions, the operands and the options.
        funs: The user's functions; bound methods of one object are one function.
        operands: Any arguments.
        *options: Hashable.
    """
    calls = tuple(map(WeakCall, funs))
    key = (run, calls, options)
    found = _jits.get(key)
    if found is None:
        jitted = Jit(_Call(run, calls, options), watch_values=True)

        def forget(_: Any) -> None:
            _jits.pop(key, None)

        found = _jits[key] = (jitted, [ref(x, forget) for call in calls for x in call.parts()])
    return found[0](operands)
