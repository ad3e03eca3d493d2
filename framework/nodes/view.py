"""Views: windows on parts of Variables."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import jax

from framework.nodes.array import ArrayLike
from framework.nodes.frames import current_trace, local, next_serial
from framework.nodes.handles import Handle
from framework.nodes.values import frozen_index, plain_index, thawed_index
from framework.nodes.variable import Notes, Variable, creation_line

__all__ = ["VariableView"]


class VariableView(Variable):
    """A window on part of another Variable: reads and writes go through to it.

    Args:
        value: The Variable to look at.
        index: Anything that indexes an array: int, slice, tuple, integer or boolean array.

    Raises:
        ValueError: ``value`` is not a Variable.

    >>> import jax.numpy as jnp
    >>> v = Variable(4)
    >>> VariableView(v, slice(1, 3)).value = jnp.ones(2)
    >>> print(v.value)
    [0. 1. 1. 0.]
    """

    __slots__ = ("index", "target")

    target: Variable
    index: Any

    def __init__(self, value: Variable, index: Any) -> None:
        if not isinstance(value, Variable):
            raise ValueError(
                f"VariableView looks at a Variable, but got a {type(value).__name__}. "
                "Write `VariableView(Variable(...), index)`."
            )
        self._settle(value, plain_index(index), origin=creation_line())

    @property
    def value(self) -> Any:
        """The viewed part of the array."""
        return self.target.value[self.index]

    @value.setter
    def value(self, value: ArrayLike) -> None:
        self._store(self._checked(value))

    def _store(self, value: Any) -> None:
        target = self.target
        target._store(target.value.at[self.index].set(value))

    def _shown(self) -> Any:
        shown = self.target._shown()
        try:
            return jax.eval_shape(lambda x: x[self.index], shown)
        except (TypeError, IndexError, ValueError):  # The target holds no such array at present.
            return shown

    def tree_flatten(self) -> tuple[tuple[Any, ...], Any]:
        """Split into the Variable and the index, as JAX wants it."""
        if local.handles_up_to is not None and self._serial <= local.handles_up_to:
            return (), Handle(self)
        return (self.target,), frozen_index(self.index)

    @classmethod
    def tree_unflatten(cls, aux: Any, dynamic_values: Iterable[Any]) -> Any:
        """View another Variable, without a check."""
        if type(aux) is Handle:
            return aux.target()
        (target,) = dynamic_values
        return cls.over(target, thawed_index(aux))

    @classmethod
    def over(cls, target: Any, index: Any) -> Any:
        """View anything, without a check."""
        self = object.__new__(cls)
        self._settle(target, index, origin=None)
        return self

    def _settle(self, target: Any, index: Any, origin: Any) -> None:
        self.target, self.index = target, index
        self._meta = (None, None)
        self._serial = next_serial()
        self._home = current_trace()
        self._notes = Notes(origin=origin)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self).over, (self.target, self.index)

    def __copy__(self) -> Any:
        return self.over(self.target, self.index)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        target = memo.get(id(self.target))
        copied = memo[id(self)] = self.over(
            self.target.__deepcopy__(memo) if target is None else target, self.index
        )
        return copied
