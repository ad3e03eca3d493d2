"""Bound callables: what is made of an object's own method goes along when the object is copied."""

from __future__ import annotations

from types import MethodType
from typing import Any

__all__ = ["Bound", "bound", "taken_apart"]


class Bound:
    """The base of callables, other than methods, that may belong to one object.

    Attributes:
        owner: The object; None if there is none.
        recipe: What gives the callable for an object by ``recipe.__get__``; hashable, and equal
            for callables that are equal but for their owners.
    """

    __slots__ = ()
    owner: Any
    recipe: Any


def taken_apart(value: Any) -> tuple[Any, Any]:
    """The owner of a method or of a :class:`Bound`, and what to bind to another one.

    Args:
        value: The callable.

    >>> class Clock:
    ...     def tick(self): ...
    >>> clock = Clock()
    >>> taken_apart(clock.tick) == (clock, Clock.tick)
    True
    """
    if isinstance(value, Bound):
        return value.owner, value.recipe
    return value.__self__, value.__func__


def bound(recipe: Any, owner: Any) -> Any:
    """Bind to an object.

    Args:
        recipe: A function, or the recipe of a :class:`Bound`.
        owner: The object.
    """
    get = getattr(recipe, "__get__", None)
    return MethodType(recipe, owner) if get is None else get(owner, type(owner))
