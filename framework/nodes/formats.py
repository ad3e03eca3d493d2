"""File formats of `save_states` and `load_states`, by suffix."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Protocol

__all__ = ["Format", "format_of", "register_format"]


class Format(Protocol):
    """Writes the leaves of an object to a file, and reads them back into an object."""

    def save(self, filename: Path, obj: Any) -> None:
        """Write the leaves of the object, a node or a dict of Variables."""
        ...

    def load(self, filename: Path, obj: Any) -> Any:
        """Read into the object, all or nothing; returns a report."""
        ...


_formats: dict[str, Format] = {}


def register_format(suffix: str, format_: Format) -> None:
    """Use the format for files of this suffix.

    Args:
        suffix: With the dot, such as ``.msgpack``.
        format_: What writes and reads them.
    """
    _formats[suffix] = format_


def format_of(filename: str | os.PathLike[str]) -> Format:
    """The format for a file name.

    Raises:
        ValueError: No format has the suffix.
    """
    suffix = Path(filename).suffix.lower()
    if suffix not in _formats:
        known = ", ".join(sorted(_formats))
        raise ValueError(
            f"The suffix {suffix!r} of {os.fspath(filename)!r} names no known file format. "
            f"Known are {known}; write for example 'model.msgpack'."
        )
    return _formats[suffix]
