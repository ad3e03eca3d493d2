"""Compiled functions: which trace fits a call, and running it at the cost of plain `jax.jit`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import MethodType
from typing import Any, NamedTuple

import jax
import numpy as np

from framework.nodes.bound import Bound
from framework.nodes.frames import local, outside_of_traces, store_all
from framework.nodes.functions import portable
from framework.nodes.kinds import KIND_OF_TYPE, Kind
from framework.nodes.variable import Variable
from framework.transforms.arguments import Arguments
from framework.transforms.discovery import StateGrew
from framework.transforms.functionalize import flatten_by_reference, run_as_one
from framework.transforms.situation import Journal
from framework.transforms.variants import Entry, Variant

__all__ = ["BoundJit", "Jit"]

_array_types: set[type] = set()
"""Types of arrays as met among arguments; a test for them by `isinstance` is slow."""


class Recipe(NamedTuple):
    """How a method is compiled, for whatever object."""

    function: Any
    options: tuple[tuple[str, Any], ...]
    max_traces: int | None
    watch_values: bool
    pack_state: bool
    arguments: tuple[tuple[str, Any], ...]

    def __get__(self, obj: Any, owner: type | None = None) -> Jit:
        return self.of(MethodType(self.function, obj))

    def of(self, fun: Callable[..., Any]) -> Jit:
        """Compile another function in the same way."""
        options, arguments = dict(self.options), dict(self.arguments)
        flags = self.max_traces, self.watch_values, self.pack_state
        return Jit(fun, options, *flags, **arguments)


class Jit(Bound):
    """A compiled function. Made by `jit`.

    Args:
        fun: The function.
        options: Options of `jax.jit`.
        max_traces: How many traces are allowed.
        watch_values: Whether plain values that the function finds by name lead to a new trace, too,
            when the name is bound to others.
        pack_state: Whether to keep small arrays of state together between calls.
        **arguments: Which arguments are static or donated, see :class:`Arguments`.
    """

    def __init__(
        self,
        fun: Callable[..., Any],
        options: dict[str, Any] | None = None,
        max_traces: int | None = None,
        watch_values: bool = False,
        pack_state: bool = False,
        **arguments: Any,
    ) -> None:
        self.fun = fun
        self.watch_values = watch_values
        self.pack_state = pack_state
        self.options = options or {}
        self.arguments = Arguments(fun, **arguments)
        # Positions of a method count without self.
        self._of_method = functools.lru_cache(1)(
            lambda: Arguments(MethodType(fun, None.__class__), **arguments)
        )
        self.journal = Journal(getattr(fun, "__qualname__", type(fun).__name__), max_traces)
        self._entries: dict[Any, Entry] = {}
        function = getattr(fun, "__func__", fun)
        hashable = {k: tuple(v) if isinstance(v, (list, set)) else v for k, v in arguments.items()}
        self.recipe = Recipe(
            function,
            tuple(self.options.items()),
            max_traces,
            watch_values,
            pack_state,
            tuple(hashable.items()),
        )
        functools.update_wrapper(self, fun, updated=())

    @property
    def owner(self) -> Any:
        """The object whose method it compiles, if it is one."""
        return self.fun.__self__ if isinstance(self.fun, MethodType) else None

    def __reduce__(self) -> Any:
        return self.recipe._replace(function=None).of, (portable(self.fun),)

    @property
    def traces(self) -> int:
        """How many times the function was traced so far."""
        return self.journal.traces

    def explain(self) -> str:
        """Say in words why the function was traced the last time.

        Returns:
            In which call, and which argument, Variable, static value or name was another one than
            in the trace before; and the line that assigned it, where an attribute was assigned.

        >>> import jax.numpy as jnp
        >>> from framework.transforms.jit import jit
        >>> double = jit(lambda x: 2 * x)
        >>> double(jnp.ones(2)), double(jnp.ones(3))
        (Array(...), Array(...))
        >>> print(double.explain())
        `<lambda>` was traced 2 times, the last time (at ...) because: argument `x` was f32[2]...
        """
        return self.journal.explain()

    def lower(self, *args: Any, **kwargs: Any) -> jax.stages.Lowered:
        """Lower for given arguments, without running; ``.compile()`` the result to inspect it.

        Args:
            *args: The arguments of a call.
            **kwargs: Its keyword arguments.

        Returns:
            What `jax.jit` gives: it has ``as_text()``, and once compiled ``memory_analysis()``
            and ``cost_analysis()``. Its inputs are the Variables that are written, those that are
            read, and the arrays among the arguments.
        """
        return self._lower(None, args, kwargs)

    def __get__(self, obj: Any, owner: type | None = None) -> Any:
        return self if obj is None else BoundJit(self, obj)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function."""
        # Plain arrays need no flattening, and their number is all there is to know of them.
        if not kwargs and _array_types.issuperset(map(type, args)):
            entry = self._entries.get(len(args))
            if entry is not None and not jax.config.jax_disable_jit:
                return self._run(entry, list(args))
        return self._call(None, args, kwargs)

    def _call(self, bound: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if jax.config.jax_disable_jit:
            return self._run_eagerly(bound, args, kwargs)
        return self._run(*self._entry(bound, args, kwargs))

    def _run(self, entry: Entry, leaves: list[Any]) -> Any:
        variant = entry.variants[0] if entry.variants else None
        if variant is None or not (variant.program.alive and variant.guard.holds()):
            variant = entry.variant(leaves)
        return self._run_variant(variant, leaves)

    def _run_variant(self, variant: Variant, leaves: list[Any]) -> Any:
        donated, kept = variant.entry.split(leaves) if self.arguments.has_donated else ([], leaves)
        program = variant.program
        top = local.frame is None and outside_of_traces()
        config = jax.config
        reuse = top and not (config.jax_debug_nans or config.jax_debug_infs)
        try:
            written, out, new = (program.run if reuse else program.run_keeping)(donated, kept)
        except StateGrew as grew:
            written, out, new = variant.grown(grew, leaves).run_keeping(donated, kept)
        if top:
            for variable, value in zip(written, new):  # noqa: B905
                variable._value = value
        else:
            store_all(written, new)
        return out

    def _lower(self, bound: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        entry, leaves = self._entry(bound, args, kwargs)
        return entry.variant(leaves).program.lower(*entry.split(leaves))

    def settled(self, *args: Any) -> tuple[list[Variable], Callable[..., Any]]:
        """Settle which trace to run, to call it several times, between which nothing else happens.

        Args:
            *args: Arguments like those of the calls.

        Returns:
            The Variables that a call writes; and the function as it is, without guards.
        """
        entry, leaves = self._entry(None, args, {})
        variant = entry.variant(leaves)

        def call(*args: Any) -> Any:
            return self._run_variant(variant, flatten_by_reference((args, {}))[0])

        return [v() for v in variant.program.written], call  # type: ignore[misc]

    def arguments_of(self, bound: Any) -> Arguments:
        """How to take the arguments apart; those of a method, if it is bound to an object."""
        return self.arguments if bound is None else self._of_method()

    def _entry(self, bound: Any, args: Any, kwargs: Any) -> tuple[Entry, list[Any]]:
        entry, leaves = self._flattened(bound, args, kwargs)
        plain = bound is None and not (self.arguments.has_static or kwargs)
        if plain and args and _array_types.issuperset(map(type, args)):
            self._entries[len(args)] = entry
        return entry, leaves

    def _flattened(self, bound: Any, args: Any, kwargs: Any) -> tuple[Entry, list[Any]]:
        static: Any = ()
        arguments = self.arguments_of(bound)
        if arguments.has_static:
            args, kwargs, static = arguments.split(args, kwargs)
        else:
            _array_types.update(type(x) for x in args if isinstance(x, (jax.Array, np.ndarray)))
        leaves, treedef = flatten_by_reference((args, kwargs))
        key = treedef if not static and bound is None else (treedef, static, id(bound))
        entry = self._entries.get(key)
        if entry is None or (bound is not None and entry.bound() is not bound):  # type: ignore[misc]
            marks: list[bool] = []
            if arguments.has_donated:
                marks = arguments.donated_leaves(args, kwargs, static)
            self._entries = {k: e for k, e in self._entries.items() if not e.is_dead()}
            entry = self._entries[key] = Entry(self, treedef, static, marks, bound)
        return entry, leaves

    def _run_eagerly(self, bound: Any, args: Any, kwargs: Any) -> Any:
        fun = self.fun if bound is None else MethodType(self.fun, bound)
        return run_as_one(fun, *args, **kwargs)

    def __repr__(self) -> str:
        return f"jit({getattr(self.fun, '__qualname__', self.fun)!s}, traces={self.traces})"


class BoundJit(Bound):
    """A compiled method of an object."""

    __slots__ = ("__self__", "jitted")

    def __init__(self, jitted: Jit, obj: Any) -> None:
        self.jitted = jitted
        self.__self__ = obj

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function."""
        return self.jitted._call(self.__self__, args, kwargs)

    def lower(self, *args: Any, **kwargs: Any) -> jax.stages.Lowered:
        """Lower for given arguments, see :meth:`Jit.lower`."""
        return self.jitted._lower(self.__self__, args, kwargs)

    @property
    def __func__(self) -> Jit:
        return self.jitted

    @property
    def owner(self) -> Any:
        """The object."""
        return self.__self__

    @property
    def recipe(self) -> Jit:
        """What compiles the method of any object."""
        return self.jitted

    def __reduce__(self) -> Any:
        return getattr, (self.__self__, self.jitted.fun.__name__)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.jitted, name)

    def __repr__(self) -> str:
        return f"<{self.jitted!r} bound to a {type(self.__self__).__name__}>"


KIND_OF_TYPE.declare(Bound, Kind.METHOD)
