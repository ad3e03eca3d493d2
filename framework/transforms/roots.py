"""Roots: the objects that a function reaches through its closure, its globals and `self`."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Iterator, Mapping, Sized
from typing import Any, NamedTuple
from weakref import ref

import jax
import numpy as np

from framework.nodes.graph import Node
from framework.nodes.handles import Handle, weak
from framework.nodes.kinds import KIND_OF_TYPE, Kind
from framework.nodes.variable import Variable
from framework.transforms.contents import Contents, can_change, holds_objects

__all__ = ["Binding", "WeakCall", "parts_of", "roots_of"]

# How many plain Python objects deep to look for nodes: a trainer that holds a model, say.
MAX_DEPTH = 4
# Longer lists and dictionaries are data.
MAX_ITEMS = 10_000
_SKIPPED_PACKAGES = frozenset(("jax", "jaxlib", "numpy", "optax", "builtins"))

_OURS = __name__.partition(".")[0]
_HELD = ("fun", "grad_vars", "__self__")


class Binding(NamedTuple):
    """A name under which a function finds a value, to notice when it is bound to another.

    Attributes:
        text: The name, for messages.
        place: The cell of the closure, or the dict of globals, that holds the value; or a function
            that finds it without keeping anything alive.
        value: A weak reference to the value at the time of the trace.
        contents: What it holds, if it is a list, dict or set and that counts, too.
    """

    text: str
    place: types.CellType | dict[str, Any] | Callable[[], Any]
    value: Callable[[], Any]
    contents: Contents | None


def parts_of(fun: Any) -> tuple[Any, ...]:
    """A function; or that of a bound method, and the object that it is bound to."""
    owner = None if type(fun) is types.FunctionType else getattr(fun, "__self__", None)
    inner = None if owner is None else getattr(fun, "__func__", None)
    return (fun,) if inner is None else (inner, owner)


class WeakCall:
    """A function or bound method, referred to weakly.

    Args:
        fun: Any callable.
    """

    __slots__ = ("_parts",)

    def __init__(self, fun: Any) -> None:
        self._parts = tuple(map(Handle, parts_of(fun)))

    def get(self) -> Any:
        """The callable."""
        fun, *owner = (part.target() for part in self._parts)
        return fun.__get__(*owner) if owner else fun


def roots_of(
    fun: Any, given: Mapping[str, Any] | None = None, watch_values: bool = False
) -> tuple[dict[str, Any], list[Binding]]:
    """Find the nodes and Variables that a function may use.

    Args:
        fun: A function, bound method, partial, callable object, or a transform of one.
        given: What it is called with, by name.
        watch_values: Whether to return the bindings of plain values, too, and to keep nothing that
            the function holds alive by them.

    Returns:
        The objects by name, each once; and the bindings under which functions find them.
    """
    search = _Search(watch_values)
    search.visit(fun, "", 0)
    for name, value in (given or {}).items():
        search.visit(value, name, 0)
    return search.roots, search.bindings


# What a function is wrapped in does not count as depth.
_WRAPPERS = (types.MethodType, functools.partial, WeakCall)


class _Search:
    def __init__(self, watch_values: bool) -> None:
        self.watch_values = watch_values
        self.roots: dict[str, Any] = {}
        self.bindings: list[Binding] = []
        self.seen: set[int] = set()

    def visit(self, value: Any, name: str, depth: int) -> bool:
        """Look into a value; tells whether there is a root in it."""
        if isinstance(value, (Node, Variable)):
            if id(value) not in self.seen:
                self.seen.add(id(value))
                self.roots[name if name not in self.roots else f"{name}_{len(self.roots)}"] = value
            return True
        if id(value) in self.seen or isinstance(value, (jax.Array, np.ndarray, types.ModuleType)):
            return False
        kind = KIND_OF_TYPE[type(value)]
        if isinstance(value, types.FunctionType):
            self.seen.add(id(value))
            return self.visit_function(value, depth)
        if kind in (Kind.ATOM, Kind.STATIC) and not isinstance(value, functools.partial):
            return False
        self.seen.add(id(value))
        if depth > MAX_DEPTH or (isinstance(value, Sized) and len(value) > MAX_ITEMS):
            return False
        inside = self.inside(value, name)
        deeper = depth + (not isinstance(value, _WRAPPERS))
        # All of them, not only up to the first.
        found = [self.visit(child, label, deeper) for child, label in inside]
        return any(found)

    def inside(self, value: Any, name: str) -> Iterator[tuple[Any, str]]:
        if isinstance(value, types.MethodType):
            yield value.__func__, name
            yield value.__self__, name or "self"
        elif isinstance(value, functools.partial):
            yield value.func, name
            for key, x in _given(value).items():
                label = key if isinstance(key, str) else f"{name}[{key}]"
                yield x, label
                self.watch_contents(label, functools.partial(_argument, ref(value), key), x)
        elif isinstance(value, WeakCall):
            yield value.get(), name
        elif isinstance(value, dict):
            yield from ((x, f"{name}[{key!r}]") for key, x in value.items())
        elif isinstance(value, (list, tuple)):
            yield from ((x, f"{name}[{i}]") for i, x in enumerate(value))
        elif _package(type(value)) == _OURS:
            # The transforms, which hold much that changes and is not the user's.
            yield from ((getattr(value, key), name) for key in _HELD if hasattr(value, key))
        elif _package(type(value)) not in _SKIPPED_PACKAGES:
            for key, child in getattr(value, "__dict__", {}).items():
                if not key.startswith("__") or key == "__wrapped__":
                    label = f"{name}.{key}" if name else key
                    yield child, label
                    # Other lists of an object may be records of a run, which grow all the time.
                    contents = Contents(child) if holds_objects(child) else None
                    if self.watch_values or contents:
                        place = functools.partial(_attribute, weak(value), key)
                        self.bindings.append(Binding(label, place, weak(child), contents))

    def visit_function(self, fun: types.FunctionType, depth: int) -> bool:
        if depth > MAX_DEPTH or _package(fun) in (*_SKIPPED_PACKAGES, _OURS):
            return False
        found = False
        cells = zip(fun.__code__.co_freevars, fun.__closure__ or (), strict=True)
        for index, (name, cell) in enumerate(cells):
            if _is_filled(cell):
                weakly = functools.partial(_closure_value, ref(fun), index)
                place = weakly if self.watch_values else cell
                found |= self.visit_binding(name, place, cell.cell_contents, depth)
        for name in _global_names(fun.__code__):
            if name in fun.__globals__:
                found |= self.visit_binding(name, fun.__globals__, fun.__globals__[name], depth)
        for name, value in _defaults(fun).items():
            found |= self.visit(value, fun.__name__, depth + 1)
            self.watch_contents(name, functools.partial(_default, ref(fun), name), value)
        return found

    def watch_contents(self, name: str, place: Callable[[], Any], value: Any) -> None:
        """Notice when a container that a function was given with its definition changes."""
        if can_change(value):
            self.bindings.append(Binding(name, place, weak(value), Contents(value)))

    def visit_binding(self, name: str, place: Any, value: Any, depth: int) -> bool:
        found = self.visit(value, name, depth + 1)
        watched = self.watch_values and not isinstance(value, types.ModuleType)
        contents = Contents(value) if can_change(value) else None
        if found or watched or contents:
            self.bindings.append(Binding(name, place, weak(value), contents))
        return found


def _package(thing: Any) -> str:
    return (thing.__module__ or "").partition(".")[0]


def _attribute(holder: Callable[[], Any], key: str) -> Any:
    return holder().__dict__[key]


def _given(partial: functools.partial[Any]) -> dict[int | str, Any]:
    """The arguments that a partial holds, by position or name."""
    return {**dict(enumerate(partial.args)), **partial.keywords}


def _argument(partial: Callable[[], Any], key: int | str) -> Any:
    return _given(partial())[key]


def _defaults(fun: types.FunctionType) -> dict[str, Any]:
    """The default values of a function's arguments, by name."""
    code, values = fun.__code__, fun.__defaults__ or ()
    names = code.co_varnames[code.co_argcount - len(values) : code.co_argcount]
    return {**dict(zip(names, values, strict=True)), **(fun.__kwdefaults__ or {})}


def _default(fun: Callable[[], Any], name: str) -> Any:
    return _defaults(fun())[name]


def _closure_value(fun: Callable[[], Any], index: int) -> Any:
    return fun().__closure__[index].cell_contents


def _is_filled(cell: types.CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return False
    return True


@functools.lru_cache(maxsize=1024)
def _global_names(code: types.CodeType) -> tuple[str, ...]:
    names = dict.fromkeys(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names |= dict.fromkeys(_global_names(constant))
    return tuple(names)
