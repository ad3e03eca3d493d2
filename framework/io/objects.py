"""Whole objects in files, rebuilt without the code that made them: `save_object`, `load_object`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

from framework.errors import CheckpointError
from framework.io.building import build_object
from framework.io.description import describe_object
from framework.io.names import Resolver
from framework.io.pytree import flatten
from framework.io.sources import open_source, write_source
from framework.io.states import read, select

__all__ = ["load_object", "save_object"]

_MALFORMED = (KeyError, TypeError, ValueError, IndexError, AttributeError, RecursionError)


def save_object(
    path: str | os.PathLike[str], obj: Any, *, meta: Mapping[str, Any] | None = None
) -> None:
    """Saves an object with the names of its classes and its static configuration.

    Args:
        path: The file. `load_states` and `load` read it, too.
        obj: An object of this package, or lists, tuples and dicts of such objects.
        meta: Anything that JSON could hold.

    Raises:
        CheckpointError: A static value cannot be stored, which the message names by its path; or
            the file cannot be written.

    Example:
        >>> import tempfile, framework
        >>> name = tempfile.mkdtemp() + "/a.msgpack"
        >>> model = framework.NodeList()
        >>> save_object(name, model)
        >>> type(load_object(name)).__name__
        'NodeList'
    """
    flat = flatten(obj)
    write_source(path, flat.leaves, flat.aliases, meta, describe_object(obj))


def load_object(path: str | os.PathLike[str], *, allow: Iterable[Any] = ()) -> Any:
    """Rebuilds an object that `save_object` saved, sharing and cycles included.

    No module is imported, no constructor and no other code of the classes runs.

    Args:
        path: The file.
        allow: Functions and classes that the file may refer to, besides classes of objects and
            Variables that are defined, types of plain data, and functions of `jax.nn`, `jax.lax`
            and `jax.numpy`.

    Returns:
        A new object.

    Raises:
        CheckpointError: The file is damaged, or needs what is not defined or not allowed.
    """
    with open_source(path) as file:
        description = file.header.structure
        if not isinstance(description, dict):
            raise CheckpointError(
                f"{os.fspath(path)!r} was not written by save_object; use load, or load_states "
                "with an object at hand"
            )
        contents = select(file.header, None, None, None)
        leaves = read(file, contents.leaves)
        try:
            return build_object(description, leaves, Resolver(allow))
        except CheckpointError as error:
            raise CheckpointError(f"{os.fspath(path)!r} {error}") from None
        except _MALFORMED as error:
            raise CheckpointError(
                f"{os.fspath(path)!r} has a malformed description: {error!r}"
            ) from error
