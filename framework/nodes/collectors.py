"""Collectors: dictionaries from paths to objects, with set operations."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any, Self

from jax import tree_util

from framework.nodes.variable import Variable

__all__ = ["ArrayCollector", "Collector", "References", "TensorCollector"]


def _flatten_with_keys(collector: Collector) -> tuple[Any, Any]:
    children, keys = collector.tree_flatten()
    return [(tree_util.DictKey(k), v) for k, v in zip(keys, children, strict=True)], keys


def _register(cls: type[Collector]) -> None:
    tree_util.register_pytree_with_keys(
        cls, _flatten_with_keys, cls.tree_unflatten, cls.tree_flatten
    )


class Collector(dict[Any, Any]):
    """A dictionary that never silently replaces one object by another.

    Raises:
        ValueError: A key is set that holds a different object.

    >>> Collector(a=1) + {"b": 2}
    {'a': 1, 'b': 2}
    """

    # Counts changes, so that an unchanged collector is recognised without a look at its items. A
    # slot, so that it is no part of what the collector holds.
    __slots__ = ("__weakref__", "_version")

    _version: int

    def __new__(cls, *_args: Any, **_kwargs: Any) -> Self:
        """Make an empty collector, which copies fill without calling ``__init__``."""
        self = super().__new__(cls)
        self._version = 0
        return self

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        _register(cls)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()
        for key, value in dict(*args, **kwargs).items():
            self[key] = value

    def __setitem__(self, key: Hashable, value: Any) -> None:
        self._check(key, value)
        self._check_free(key, value)
        self._version += 1
        super().__setitem__(key, value)

    def __delitem__(self, key: Hashable) -> None:
        self._version += 1
        super().__delitem__(key)

    def pop(self, *args: Any) -> Any:
        """Remove a key and return its value, or the default."""
        self._version += 1
        return super().pop(*args)

    def popitem(self) -> tuple[Any, Any]:
        """Remove and return the last item."""
        self._version += 1
        return super().popitem()

    def clear(self) -> None:
        """Remove all items."""
        self._version += 1
        super().clear()

    def setdefault(self, key: Hashable, default: Any = None) -> Any:
        """The value under the key, set to the default if there is none."""
        if key not in self:
            self[key] = default
        return self[key]

    def __ior__(self, other: Any) -> Self:  # type: ignore[override]
        return self.update(other)

    def __or__(self, other: Any) -> Self:
        return self.copy().update(other)

    def copy(self) -> Self:
        """A collector of its own with the same items."""
        return self._like(self.items())

    def _check(self, key: Hashable, value: Any) -> None:
        """Refuse values that this kind of collector does not take."""

    def _check_free(self, key: Hashable, value: Any) -> None:
        if key in self and self[key] is not value:
            raise ValueError(
                f"{type(self).__name__} holds another {type(self[key]).__name__} under the key "
                f"{key!r}. Use another key, or `.replace({key!r}, new)`."
            )

    @classmethod
    def _trusted(cls, items: Iterable[tuple[Any, Any]]) -> Self:
        """Make a collector of items that are known to be right."""
        collector = cls.__new__(cls)
        dict.update(collector, items)
        return collector

    @classmethod
    def _over(cls, template: dict[Any, None], items: Iterable[tuple[Any, Any]]) -> Self:
        """Make a collector of items that are known to be right, and whose keys are known before.

        To copy a dictionary and set its values is quicker than to grow one.
        """
        collector = cls.__new__(cls)
        dict.update(collector, template)
        dict.update(collector, items)
        return collector

    def _like(self, items: Iterable[tuple[Any, Any]]) -> Self:
        return type(self)._trusted(items)

    def replace(self, key: Hashable, new_value: Any) -> None:
        """Put another object under the key."""
        self._check(key, new_value)
        self.pop(key, None)
        self[key] = new_value

    def update(self, other: Any = (), /, **kwargs: Any) -> Self:  # type: ignore[override]
        """Add all items, or none if one of them is refused.

        The items of a list or tuple get the keys ``_var0``, ``_var1`` and so on.

        Returns:
            This collector.

        Raises:
            AssertionError: ``other`` is no dict, list or tuple.
            ValueError: A key holds a different object.
        """
        if isinstance(other, dict):
            items = dict(other)
        elif isinstance(other, (list, tuple)):
            start = len(self)
            items = {f"_var{start + i}": value for i, value in enumerate(other)}
        else:
            raise AssertionError(
                f"update() takes a dict, a list or a tuple, but got a {type(other).__name__}."
            )
        items |= kwargs
        for key, value in items.items():
            self._check(key, value)
            self._check_free(key, value)
        for key, value in items.items():
            self[key] = value
        return self

    def __add__(self, other: Any) -> Self:
        return self.copy().update(other)

    def __sub__(self, other: Any) -> Self:
        kept = self.copy()
        if isinstance(other, Mapping):
            for key, value in other.items():
                if key not in kept or kept[key] is not value:
                    raise ValueError(f"Can't remove {key!r}: it is not there with this value.")
                dict.__delitem__(kept, key)
            return kept
        if not isinstance(other, (list, tuple)):
            raise ValueError(
                "Subtract a dict, or a list or tuple of keys or values, "
                f"not a {type(other).__name__}."
            )
        for item in other:
            for key in kept._keys_of(item):
                dict.__delitem__(kept, key)
        return kept

    def _keys_of(self, item: Any) -> list[Any]:
        if isinstance(item, str) and item in self:
            return [item]
        keys = [key for key, value in self.items() if value is item]
        if not keys and isinstance(item, Hashable) and item in self:
            keys = [item]
        if not keys:
            what = repr(item) if isinstance(item, str) else f"this {type(item).__name__}"
            raise ValueError(f"Can't remove {what}: it is neither a key nor a value here.")
        return keys

    def subset(self, type_: type | tuple[type, ...]) -> Self:
        """Keep the values that are instances of the type."""
        return self._like((k, v) for k, v in self.items() if isinstance(v, type_))

    def not_subset(self, type_: type | tuple[type, ...]) -> Self:
        """Keep the values that are no instances of the type."""
        return self._like((k, v) for k, v in self.items() if not isinstance(v, type_))

    def include(self, *types: type) -> Self:
        """Keep the values whose class is exactly one of these."""
        return self._like((k, v) for k, v in self.items() if type(v) in types)

    def exclude(self, *types: type) -> Self:
        """Keep the values whose class is none of these."""
        return self._like((k, v) for k, v in self.items() if type(v) not in types)

    def unique(self) -> Self:
        """Keep the first key of each object."""
        seen: dict[int, tuple[Any, Any]] = {}
        for key, value in self.items():
            seen.setdefault(id(value), (key, value))
        return self._like(seen.values())

    def tree_flatten(self) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        """Split into values and keys, as JAX wants it."""
        return tuple(self.values()), tuple(self.keys())

    @classmethod
    def tree_unflatten(cls, aux: Sequence[Any], dynamic_values: Iterable[Any]) -> Self:
        """Put values under the keys, without any check."""
        return cls._trusted(zip(aux, dynamic_values, strict=True))


_register(Collector)


class ArrayCollector(Collector):
    """A collector of Variables.

    Raises:
        AssertionError: A value is no Variable.

    >>> ArrayCollector(w=Variable(2)).data()
    [Array([0., 0.], dtype=float32)]
    """

    def _check(self, key: Hashable, value: Any) -> None:
        if not isinstance(value, Variable):
            raise AssertionError(
                f"{type(self).__name__} holds Variables, but got a {type(value).__name__} "
                f"under the key {key!r}."
            )

    def dict(self) -> dict[Any, Any]:
        """The arrays by key."""
        return {key: variable.value for key, variable in self.items()}

    def data(self) -> list[Any]:
        """The arrays in order."""
        return [variable.value for variable in self.values()]


TensorCollector = ArrayCollector


class References(ArrayCollector):
    """Variables that an object uses without owning them.

    As an attribute of an object, it adds nothing to the object's ``vars()``, leaves and files. In
    a copy of a whole graph, it refers to the copies of the Variables that the graph owns.
    """
