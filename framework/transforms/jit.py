"""`jit` and `cls_jit`: compile functions that may read and write Variables."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from framework.transforms.deprecated import warn_declared_state
from framework.transforms.jitted import Jit

__all__ = ["cls_jit", "jit"]


def jit(
    f: Callable[..., Any] | None = None,
    static_argnums: int | Sequence[int] | None = None,
    static_argnames: str | Iterable[str] | None = None,
    donate_argnums: int | Sequence[int] | None = None,
    donate_argnames: str | Iterable[str] | None = None,
    inline: bool = False,
    keep_unused: bool = False,
    *,
    max_traces: int | None = None,
    pack_state: bool = False,
    dyn_vars: Any = None,
    child_objs: Any = None,
) -> Any:
    """Compile a function that may read and write Variables.

    Objects reached through the closure, globals, ``self`` or arguments are found by tracing and
    changed in place. A change of structure, of a static attribute or of a plain array of theirs
    leads to a new trace; new values of Variables never do.

    Args:
        f: A function, bound method, partial or callable object. Without it, a decorator is
            returned. As a decorator of a method, indices count without ``self``.
        static_argnums: Positions of arguments that are Python values, traced anew when they change.
        static_argnames: Names of such arguments.
        donate_argnums: Positions of arguments whose buffers may be reused.
        donate_argnames: Names of such arguments.
        inline: Whether to inline the function into an outer jitted one.
        keep_unused: Whether to keep arguments that the function does not use.
        max_traces: How many traces are allowed; None for any number.
        pack_state: Whether small arrays of state stand together in larger ones between calls. A
            step with hundreds of them takes half to two thirds of the time then; compiling takes
            up to three times as long, and a look at the state or a write to it from outside takes
            it apart.
        dyn_vars: Ignored; state is found by itself.
        child_objs: Ignored; state is found by itself.

    Returns:
        The compiled function.

    Raises:
        ValueError: An argument number is no int.
        TraceError: At a call, if it needs more traces than allowed; says why.

    >>> import jax.numpy as jnp
    >>> from framework.nodes.variable import Variable
    >>> counter = Variable(jnp.zeros((), jnp.int32))
    >>> @jit
    ... def step(x):
    ...     counter.value += 1
    ...     return x * counter
    >>> step(10.0), step(10.0)
    (Array(10., dtype=float32...), Array(20., dtype=float32...))
    """
    warn_declared_state(dyn_vars=dyn_vars, child_objs=child_objs)

    def decorate(fun: Callable[..., Any]) -> Jit:
        if not callable(fun):
            raise TypeError(f"jit takes a callable, but got a {type(fun).__name__}.")
        return Jit(
            fun,
            {"inline": inline, "keep_unused": keep_unused},
            max_traces,
            pack_state=pack_state,
            static_argnums=static_argnums,
            static_argnames=static_argnames,
            donate_argnums=donate_argnums,
            donate_argnames=donate_argnames,
        )

    return decorate if f is None else decorate(f)


def cls_jit(
    func: Callable[..., Any] | None = None,
    static_argnums: int | Sequence[int] | None = None,
    static_argnames: str | Iterable[str] | None = None,
    inline: bool = False,
    keep_unused: bool = False,
    **options: Any,
) -> Any:
    """Compile a method, as a decorator in a class body. Positions count without ``self``.

    Args:
        func: The method. Without it, a decorator is returned.
        static_argnums: See :func:`jit`.
        static_argnames: See :func:`jit`.
        inline: See :func:`jit`.
        keep_unused: See :func:`jit`.
        **options: Further options of :func:`jit`.

    Raises:
        ValueError: An argument number is no int.

    >>> import jax.numpy as jnp
    >>> from framework.nodes.base import BrainPyObject
    >>> from framework.nodes.variable import Variable
    >>> class Counter(BrainPyObject):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.n = Variable(jnp.zeros((), jnp.int32))
    ...
    ...     @cls_jit(static_argnums=0)
    ...     def add(self, n):
    ...         self.n += n
    >>> counter = Counter()
    >>> counter.add(3)
    >>> print(counter.n.value)
    3
    """
    return jit(
        func, static_argnums, static_argnames, inline=inline, keep_unused=keep_unused, **options
    )  # type: ignore[call-overload]
