"""Array behaviour of a cell: operators, indexing and the methods of `jax.Array`."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

__all__ = ["ArrayLike", "ArrayOps", "raw"]

ArrayLike = Any
"""What JAX accepts as an array: jax or numpy arrays, Python and NumPy scalars, Variables."""


def raw(x: Any) -> Any:
    """The array in a Variable; anything else unchanged."""
    return x.value if isinstance(x, ArrayOps) else x


def _unary(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda self: function(self.value)


def _binary(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    return lambda self, other: function(self.value, raw(other))


def _reflected(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    return lambda self, other: function(raw(other), self.value)


def _in_place(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def method(self: Any, other: Any) -> Any:
        self.value = function(self.value, raw(other))
        return self

    return method


class ArrayOps:
    """Operators over ``self.value``; in-place forms write into the cell."""

    __slots__ = ()
    __array_priority__ = 100

    value: Any

    __hash__ = object.__hash__
    __eq__ = _binary(operator.eq)  # type: ignore[assignment]
    __ne__ = _binary(operator.ne)  # type: ignore[assignment]
    __lt__ = _binary(operator.lt)
    __le__ = _binary(operator.le)
    __gt__ = _binary(operator.gt)
    __ge__ = _binary(operator.ge)

    __neg__ = _unary(operator.neg)
    __pos__ = _unary(operator.pos)
    __abs__ = _unary(operator.abs)
    __invert__ = _unary(operator.invert)
    __bool__ = _unary(bool)
    __int__ = _unary(int)
    __float__ = _unary(float)
    __complex__ = _unary(complex)
    __index__ = _unary(operator.index)

    __add__ = _binary(operator.add)
    __sub__ = _binary(operator.sub)
    __mul__ = _binary(operator.mul)
    __truediv__ = _binary(operator.truediv)
    __floordiv__ = _binary(operator.floordiv)
    __mod__ = _binary(operator.mod)
    __divmod__ = _binary(divmod)
    __pow__ = _binary(operator.pow)
    __matmul__ = _binary(operator.matmul)
    __and__ = _binary(operator.and_)
    __or__ = _binary(operator.or_)
    __xor__ = _binary(operator.xor)
    __lshift__ = _binary(operator.lshift)
    __rshift__ = _binary(operator.rshift)

    __radd__ = _reflected(operator.add)
    __rsub__ = _reflected(operator.sub)
    __rmul__ = _reflected(operator.mul)
    __rtruediv__ = _reflected(operator.truediv)
    __rfloordiv__ = _reflected(operator.floordiv)
    __rmod__ = _reflected(operator.mod)
    __rdivmod__ = _reflected(divmod)
    __rpow__ = _reflected(operator.pow)
    __rmatmul__ = _reflected(operator.matmul)
    __rand__ = _reflected(operator.and_)
    __ror__ = _reflected(operator.or_)
    __rxor__ = _reflected(operator.xor)
    __rlshift__ = _reflected(operator.lshift)
    __rrshift__ = _reflected(operator.rshift)

    __iadd__ = _in_place(operator.add)
    __isub__ = _in_place(operator.sub)
    __imul__ = _in_place(operator.mul)
    __itruediv__ = _in_place(operator.truediv)
    __ifloordiv__ = _in_place(operator.floordiv)
    __imod__ = _in_place(operator.mod)
    __ipow__ = _in_place(operator.pow)
    __imatmul__ = _in_place(operator.matmul)
    __iand__ = _in_place(operator.and_)
    __ior__ = _in_place(operator.or_)
    __ixor__ = _in_place(operator.xor)
    __ilshift__ = _in_place(operator.lshift)
    __irshift__ = _in_place(operator.rshift)

    def __round__(self, ndigits: int | None = None) -> Any:
        return round(self.value, 0 if ndigits is None else ndigits)

    def __len__(self) -> int:
        return len(self.value)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.value)

    def __contains__(self, item: Any) -> bool:
        return raw(item) in self.value

    def __getitem__(self, index: Any) -> jax.Array:
        return self.value[_raw_index(index)]

    def __setitem__(self, index: Any, update: ArrayLike) -> None:
        self.value = self.value.at[_raw_index(index)].set(raw(update))

    def __jax_array__(self) -> jax.Array:
        return self.value

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        array = np.asarray(self.value, dtype=dtype)
        return array.copy() if copy else array

    def __format__(self, spec: str) -> str:
        return format(self.value, spec) if spec else str(self)

    @property
    def shape(self) -> tuple[int, ...]:
        """The lengths of the axes."""
        return self.value.shape

    @property
    def dtype(self) -> Any:
        """The data type."""
        return self.value.dtype

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return self.value.ndim

    @property
    def size(self) -> int:
        """The number of elements."""
        return self.value.size

    @property
    def T(self) -> jax.Array:  # noqa: N802
        """The transpose."""
        return self.value.T


def _raw_index(index: Any) -> Any:
    if isinstance(index, tuple):
        return tuple(raw(i) for i in index)
    return raw(index)


def _delegated(name: str) -> property:
    return property(lambda self: getattr(self.value, name), doc=f"`jax.Array.{name}` of the value.")


# What only concrete arrays have, which exist only once JAX has started a backend.
_CONCRETE = (
    "aval", "block_until_ready", "clone", "delete", "devices", "format", "is_deleted", "is_ready",
    "layout", "on_device_size_in_bytes", "platform", "tobytes", "tolist", "unsafe_buffer_pointer",
    "weak_type",
)  # fmt: skip

# A `__getattr__` would do the same, but make every read of `.value` slower.
for _name in (*dir(jax.Array), *_CONCRETE):
    if not _name.startswith("_") and not hasattr(ArrayOps, _name):
        setattr(ArrayOps, _name, _delegated(_name))
