"""Roots: the objects that a function reaches through its closure, its globals and `self`."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Iterator, Sized
from typing import Any, NamedTuple

import jax
import numpy as np

from framework.nodes.graph import Node
from framework.nodes.structure import KIND_OF_TYPE, Kind, weak
from framework.nodes.variable import Variable

__all__ = ["Binding", "roots_of"]

# How many plain Python objects deep to look for nodes: a trainer that holds a model, say.
MAX_DEPTH = 4
# Longer lists and dictionaries are data.
MAX_ITEMS = 10_000
_SKIPPED_PACKAGES = frozenset(("jax", "jaxlib", "numpy", "optax", "builtins"))


class Binding(NamedTuple):
    """A name under which a function finds a value, to notice when it is bound to another.

    Attributes:
        text: The name, for messages.
        read: Reads the present value of the key; raises if there is none.
        key: The name in the globals, or ``cell_contents`` of a closure cell.
        value: A weak reference to the value at the time of the trace.
    """

    text: str
    read: Callable[[str], Any]
    key: str
    value: Callable[[], Any]


def roots_of(fun: Any) -> tuple[dict[str, Any], list[Binding]]:
    """Find the nodes and Variables that a function may use without being given them.

    Args:
        fun: A function, bound method, partial, callable object, or a transform of one.

    Returns:
        The objects by name, each once; and the bindings under which functions find them.
    """
    search = _Search()
    search.visit(fun, "", 0)
    return search.roots, search.bindings


class _Search:
    def __init__(self) -> None:
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
        # All of them, not only up to the first.
        found = [self.visit(child, label, depth + 1) for child, label in inside]
        return any(found)

    def inside(self, value: Any, name: str) -> Iterator[tuple[Any, str]]:
        if isinstance(value, types.MethodType):
            yield value.__func__, name
            yield value.__self__, name or "self"
        elif isinstance(value, functools.partial):
            yield value.func, name
            yield from ((x, f"{name}[{i}]") for i, x in enumerate(value.args))
            yield from ((x, key) for key, x in value.keywords.items())
        elif isinstance(value, dict):
            yield from ((x, f"{name}[{key!r}]") for key, x in value.items())
        elif isinstance(value, (list, tuple)):
            yield from ((x, f"{name}[{i}]") for i, x in enumerate(value))
        elif type(value).__module__.partition(".")[0] not in _SKIPPED_PACKAGES:
            for key, child in getattr(value, "__dict__", {}).items():
                if not key.startswith("__") or key == "__wrapped__":
                    yield child, f"{name}.{key}" if name else key

    def visit_function(self, fun: types.FunctionType, depth: int) -> bool:
        if depth > MAX_DEPTH or (fun.__module__ or "").partition(".")[0] in _SKIPPED_PACKAGES:
            return False
        found = False
        for name, cell in zip(fun.__code__.co_freevars, fun.__closure__ or (), strict=True):
            found |= self.visit_binding(name, cell.__getattribute__, "cell_contents", depth)
        for name in _global_names(fun.__code__):
            if name in fun.__globals__:
                found |= self.visit_binding(name, fun.__globals__.__getitem__, name, depth)
        for value in (*(fun.__defaults__ or ()), *(fun.__kwdefaults__ or {}).values()):
            found |= self.visit(value, fun.__name__, depth + 1)
        return found

    def visit_binding(self, name: str, read: Callable[[str], Any], key: str, depth: int) -> bool:
        try:
            value = read(key)
        except ValueError:  # A cell that is not filled yet.
            return False
        found = self.visit(value, name, depth + 1)
        if found:
            self.bindings.append(Binding(name, read, key, weak(value)))
        return found


@functools.lru_cache(maxsize=1024)
def _global_names(code: types.CodeType) -> tuple[str, ...]:
    names = dict.fromkeys(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names |= dict.fromkeys(_global_names(constant))
    return tuple(names)
