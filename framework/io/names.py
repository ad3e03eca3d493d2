"""Import names of classes and functions: found without importing, resolved without running code."""

from __future__ import annotations

import builtins
import dataclasses
import sys
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp

from framework.errors import CheckpointError
from framework.nodes.collectors import Collector
from framework.nodes.containers import NodeDict, NodeList, VarDict, VarList
from framework.nodes.graph import Node
from framework.nodes.variable import Variable

__all__ = ["Resolver", "import_name"]

_PUBLIC = {"jax.nn": jax.nn, "jax.lax": jax.lax, "jax.numpy": jnp}
# What reads or writes files, or builds functions, has no place in a model.
_UNSAFE = frozenset({
    *("load", "save", "savez", "savetxt", "fromfile", "loadtxt", "genfromtxt", "frombuffer"),
    *("fromfunction", "from_dlpack", "frompyfunc", "vectorize", "piecewise"),
    *("apply_along_axis", "apply_over_axes"),
})  # fmt: skip
_BASES = (Node, Variable, Collector, NodeList, NodeDict, VarList, VarDict)
_BUILTIN_TYPES = (bool, int, float, complex, str, bytes, list, tuple, dict, set, frozenset)


def import_name(value: Any) -> str | None:
    """The name under which a class or function can be found again.

    Args:
        value: A class or function.

    Returns:
        Module and qualified name, such as `jax.nn:relu`; None for a lambda and whatever else has
        none.

    Example:
        >>> import_name(jax.nn.relu), import_name(lambda x: x)
        ('jax.nn:relu', None)
    """
    short = getattr(value, "__name__", None)
    for module_name, module in _PUBLIC.items():
        if isinstance(short, str) and vars(module).get(short) is value:
            return f"{module_name}:{short}"
    module_name, path = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    if not isinstance(module_name, str) or not isinstance(path, str):
        return None
    if isinstance(value, type) and issubclass(value, _BASES):
        # These are found among the subclasses, wherever they were defined.
        return f"{module_name}:{path}"
    return f"{module_name}:{path}" if _look_up(module_name, path) is value else None


class Resolver:
    """Finds classes and functions by name among those that may be used.

    Classes of objects and Variables are found if they are defined, wherever; so are types that
    hold data alone (namedtuples and dataclasses), builtin types, and the functions of `jax.nn`,
    `jax.lax` and `jax.numpy` that only compute. All else must be allowed.

    Args:
        allow: Further classes and functions.
    """

    def __init__(self, allow: Iterable[Any] = ()) -> None:
        self._known: dict[str, Any] = {f"builtins:{t.__name__}": t for t in _BUILTIN_TYPES}
        for base in _BASES:
            self._known |= {import_name(cls) or "": cls for cls in _subclasses(base)}
        for value in allow:
            name = import_name(value)
            if name is None:
                raise CheckpointError(f"allow: {value!r} has no name under which it was imported")
            self._known[name] = value

    def find(self, name: str) -> Any:
        """The class or function of a name.

        Raises:
            CheckpointError: It is not defined here, or not allowed.
        """
        if name in self._known:
            return self._known[name]
        module, _, path = name.partition(":")
        if module in _PUBLIC and path not in _UNSAFE and callable(_look_up(module, path)):
            return _look_up(module, path)
        found = _look_up(module, path)
        if isinstance(found, type) and (
            dataclasses.is_dataclass(found)
            or (issubclass(found, tuple) and "_fields" in vars(found))
        ):
            return found
        raise CheckpointError(
            f"needs {name.replace(':', '.')}, which is "
            + (
                f"not allowed; if you trust it, write load_object(path, allow=[{path}])"
                if found is not None
                else f"not defined here; import {module} first"
            )
        )


def _look_up(module: str, path: str) -> Any:
    # Attributes are looked up in dictionaries, since a module's `__getattr__` could run code.
    found: Any = sys.modules.get(module) if module != "builtins" else builtins
    for step in path.split("."):
        found = vars(found).get(step) if hasattr(found, "__dict__") else None
    return found


def _subclasses(base: type) -> Iterable[type]:
    seen: dict[type, None] = {}
    waiting = [base]
    while waiting:
        cls = waiting.pop()
        if cls not in seen:
            seen[cls] = None
            waiting += cls.__subclasses__()
    return seen
