"""Variables: mutable cells that hold one array of fixed shape and dtype."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from types import CodeType
from typing import Any
from weakref import ref

import jax
import numpy as np
from jax import tree_util

from framework.errors import MathError, TraceError
from framework.nodes.array import ArrayLike, ArrayOps
from framework.nodes.frames import active, concrete, current_trace, is_tracer, local, next_serial
from framework.nodes.handles import Handle
from framework.nodes.lines import note_line
from framework.nodes.loan import Loan, put
from framework.nodes.values import (
    cast_to,
    checked_axis_names,
    initial_value,
    summary,
)

__all__ = ["Parameter", "TrainVar", "Variable"]

_PACKAGE = __name__.partition(".")[0]


class _ValueKey(tree_util.GetAttrKey):
    """Path entry from a Variable to its array: no text, so that paths end at the Variable."""

    def __str__(self) -> str:
        return ""

    __repr__ = __str__


_VALUE_KEY = _ValueKey("value")
_new = object.__new__


def _flatten_with_key(var: Variable) -> tuple[Any, Any]:
    children, aux = var.tree_flatten()
    return [(_VALUE_KEY, child) for child in children], aux


def _register(cls: type[Variable]) -> None:
    tree_util.register_pytree_with_keys(
        cls, _flatten_with_key, cls.tree_unflatten, cls.tree_flatten
    )


class Notes:
    """What is rarely needed of a Variable.

    Attributes:
        origin: The line that created it.
        owner: The object that first took it, or the root of the copy that it came with.
        companion: The Variable that it belongs to, and as what.
        shared: Whether these are the notes of several Variables.
    """

    __slots__ = ("companion", "origin", "owner", "shared")

    def __init__(
        self,
        origin: tuple[CodeType, int] | None = None,
        owner: ref[Any] | None = None,
        shared: bool = False,
    ) -> None:
        self.origin = origin
        self.owner = owner
        self.companion: tuple[ref[Variable], str] | None = None
        self.shared = shared


class Variable(ArrayOps):
    """A mutable cell that holds one array.

    Shape and dtype stay as they are at creation; if ``batch_axis`` is given, the length of that
    axis may change. The hash is the identity, ``==`` is elementwise.

    Args:
        value_or_size: Data (jax or numpy array, Python scalar, nested list of floats, Variable,
            PRNG key), or a shape (an int, a list or tuple of ints) to be filled with zeros.
        dtype: Data type; that of the data, or float32 for a shape, if left out.
        batch_axis: The axis whose length may change.
        axis_names: One name for each axis. If one short, ``BATCH_AXIS`` is inserted at
            ``batch_axis``.

    Raises:
        MathError: ``batch_axis`` is not an axis of the data, or the names don't fit.

    >>> v = Variable([1.0, 2.0])
    >>> v.value = v * 2
    >>> v += 1
    >>> print(v.value)
    [3. 5.]
    """

    __slots__ = ("__weakref__", "_held", "_home", "_meta", "_notes", "_serial")

    # The array, or the loan under which a compiled function has it.
    _held: Any
    _serial: int
    # The JAX trace that may write tracers into the cell; None outside of all traces.
    _home: object | None
    _meta: tuple[int | None, tuple[str, ...] | None]
    _notes: Notes | None

    def __init__(
        self,
        value_or_size: ArrayLike,
        dtype: Any = None,
        batch_axis: int | None = None,
        *,
        axis_names: Sequence[str] | None = None,
    ) -> None:
        value = initial_value(value_or_size, dtype)
        self._held = value
        self._meta = (batch_axis, checked_axis_names(value.ndim, batch_axis, axis_names))
        self._serial = next_serial()
        self._home = current_trace()
        self._notes = Notes(origin=creation_line())

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        _register(cls)

    @property
    def value(self) -> Any:
        """The array. Assigning checks shape and dtype, then writes into the cell."""
        if active:
            frame = local.frame
            if frame is not None:
                return frame.read(self)
        held = self._held
        return held if type(held) is not Loan else self._value

    @value.setter
    def value(self, value: ArrayLike) -> None:
        self._store(self._checked(value))

    @property
    def _value(self) -> Any:
        """What is in the cell, whatever transform is active."""
        held = self._held
        return held.give(self) if type(held) is Loan else held

    @_value.setter
    def _value(self, value: Any) -> None:
        put(self, value)

    def _store(self, value: Any) -> None:
        """Write a checked value into the frame that tracks this Variable, else into the cell."""
        frame = local.frame
        if frame is None or self._serial > frame.serial:
            # A copy around a constant does not know in which trace it was made, but its frame does.
            if (
                not is_tracer(value)
                or (trace := current_trace()) == self._home
                or (frame is not None and trace == frame.trace)
            ):
                self._value = value
                return
        elif frame.write(self, value):
            return
        raise TraceError(_foreign_write(self))

    def _checked(self, value: ArrayLike) -> Any:
        """Convert the value to what this cell may hold, or raise MathError."""
        if isinstance(value, ArrayOps):
            value = value.value
        elif not isinstance(value, (jax.Array, np.ndarray, np.generic, bool, int, float, complex)):
            if not hasattr(value, "__jax_array__"):
                raise MathError(
                    f"{self._label()} takes arrays and scalars, but got a "
                    f"{type(value).__name__}. Write `jnp.asarray(...)` around it."
                )
            value = value.__jax_array__()
        held = self.value
        if not hasattr(held, "shape"):  # An axis, say: there is nothing to check against.
            return value
        shape = np.shape(value)
        if shape != held.shape and not self._fits_but_batch(shape, held.shape):
            axis = "" if self.batch_axis is None else f" (any length on axis {self.batch_axis})"
            raise MathError(
                f"{self._label()} has shape {held.shape}{axis}, but got shape {shape}. "
                "The shape of a Variable is fixed; make a new Variable to change it."
            )
        if shape != held.shape:
            note_line(self._serial)
        return self._cast(value, held.dtype)

    def _cast(self, value: Any, dtype: Any) -> Any:
        cast = cast_to(value, dtype)
        if cast is None:
            raise MathError(
                f"{self._label()} has dtype {dtype}, but got "
                f"{getattr(value, 'dtype', None) or repr(value)}. Convert it with "
                f"`.astype({dtype})` if that is what you want."
            )
        return cast

    def _fits_but_batch(self, new: tuple[int, ...], held: tuple[int, ...]) -> bool:
        axis = self.batch_axis
        return (
            axis is not None
            and len(new) == len(held)
            and new[:axis] == held[:axis]
            and new[axis + 1 :] == held[axis + 1 :]
        )

    def _label(self) -> str:
        """How error messages call this Variable: class, and path where it is known."""
        origin = self._notes and self._notes.origin
        from_where = f" (created at {origin[0].co_filename}:{origin[1]})" if origin else ""
        path = variable_path(self)
        return (
            f"{type(self).__name__} `{path}`{from_where}"
            if path
            else (f"{type(self).__name__}{from_where}")
        )

    @property
    def batch_axis(self) -> int | None:
        """The axis whose length may change. Read-only."""
        return self._meta[0]

    @batch_axis.setter
    def batch_axis(self, value: object) -> None:
        raise ValueError("`batch_axis` is read-only; give it when the Variable is created.")

    @property
    def batch_size(self) -> int | None:
        """The present length of the batch axis, None without one. Read-only."""
        axis = self.batch_axis
        return None if axis is None else self.shape[axis]

    @batch_size.setter
    def batch_size(self, value: object) -> None:
        raise ValueError("`batch_size` is read-only; assign a value with another batch size.")

    @property
    def axis_names(self) -> tuple[str, ...] | None:
        """The names of the axes, or None."""
        return self._meta[1]

    @property
    def size_without_batch(self) -> tuple[int, ...]:
        """The shape without the batch axis."""
        shape, axis = self.shape, self.batch_axis
        return shape if axis is None else shape[:axis] + shape[axis + 1 :]

    def tree_flatten(self) -> tuple[tuple[Any, ...], Any]:
        """Split into the array and what is static, as JAX wants it."""
        if active:
            threshold = local.handles_up_to
            if threshold is not None and self._serial <= threshold:
                return (), Handle(self)
            return (self.value,), self._meta
        held = self._held
        return (held if type(held) is not Loan else self._value,), self._meta

    @classmethod
    def tree_unflatten(cls, aux: Any, dynamic_values: Iterable[Any]) -> Any:
        """Make a new cell around the array, whatever it is, without any check."""
        if type(aux) is Handle:
            return aux.target()
        (value,) = dynamic_values
        self = _new(cls)
        self._held = value
        self._meta = aux
        self._serial = next_serial()
        self._home = current_trace() if type(value) not in concrete and is_tracer(value) else None
        self._notes = None
        return self

    @classmethod
    def _rebuilt(cls, value: Any, meta: Any, home: object | None) -> Any:
        self = cls.tree_unflatten(meta, (value,))
        self._home = home
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        made = _unpickled, (type(self), self.value, self._meta)
        companion = self._companion
        return made if companion is None else (*made, companion)

    def __setstate__(self, state: tuple[Variable, str]) -> None:
        self._accompany(*state)

    @property
    def _companion(self) -> tuple[Variable, str] | None:
        """The Variable that this one belongs to, such as a moment to its parameter, and as what."""
        found = self._notes and self._notes.companion
        target = found and found[0]()
        return None if not found or target is None else (target, found[1])

    def _accompany(self, target: Variable, role: str) -> None:
        """Declare that this Variable belongs to another, as its ``role``."""
        self._own_notes().companion = (ref(target), role)

    @property
    def _owner(self) -> Any:
        """The object that first took this Variable, as far as known."""
        notes = self._notes
        owner = notes and notes.owner
        return owner and owner()

    def _own_notes(self) -> Notes:
        """Notes that no other Variable shares."""
        if self._notes is None or self._notes.shared:
            self._notes = Notes(owner=self._notes and self._notes.owner)
        return self._notes

    def __copy__(self) -> Any:
        return self._rebuilt(self.value, self._meta, current_trace())

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        copied = memo[id(self)] = self.__copy__()
        return copied

    def __repr__(self) -> str:
        return f"{type(self).__name__}({summary(self._shown())})"

    def _shown(self) -> Any:
        """The value as repr may look at it: that of the frame, without recording a read."""
        frame = local.frame
        while frame is not None:
            if self in frame.values:
                return frame.values[self]
            frame = frame.parent
        return self._value


_register(Variable)


class TrainVar(Variable):
    """A Variable that optimizers train and ``train_vars()`` finds."""

    __slots__ = ()


class Parameter(Variable):
    """A Variable that belongs to a model's configuration and is not trained by default."""

    __slots__ = ()


def _unpickled(cls: type[Variable], value: Any, meta: Any) -> Variable:
    return cls._rebuilt(value, meta, current_trace())


def creation_line() -> tuple[CodeType, int] | None:
    frame = sys._getframe(2)
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] == _PACKAGE:
        frame = frame.f_back
    return None if frame is None else (frame.f_code, frame.f_lineno)


def _foreign_write(var: Variable) -> str:
    return (
        f"{var._label()} is written inside a JAX transform that does not track it, so the traced "
        "value would leak. Either use the transform of this package with the same name "
        "(framework.jit, framework.grad, framework.vmap, framework.scan, ...), which carries "
        "the state for you; or pass the object that holds it as an argument of your function, "
        "change that copy, and return it."
    )


def variable_path(var: Variable) -> str:
    """The path by which error messages name a Variable, empty where no object holds it."""
    return path_finders[0](var) if path_finders else ""


path_finders: list[Callable[[Variable], str]] = []
"""Filled by the module that knows about owners, which is above this one."""
