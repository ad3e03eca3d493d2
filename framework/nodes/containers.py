"""Lists and dictionaries of Variables or nodes, as attributes or on their own."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any, SupportsIndex

from framework.nodes.array import raw
from framework.nodes.graph import Node
from framework.nodes.pytree import register_container
from framework.nodes.variable import Variable

__all__ = [
    "NodeDict",
    "NodeList",
    "VarDict",
    "VarList",
    "node_dict",
    "node_list",
    "var_dict",
    "var_list",
]


def _checked(owner: Any, value: Any, expected: Any, where: object) -> Any:
    if not isinstance(value, expected):
        raise TypeError(
            f"{type(owner).__name__} holds {owner._content}, but got a "
            f"{type(value).__name__} at {where!r}."
        )
    return value


class _CheckedList(list[Any]):
    """A list that takes only one kind of item."""

    _holds: Any
    _content: str

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        register_container(cls)

    def __init__(self, iterable: Iterable[Any] | None = None) -> None:
        super().__init__()
        self.extend(() if iterable is None else iterable)

    def append(self, element: Any) -> None:
        """Add an item at the end."""
        super().append(_checked(self, element, self._holds, len(self)))

    def extend(self, iterable: Iterable[Any]) -> None:
        """Add items at the end."""
        start = len(self)
        super().extend([_checked(self, x, self._holds, start + i) for i, x in enumerate(iterable)])

    def insert(self, index: SupportsIndex, element: Any) -> None:
        """Put an item before the index."""
        super().insert(index, _checked(self, element, self._holds, index))

    def __iadd__(self, other: Iterable[Any]) -> Any:
        self.extend(other)
        return self

    def __add__(self, other: Iterable[Any]) -> Any:
        return type(self)([*self, *other])

    def __getitem__(self, index: Any) -> Any:
        item = super().__getitem__(index)
        return type(self)(item) if isinstance(index, slice) else item

    def __setitem__(self, index: Any, value: Any) -> None:
        if isinstance(index, slice):
            value = [_checked(self, x, self._holds, index) for x in value]
        else:
            _checked(self, value, self._holds, index)
        super().__setitem__(index, value)

    # Items go by identity, since `==` of Variables is elementwise.
    __hash__ = object.__hash__  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        return self is other

    def __ne__(self, other: object) -> bool:
        return self is not other

    def __contains__(self, item: object) -> bool:
        return any(item is own for own in self)

    def count(self, value: Any) -> int:
        """How often the item is in the list."""
        return sum(value is own for own in self)

    def index(self, value: Any, start: SupportsIndex = 0, stop: SupportsIndex | None = None) -> int:
        """Where the item is first.

        Raises:
            ValueError: It is not in the list.
        """
        for position in range(len(self))[start:stop]:
            if self[position] is value:
                return position
        raise ValueError(f"This {type(value).__name__} is not in the {type(self).__name__}.")

    def remove(self, value: Any) -> None:
        """Remove the item where it is first.

        Raises:
            ValueError: It is not in the list.
        """
        del self[self.index(value)]

    def copy(self) -> Any:
        """A list of its own with the same items."""
        return type(self)(self)


class _CheckedDict(dict[Any, Any]):
    """A dictionary that takes only one kind of value."""

    _holds: Any
    _content: str

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        register_container(cls)

    def _check(self, key: Any, value: Any) -> None:
        """Refuse what may not be set under the key."""
        _checked(self, value, self._holds, key)

    def update(self, *args: Any, **kwargs: Any) -> Any:  # type: ignore[override]
        """Set all items, or none if one of them is refused; returns this dictionary."""
        items = dict(*args, **kwargs)
        for key, value in items.items():
            self._check(key, value)
        for key, value in items.items():
            self[key] = value
        return self

    def __ior__(self, other: Any) -> Any:  # type: ignore[override]
        return self.update(other)

    def __or__(self, other: Any) -> Any:
        return self.copy().update(other)

    def copy(self) -> Any:
        """A dictionary of its own with the same items."""
        return copy.copy(self)

    def setdefault(self, key: Any, default: Any = None) -> Any:
        """The value under the key, set to the default if there is none."""
        if key not in self:
            self[key] = default
        return self[key]

    __hash__ = object.__hash__  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        return self is other

    def __ne__(self, other: object) -> bool:
        return self is not other


class VarList(_CheckedList):
    """A list of Variables; assigning to an item writes its value, a slice replaces.

    Raises:
        TypeError: An item is no Variable.

    >>> import jax.numpy as jnp
    >>> variables = VarList([Variable(2)])
    >>> variables[0] = jnp.array([1.0, 2.0])
    >>> print(variables[0].value)
    [1. 2.]
    """

    _holds = Variable
    _content = "Variables"

    def __setitem__(self, index: Any, value: Any) -> None:
        if isinstance(index, slice):
            super().__setitem__(index, value)
        else:
            self[index].value = raw(value)


class VarDict(_CheckedDict):
    """A dictionary of Variables; assigning to a key that exists writes its value.

    Raises:
        TypeError: A value is no Variable.

    >>> VarDict(w=Variable(2))["w"].shape
    (2,)
    """

    _holds = Variable
    _content = "Variables"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()
        self.update(*args, **kwargs)

    def _check(self, key: Any, value: Any) -> None:
        if key in self:
            self[key]._checked(raw(value))
        else:
            super()._check(key, value)

    def __setitem__(self, key: Any, value: Any) -> None:
        if key in self:
            self[key].value = raw(value)
        else:
            self._check(key, value)
            super().__setitem__(key, value)


class NodeList(_CheckedList):
    """A list of nodes.

    Raises:
        TypeError: An item is no BrainPyObject.
    """

    _content = "BrainPyObjects"


class NodeDict(_CheckedDict):
    """A dictionary of nodes.

    Args:
        *args: Dictionaries, or pairs ``(key, node)``.
        check_unique: Refuse another object under a used key.
        **kwargs: More nodes by key.

    Raises:
        KeyError: Another object is put under a used key, with ``check_unique``.
        TypeError: A value is no BrainPyObject.
    """

    _content = "BrainPyObjects"

    def __init__(self, *args: Any, check_unique: bool = False, **kwargs: Any) -> None:
        super().__init__()
        self.check_unique = check_unique
        for arg in args:
            if isinstance(arg, dict):
                self.update(arg)
            elif isinstance(arg, tuple) and len(arg) == 2:
                self[arg[0]] = arg[1]
            else:
                raise TypeError(
                    "NodeDict takes dictionaries and pairs (key, node), but got "
                    f"a {type(arg).__name__}."
                )
        self.update(kwargs)

    def _check(self, key: Any, value: Any) -> None:
        super()._check(key, value)
        if getattr(self, "check_unique", False) and key in self and self[key] is not value:
            raise KeyError(
                f"Another {type(self[key]).__name__} is held under the key {key!r}. "
                "Use another key, or delete the old entry first."
            )

    def __setitem__(self, key: Any, value: Any) -> None:
        self._check(key, value)
        super().__setitem__(key, value)


NodeList._holds = NodeDict._holds = (Node, NodeList, NodeDict)

var_list, var_dict, node_list, node_dict = VarList, VarDict, NodeList, NodeDict
