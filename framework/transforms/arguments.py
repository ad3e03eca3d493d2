"""Arguments of a jitted function: which are static, which are donated."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from framework.transforms.functionalize import flatten_by_reference

__all__ = ["Arguments"]


def _as_tuple(value: Any, cls: type, what: str) -> tuple[Any, ...]:
    items = tuple(value) if isinstance(value, Iterable) and not isinstance(value, cls) else (value,)
    items = () if value is None else items
    if not all(isinstance(item, cls) and not isinstance(item, bool) for item in items):
        raise ValueError(f"{what} takes a {cls.__name__} or a list of them, but got {value!r}.")
    return items


class Arguments:
    """Splits the arguments of a call into static and dynamic ones.

    Args:
        fun: The function, to match positions and names.
        static_argnums: Positions of static arguments; negative ones count from the end.
        static_argnames: Names of static arguments.
        donate_argnums: Positions of arguments whose buffers may be reused.
        donate_argnames: Names of such arguments.

    Attributes:
        names: The names of the positional parameters.
    """

    def __init__(
        self,
        fun: Callable[..., Any],
        static_argnums: int | Sequence[int] | None = None,
        static_argnames: str | Iterable[str] | None = None,
        donate_argnums: int | Sequence[int] | None = None,
        donate_argnames: str | Iterable[str] | None = None,
    ) -> None:
        try:
            parameters = list(inspect.signature(fun).parameters.values())
        except (TypeError, ValueError):
            parameters = []
        self.names = positional = [
            p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
        ]
        self.static_nums, self.static_names = _matched(
            _as_tuple(static_argnums, int, "static_argnums"),
            _as_tuple(static_argnames, str, "static_argnames"),
            positional,
        )
        self.donated_nums, self.donated_names = _matched(
            _as_tuple(donate_argnums, int, "donate_argnums"),
            _as_tuple(donate_argnames, str, "donate_argnames"),
            positional,
        )
        self.has_static = bool(self.static_nums or self.static_names)
        self.has_donated = bool(self.donated_nums or self.donated_names)

    def split(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any, Any]:
        """Take the static arguments out.

        Returns:
            The dynamic positional and keyword arguments; and the static ones, hashable.

        Raises:
            ValueError: A static argument is not hashable.
        """
        nums = {n % len(args) for n in self.static_nums if -len(args) <= n < len(args)}
        static = [(n, args[n]) for n in sorted(nums)]
        static += [(k, kwargs[k]) for k in sorted(kwargs.keys() & self.static_names)]
        for key, value in static:
            try:
                hash(value)
            except TypeError:
                raise ValueError(
                    f"The static argument {key!r} is a {type(value).__name__}, which is not "
                    "hashable. Pass a hashable value such as a tuple, or make it dynamic."
                ) from None
        dynamic = tuple(a for n, a in enumerate(args) if n not in nums)
        named = {k: v for k, v in kwargs.items() if k not in self.static_names}
        return dynamic, named, tuple((key, type(value), value) for key, value in static)

    @staticmethod
    def join(args: Sequence[Any], kwargs: dict[str, Any], static: Any) -> tuple[Any, Any]:
        """Put the static arguments back."""
        positional, named = list(args), dict(kwargs)
        for key, _, value in static:
            if isinstance(key, int):
                positional.insert(key, value)
            else:
                named[key] = value
        return positional, named

    def donated_leaves(
        self, args: Sequence[Any], kwargs: dict[str, Any], static: Any
    ) -> list[bool]:
        """For each leaf of the dynamic arguments, whether its buffer may be reused."""
        count = len(args) + sum(isinstance(key, int) for key, *_ in static)
        donated = {number % count for number in self.donated_nums if -count <= number < count}
        taken = {key for key, *_ in static}
        positions = [index for index in range(count) if index not in taken]
        marked = [
            *((index in donated, arg) for index, arg in zip(positions, args, strict=True)),
            *((name in self.donated_names, kwargs[name]) for name in sorted(kwargs)),
        ]
        return [mark for mark, arg in marked for _ in flatten_by_reference(arg)[0]]


def _matched(
    numbers: tuple[int, ...], names: tuple[str, ...], positional: list[str]
) -> tuple[frozenset[int], frozenset[str]]:
    """Let positions and names of a function's parameters stand for each other."""
    count = len(positional)
    from_names = [positional.index(name) for name in names if name in positional]
    from_numbers = [positional[n] for n in numbers if -count <= n < count]
    return frozenset((*numbers, *from_names)), frozenset((*names, *from_numbers))
