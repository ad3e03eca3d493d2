"""Loops outside of `jit`: each is compiled once for its functions, which it does not keep alive."""

from __future__ import annotations

import functools
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any
from weakref import ref

from framework.transforms.jitted import Jit
from framework.transforms.roots import WeakCall, parts_of

__all__ = ["compiled", "compiled_in_parts"]

_jits: dict[Any, tuple[Jit, list[Any]]] = {}


def _run(run: Callable[..., Any], options: Any, count: int, *calls_and_operands: Any) -> Any:
    calls, operands = calls_and_operands[:count], calls_and_operands[count:]
    return run(tuple(call.get() for call in calls), operands, *options)


def compiled(
    run: Callable[..., Any],
    funs: tuple[Callable[..., Any], ...],
    operands: tuple[Any, ...],
    *options: Any,
) -> Any:
    """Run a construct compiled, from a cache that forgets functions and objects when they die.

    Args:
        run: Takes the functions, the operands and the options.
        funs: The user's functions; bound methods of one object are one function.
        operands: Any arguments.
        *options: Hashable.
    """
    return _jit_of(run, funs, options)(*operands)


@contextmanager
def compiled_in_parts(
    run: Callable[..., Any],
    funs: tuple[Callable[..., Any], ...],
    operands: Any,
    donated: Any,
    *options: Any,
) -> Generator[Callable[[Any, Any], Any]]:
    """Run a construct by several calls that are one to others: an error undoes them all.

    Args:
        run: Takes the functions, a pair of the operands and of those whose buffers it may reuse,
            and the options.
        funs: The user's functions; bound methods of one object are one function.
        operands: Like those of the calls.
        donated: Like those of the calls.
        *options: Hashable.

    Returns:
        What to call with both sorts of operands.
    """
    written, call = _jit_of(run, funs, options, donate_argnums=1).settled(operands, donated)
    before = [(variable, variable.value) for variable in written]
    try:
        yield call
    except BaseException:
        for variable, value in before:
            variable._store(value)
        raise


def _jit_of(run: Any, funs: tuple[Any, ...], options: Any, **jit_options: Any) -> Jit:
    parts = [parts_of(fun) for fun in funs]
    # An entry goes before what its key is made of, so no other object can come to have that id.
    key = (run, options, *[tuple(map(id, of_one)) for of_one in parts])
    found = _jits.get(key)
    if found is None:
        fun = functools.partial(_run, run, options, len(funs), *map(WeakCall, funs))
        jitted = Jit(fun, watch_values=True, **jit_options)

        def forget(_: Any) -> None:
            _jits.pop(key, None)

        found = _jits[key] = (jitted, [ref(x, forget) for of_one in parts for x in of_one])
    return found[0]
