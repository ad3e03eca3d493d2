"""`jit`: compiled stateful functions at the cost of plain `jax.jit`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from types import MethodType
from typing import Any, overload
from weakref import WeakKeyDictionary, ref

import jax
import numpy as np
from jax import tree_util

from framework.nodes.frames import Frame, is_tracer, local
from framework.nodes.structure import weak
from framework.nodes.variable import Variable
from framework.transforms.arguments import Arguments
from framework.transforms.deprecated import warn_declared_state
from framework.transforms.donation import gather_for_donation
from framework.transforms.functionalize import Output, flatten_by_reference, functionalize
from framework.transforms.guard import Guard
from framework.transforms.roots import roots_of

__all__ = ["Jit", "jit"]

# Traces kept for one structure of arguments, the last used first: one for training and one for
# evaluation, say. A static attribute that takes ever new values does not fill the memory.
MAX_VARIANTS = 32


_array_types: set[type] = set()
"""Types of arrays as met among arguments; a test for them by `isinstance` is slow."""


class _StateGrew(Exception):
    """A trace met Variables that the compiled function does not get or give back yet."""

    def __init__(self, reads: list[Variable], writes: list[Variable]) -> None:
        super().__init__()
        self.reads = reads
        self.writes = writes


class _Program:
    """A compiled function for fixed lists of Variables that it writes and only reads.

    It refers to Variables weakly, so it keeps no model alive.
    """

    __slots__ = ("__weakref__", "alive", "call", "call_keeping", "read", "written")

    def __init__(
        self,
        trace: Callable[..., Any],
        written: list[Variable],
        read: list[Variable],
        options: dict[str, Any],
        donate_arguments: bool,
    ) -> None:
        self.alive = True
        program = ref(self)

        def on_death(_: Any) -> None:
            if (found := program()) is not None:
                found.alive = False

        self.written = [ref(variable, on_death) for variable in written]
        self.read = [ref(variable, on_death) for variable in read]
        pure = functools.partial(_pure, trace, self.written, self.read)
        pure.__name__ = getattr(trace, "__name__", "jit")  # type: ignore[attr-defined]
        self.call = jax.jit(pure, donate_argnums=(0, 2) if donate_arguments else (0,), **options)
        # For debugging modes that run the function again after it failed.
        self.call_keeping = jax.jit(pure, **options)

    def variables(self) -> tuple[list[Variable], list[Variable]]:
        """The Variables that it writes, and those that it only reads."""
        return [v() for v in self.written], [v() for v in self.read]  # pyright: ignore


def _pure(
    trace: Callable[[dict[Variable, Any], list[Any], list[Any]], tuple[Any, Frame]],
    written: list[ref[Variable]],
    read: list[ref[Variable]],
    written_values: list[Any],
    read_values: list[Any],
    donated: list[Any],
    kept: list[Any],
) -> tuple[Output, list[Any]]:
    """What JAX traces: state and arguments in, result and new state out."""
    variables = [v() for v in (*written, *read)]
    known = dict(zip(variables, (*written_values, *read_values), strict=True))
    out, frame = trace(known, donated, kept)  # type: ignore[arg-type]
    targets = dict.fromkeys(variables[: len(written)])
    writes = [v for v in frame.writes if v not in targets]
    if frame.reads or writes:
        raise _StateGrew(list(frame.reads), writes)
    return Output(out, frame), [frame.values[v] for v in targets]


class _Variant:
    """The trace of a function for one state of the objects that it uses."""

    def __init__(self, owner: _Entry, roots: dict[str, Any], bindings: Any) -> None:
        self.owner = owner
        self.roots, self.bindings = roots, bindings
        self.guard: Guard | None = None
        self.program = owner.program([], [])

    def is_dead(self) -> bool:
        return not self.program.alive or (self.guard is not None and self.guard.is_dead())

    def is_right(self) -> bool:
        """Tell whether a new trace would give the same."""
        return self.program.alive and self.guard is not None and self.guard.holds()

    def run(
        self, donated: list[Any], kept: list[Any], gather: Callable[..., list[Any]], donate: bool
    ) -> tuple[list[Variable], Any, list[Any]]:
        """Call the program, traced again until it has all the state that it needs.

        Returns:
            The Variables that it writes, the result, and their new values.
        """
        while True:
            program = self.program
            written: list[Any] = [v() for v in program.written]
            state = gather(written)
            seen = [v().value for v in program.read]  # pyright: ignore
            try:
                call = program.call if donate else program.call_keeping
                out, new = call(state, seen, donated, kept)
            except _StateGrew as grew:
                self.grow(grew)
                continue
            if self.guard is None:
                self.settle()
            return written, out, new

    def grow(self, grew: _StateGrew) -> None:
        written, read = self.program.variables()
        written += grew.writes
        targets = set(written)
        read = [v for v in (*read, *grew.reads) if v not in targets]
        self.program = self.owner.program(written, read)

    def settle(self) -> None:
        """Note what the trace took for granted, as it is now that the trace is done."""
        if self.guard is None:
            self.guard = Guard(self.roots, self.bindings)
            # Only the guard, which is weak, may hold the objects from now on.
            self.roots, self.bindings = {}, []


class _Entry:
    """All traces of a function for one structure of its arguments."""

    def __init__(self, jitted: Jit, treedef: Any, static: Any, donated: list[bool], bound: Any) -> None:
        self.jitted = ref(jitted)
        self.treedef, self.static, self.donated = treedef, static, donated
        self.bound = None if bound is None else weak(bound)
        self.variants: list[_Variant] = []

    def program(self, written: list[Variable], read: list[Variable]) -> _Program:
        jitted: Any = self.jitted()
        return _Program(self.trace, written, read, jitted.options, any(self.donated))

    def trace(self, known: Any, donated: list[Any], kept: list[Any]) -> tuple[Any, Frame]:
        jitted: Any = self.jitted()
        jitted.traces += 1
        if any(self.donated):
            take = {True: iter(donated), False: iter(kept)}
            leaves = [next(take[is_donated]) for is_donated in self.donated]
        else:
            leaves = kept
        args, kwargs = tree_util.tree_unflatten(self.treedef, leaves)
        args, kwargs = Arguments.join(args, kwargs, self.static)
        fun = jitted.fun if self.bound is None else MethodType(jitted.fun, self.bound())
        return functionalize(fun, known, args, kwargs)

    def split(self, leaves: list[Any]) -> tuple[list[Any], list[Any]]:
        """The leaves whose buffers may be reused, and the others."""
        pairs = list(zip(leaves, self.donated, strict=True))
        return [x for x, mark in pairs if mark], [x for x, mark in pairs if not mark]

    def variant(self, args: Any) -> _Variant:
        """The variant whose trace is right as things are, else a new one."""
        for index, variant in enumerate(self.variants):
            if variant.is_right():
                if index:
                    self.variants.insert(0, self.variants.pop(index))
                return variant
        jitted: Any = self.jitted()
        fun = jitted.fun if self.bound is None else MethodType(jitted.fun, self.bound())
        # A partial makes the search go through the arguments, too.
        roots, bindings = roots_of(functools.partial(fun, *args[0], **args[1]))
        variant = _Variant(self, roots, bindings)
        alive = [v for v in self.variants if v.guard is not None and not v.is_dead()]
        self.variants = [variant, *alive[: MAX_VARIANTS - 1]]
        return variant

    def is_dead(self) -> bool:
        return (self.bound is not None and self.bound() is None) or (
            bool(self.variants) and all(v.is_dead() for v in self.variants)
        )


class Jit:
    """A compiled function. Made by :func:`jit`.

    Attributes:
        traces: How many times the function was traced so far.
    """

    def __init__(
        self, fun: Callable[..., Any], arguments: Arguments, options: dict[str, Any]
    ) -> None:
        self.fun = fun
        self.arguments = arguments
        self.options = options
        self.traces = 0
        self._entries: dict[Any, _Entry] = {}
        self._bound: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()
        functools.update_wrapper(self, fun, updated=())

    def __get__(self, obj: Any, owner: type | None = None) -> Any:
        return self if obj is None else _BoundJit(self, obj)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._call(None, args, kwargs)

    def _call(self, bound: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        config = jax.config
        if config.jax_disable_jit:
            return self._run_eagerly(bound, args, kwargs)
        entry, leaves = self._entry(bound, args, kwargs)
        donated: list[Any] = []
        if self.arguments.has_donated:
            donated, leaves = entry.split(leaves)
        variant = entry.variants[0] if entry.variants else None
        if variant is None or not variant.is_right():
            variant = entry.variant((args, kwargs))
        if local.frame is not None or config.jax_debug_nans or config.jax_debug_infs:
            written, out, new = variant.run(donated, leaves, _gather, donate=False)
        else:
            written, out, new = variant.run(donated, leaves, gather_for_donation, donate=True)
        if local.frame is None and not (new and is_tracer(new[0])):
            for variable, value in zip(written, new):  # noqa: B905
                variable._value = value
        else:
            for variable, value in zip(written, new, strict=True):
                variable._store(value)
        return out

    def _entry(self, bound: Any, args: Any, kwargs: Any) -> tuple[_Entry, list[Any]]:
        static = self.arguments.has_static
        if not (static or kwargs) and bound is None and _array_types.issuperset(map(type, args)):
            # Plain arrays need no flattening, and their number is all there is to know of them.
            entry = self._entries.get(len(args))
            if entry is not None:
                return entry, list(args)
            entry = self._entries[len(args)] = self._flattened(bound, args, kwargs)[0]
            return entry, list(args)
        return self._flattened(bound, args, kwargs)

    def _flattened(self, bound: Any, args: Any, kwargs: Any) -> tuple[_Entry, list[Any]]:
        static: Any = ()
        if self.arguments.has_static:
            args, kwargs, static = self.arguments.split(args, kwargs)
        else:
            _array_types.update(type(x) for x in args if isinstance(x, (jax.Array, np.ndarray)))
        leaves, treedef = flatten_by_reference((args, kwargs))
        key = treedef if not static and bound is None else (treedef, static, id(bound))
        entry = self._entries.get(key)
        if entry is None or (bound is not None and entry.bound() is not bound):  # type: ignore[misc]
            marks: list[bool] = []
            if self.arguments.has_donated:
                marks = self.arguments.donated_leaves(args, kwargs, static)
            self._entries = {k: e for k, e in self._entries.items() if not e.is_dead()}
            entry = self._entries[key] = _Entry(self, treedef, static, marks, bound)
        return entry, leaves

    def _run_eagerly(self, bound: Any, args: Any, kwargs: Any) -> Any:
        fun = self.fun if bound is None else MethodType(self.fun, bound)
        out, frame = functionalize(fun, {}, args, kwargs)
        frame.commit()
        return out

    def __repr__(self) -> str:
        return f"jit({getattr(self.fun, '__qualname__', self.fun)!s}, traces={self.traces})"


def _gather(variables: list[Variable]) -> list[Any]:
    return [variable.value for variable in variables]


class _BoundJit:
    """A jitted method of an object."""

    __slots__ = ("__self__", "jitted")

    def __init__(self, jitted: Jit, obj: Any) -> None:
        self.jitted = jitted
        self.__self__ = obj

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.jitted._call(self.__self__, args, kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.jitted, name)

    def __repr__(self) -> str:
        return f"<{self.jitted!r} bound to a {type(self.__self__).__name__}>"


@overload
def jit(f: Callable[..., Any], **options: Any) -> Jit: ...
@overload
def jit(f: None = None, **options: Any) -> Callable[[Callable[..., Any]], Jit]: ...
def jit(
    f: Callable[..., Any] | None = None,
    static_argnums: int | Sequence[int] | None = None,
    static_argnames: str | Iterable[str] | None = None,
    donate_argnums: int | Sequence[int] | None = None,
    donate_argnames: str | Iterable[str] | None = None,
    inline: bool = False,
    keep_unused: bool = False,
    *,
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
        dyn_vars: Ignored; state is found by itself.
        child_objs: Ignored; state is found by itself.

    Returns:
        The compiled function.

    >>> counter = Variable(jnp.zeros((), jnp.int32))
    >>> @jit
    ... def step(x):
    ...     counter.value += 1
    ...     return x * counter
    >>> step(10.0), step(10.0)
    (Array(10., dtype=float32...), Array(20., dtype=float32...))
    """
    warn_declared_state(dyn_vars=dyn_vars, child_objs=child_objs)
    options = {"inline": inline, "keep_unused": keep_unused}

    def decorate(fun: Callable[..., Any]) -> Jit:
        if not callable(fun):
            raise TypeError(f"jit takes a callable, but got a {type(fun).__name__}.")
        arguments = Arguments(
            fun, static_argnums, static_argnames, donate_argnums, donate_argnames
        )
        return Jit(fun, arguments, options)

    return decorate if f is None else decorate(f)
