"""Unique names of objects, held weakly."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterator
from weakref import WeakValueDictionary

from framework.errors import BrainPyError, UniqueNameError

__all__ = [
    "check_name_available",
    "check_name_uniqueness",
    "clear_name_cache",
    "get_unique_name",
    "is_free",
    "release_name",
]

_holders: WeakValueDictionary[str, object] = WeakValueDictionary()
_counters: dict[str, Iterator[int]] = {}


def get_unique_name(type_: str) -> str:
    """Make a name that no living object holds: the type and a running number.

    Args:
        type_: The stem of the name, usually a class name.

    Returns:
        A name such as ``Dense0``. It is not reserved until an object takes it.

    >>> clear_name_cache()
    >>> get_unique_name("Dense"), get_unique_name("Dense")
    ('Dense0', 'Dense1')
    """
    # Drawing from an iterator, unlike counting in a dictionary, is safe among threads.
    numbers = _counters.setdefault(type_, itertools.count())
    return next(name for number in numbers if (name := f"{type_}{number}") not in _holders)


def is_free(name: str) -> bool:
    """Tell whether no living object holds the name."""
    return name not in _holders


def check_name_available(name: str, obj: object) -> None:
    """Raise unless the object may take the name.

    Args:
        name: A Python identifier.
        obj: The object that wants it.

    Raises:
        BrainPyError: The name is not an identifier.
        UniqueNameError: Another living object holds it.
    """
    if not isinstance(name, str) or not name.isidentifier():
        raise BrainPyError(
            f"A name must be a Python identifier such as 'encoder_1', but got {name!r}. "
            "Use letters, digits and underscores, and no digit first."
        )
    holder = _holders.get(name)
    if holder is not None and holder is not obj:
        raise UniqueNameError(
            f"The name {name!r} is held by a living {type(holder).__name__}, so this "
            f"{type(obj).__name__} can't take it. Choose another name, leave it out to get "
            "an automatic one, or drop the other object first."
        )


def check_name_uniqueness(name: str, obj: object) -> None:
    """Give the name to the object, which is referenced weakly, or raise.

    Raises:
        BrainPyError: The name is not an identifier.
        UniqueNameError: Another living object holds it.
    """
    check_name_available(name, obj)
    _holders[name] = obj


def release_name(name: str, obj: object) -> None:
    """Free the name if this object holds it."""
    if _holders.get(name) is obj:
        del _holders[name]


def clear_name_cache(ignore_warn: bool = True) -> None:
    """Forget all names and start the running numbers at 0 again.

    Args:
        ignore_warn: If false, a ``UserWarning`` says what was forgotten.
    """
    _holders.clear()
    _counters.clear()
    if not ignore_warn:
        warnings.warn("All names of objects were forgotten.", UserWarning, stacklevel=2)
