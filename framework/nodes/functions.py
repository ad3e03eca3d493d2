"""Functions as static values: which are kept by copies, and how files of pickle name them.

The functions of JAX are objects that neither ``copy.deepcopy`` nor ``pickle`` treats as functions.
"""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Iterator
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any

__all__ = ["functions_in", "portable"]

_BY_NAME = (type, FunctionType, BuiltinFunctionType, MethodType)
"""What pickle and deepcopy treat as they should."""


def _is_function(value: Any) -> bool:
    """Tell functions, transformed ones such as ``jnp.tanh`` included, from callable objects."""
    return callable(value) and not isinstance(value, _BY_NAME) and hasattr(value, "__name__")


def functions_in(value: Any) -> Iterator[Any]:
    """The transformed functions that a static value is or holds."""
    if isinstance(value, functools.partial):
        for part in (value.func, *value.args, *value.keywords.values()):
            yield from functions_in(part)
    elif _is_function(value):
        yield value


def portable(value: Any) -> Any:
    """What to pickle in the place of a value: the same, but functions by their public names.

    >>> import pickle
    >>> import jax.numpy as jnp
    >>> pickle.loads(pickle.dumps(portable([jnp.tanh]))) == [jnp.tanh]
    True
    """
    kind = type(value)
    if kind in (list, tuple):
        items = [portable(item) for item in value]
        return value if all(map(_same, items, value)) else kind(items)
    if kind is dict:
        items = [portable(item) for item in value.values()]
        if all(map(_same, items, value.values())):
            return value
        return dict(zip(value, items, strict=True))
    if kind is functools.partial:
        func, args, keywords = portable(value.func), portable(value.args), portable(value.keywords)
        if func is value.func and args is value.args and keywords is value.keywords:
            return value
        return _Made(functools.partial, (func, *args), keywords)
    name = _public_name(value) if _is_function(value) else None
    return value if name is None else _Made(_imported, name, {})


def _same(first: Any, second: Any) -> bool:
    return first is second


class _Made:
    """Is pickled as the call of a function, and so comes back as its result."""

    def __init__(self, function: Any, args: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        self.function, self.args, self.keywords = function, args, keywords

    def __reduce__(self) -> tuple[Any, ...]:
        return _call, (self.function, self.args, self.keywords)


def _call(function: Any, args: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
    return function(*args, **keywords)


def _imported(module: str, name: str) -> Any:
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    return found


def _public_name(function: Any) -> tuple[str, str] | None:
    """Module and name under which a function can be imported; a public module if there is one."""
    module = getattr(function, "__module__", None) or ""
    name = getattr(function, "__qualname__", None) or function.__name__
    top = module.partition(".")[0]
    own = [module] if module in sys.modules else []
    family = sorted((m for m in sys.modules if m.partition(".")[0] == top), key=_depth)
    for candidate in (*(m for m in own if not _is_private(m)), *family, *own):
        if candidate == module or not _is_private(candidate):
            try:
                if _imported(candidate, name) is function:
                    return candidate, name
            except AttributeError:
                continue
    return None


def _is_private(module: str) -> bool:
    return any(part.startswith("_") and part != "__main__" for part in module.split("."))


def _depth(module: str) -> tuple[int, str]:
    return module.count("."), module
