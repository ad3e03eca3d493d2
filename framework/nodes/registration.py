"""Names for implicitly registered Variables and nodes."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["named_items"]


def named_items(
    values: tuple[Any, ...], named: Mapping[str, Any], cls: Any, stem: str, held: Mapping[str, Any]
) -> dict[str, Any]:
    """Give each object to register a key.

    Args:
        values: Objects, or lists, tuples and dicts of them, nested as deep as you like.
        named: Objects by key.
        cls: The class that all must have.
        stem: Objects without a key are called ``<stem>0``, ``<stem>1``, …
        held: What is registered already. An object without a key that is among it is left out.

    Returns:
        The objects by key.

    Raises:
        ValueError: Something is of another class, or a key holds another object.
    """
    items: dict[str, Any] = {}
    known = {id(value) for value in held.values()}
    numbers = itertools.count()
    for given, value in (*_flat(None, values, cls), *_flat(None, named, cls)):
        key = given
        if key is None:
            if id(value) in known:
                continue
            names = (f"{stem}{number}" for number in numbers)
            key = next(name for name in names if name not in items and name not in held)
        if items.get(key, held.get(key, value)) is not value:
            raise ValueError(f"Another {type(value).__name__} is registered as {key!r}.")
        known.add(id(value))
        items[key] = value
    return items


def _flat(key: str | None, value: Any, cls: Any) -> Iterator[tuple[str | None, Any]]:
    """The objects in nested containers, with the keys that they have."""
    if isinstance(value, cls):
        yield key, value
    elif isinstance(value, Mapping):
        for below, child in value.items():
            yield from _flat(str(below), child, cls)
    elif isinstance(value, (list, tuple)):
        for child in value:
            yield from _flat(None, child, cls)
    else:
        names = " or ".join(c.__name__ for c in (cls if isinstance(cls, tuple) else (cls,)))
        raise ValueError(
            f"Only instances of {names}, and lists, tuples and dicts of them, can be "
            f"registered, but got a {type(value).__name__}{f' as {key!r}' if key else ''}."
        )
