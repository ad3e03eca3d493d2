"""Functions as objects: callables that know the objects and Variables they use."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, overload

from framework.nodes.base import BrainPyObject

__all__ = ["FunAsObject", "ObjectTransform", "Partial", "function", "to_object"]


class ObjectTransform(BrainPyObject):
    """The base of objects that transform others; a subclass defines ``__call__``."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What a subclass defines."""
        raise NotImplementedError(f"{type(self).__name__} must define `__call__`.")

    def __repr__(self) -> str:
        return type(self).__name__


class FunAsObject(BrainPyObject):
    """A function together with the objects and Variables that it uses.

    Args:
        target: The function.
        child_objs: The objects: one, or lists, tuples and dicts of them.
        dyn_vars: The Variables: one, or lists, tuples and dicts of them.
        name: A unique name.

    Raises:
        ValueError: Something is no object, or no Variable.

    >>> net = BrainPyObject()
    >>> FunAsObject(lambda x: x + 1, child_objs=net)(1)
    2
    """

    def __init__(
        self,
        target: Callable[..., Any],
        child_objs: Any = None,
        dyn_vars: Any = None,
        name: str | None = None,
    ) -> None:
        super().__init__(name)
        self.target = target
        if child_objs is not None:
            self.register_implicit_nodes(child_objs)
        if dyn_vars is not None:
            self.register_implicit_vars(dyn_vars)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function."""
        return self.target(*args, **kwargs)

    def __repr__(self) -> str:
        target = getattr(self.target, "__name__", type(self.target).__name__)
        count = len(self.vars().unique())
        return f"{type(self).__name__}(target={target}, num_of_vars={count})"


class Partial(FunAsObject):
    """A function with some arguments given, together with the objects it uses.

    Args:
        fun: The function.
        *args: Positional arguments to put first.
        child_objs: See :class:`FunAsObject`.
        dyn_vars: See :class:`FunAsObject`.
        **keywords: Keyword arguments; those of the call win.

    >>> Partial(pow, 2)(3)
    8
    """

    def __init__(
        self,
        fun: Callable[..., Any],
        *args: Any,
        child_objs: Any = None,
        dyn_vars: Any = None,
        **keywords: Any,
    ) -> None:
        super().__init__(fun, child_objs, dyn_vars)
        self.args = args
        self.keywords = keywords

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function with the given arguments and these."""
        return self.target(*self.args, *args, **{**self.keywords, **kwargs})


@overload
def to_object(
    f: Callable[..., Any], child_objs: Any, dyn_vars: Any = ..., name: str | None = ...
) -> FunAsObject: ...
@overload
def to_object(
    f: None = None, child_objs: Any = ..., dyn_vars: Any = ..., name: str | None = ...
) -> Callable[[Callable[..., Any]], FunAsObject]: ...
def to_object(
    f: Callable[..., Any] | None = None,
    child_objs: Any = None,
    dyn_vars: Any = None,
    name: str | None = None,
) -> Any:
    """Make a function an object; without the function, a decorator that does.

    Args:
        f: The function.
        child_objs: See :class:`FunAsObject`.
        dyn_vars: See :class:`FunAsObject`.
        name: A unique name.

    Raises:
        ValueError: ``f`` is given without ``child_objs``.

    >>> @to_object(child_objs=BrainPyObject())
    ... def double(x):
    ...     return 2 * x
    >>> double(4)
    8
    """
    if f is None:
        return lambda fun: FunAsObject(fun, child_objs, dyn_vars, name)
    if child_objs is None:
        raise ValueError(
            "to_object(f) needs the objects that f uses: write `to_object(f, child_objs=...)`."
        )
    return FunAsObject(f, child_objs, dyn_vars, name)


def function(
    f: Callable[..., Any] | None = None,
    nodes: Any = None,
    dyn_vars: Any = None,
    name: str | None = None,
) -> Any:
    """The old name of :func:`to_object`; warns."""
    warnings.warn(
        "`function(f, nodes=...)` is the old form of `to_object(f, child_objs=...)`.",
        DeprecationWarning,
        stacklevel=2,
    )
    if f is None:
        return lambda fun: FunAsObject(fun, nodes, dyn_vars, name)
    return FunAsObject(f, nodes, dyn_vars, name)
