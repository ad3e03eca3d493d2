"""Loops outside of `jit`: each is compiled once for its functions, which it does not keep alive."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any
from weakref import ref

from framework.transforms.jit import Jit
from framework.transforms.roots import WeakCall

__all__ = ["compiled"]

_jits: dict[Any, tuple[Jit, list[Any]]] = {}


def _run(run: Callable[..., Any], options: Any, *calls_and_operands: Any) -> Any:
    *calls, operands = calls_and_operands
    return run(tuple(call.get() for call in calls), operands, *options)


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
        jitted = Jit(functools.partial(_run, run, options, *calls), watch_values=True)

        def forget(_: Any) -> None:
            _jits.pop(key, None)

        found = _jits[key] = (jitted, [ref(x, forget) for call in calls for x in call.parts()])
    return found[0](operands)
