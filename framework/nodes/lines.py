"""Lines: where the user's code last assigned what a trace takes for granted."""

from __future__ import annotations

import sys

from framework.nodes.frames import next_serial

__all__ = ["Watch", "line_of", "note_line", "users_line", "watch"]

_PACKAGE = __name__.partition(".")[0]
# What may stand between a line of the user's and ours.
_PASSED_OVER = frozenset((_PACKAGE, "jax", "jaxlib", "contextlib", "functools"))
MAX_LINES = 4096
_lines: dict[tuple[int, str], str] = {}


class Watch:
    """What assignments are worth a note.

    Attributes:
        up_to: The serial number of the youngest object that a trace may have seen. What is younger
            is being built, which is no time for notes.
    """

    __slots__ = ("up_to",)

    def __init__(self) -> None:
        self.up_to = 0

    def everything(self) -> None:
        """Note lines for every object that exists by now."""
        self.up_to = next_serial()


watch = Watch()


def note_line(serial: int, key: str = "") -> None:
    """Note the line that is assigning.

    Args:
        serial: The serial number of an object not younger than ``watch.up_to``, or of a Variable.
        key: The attribute of the object.
    """
    _lines.pop((serial, key), None)
    if len(_lines) >= MAX_LINES:
        _lines.pop(next(iter(_lines)), None)
    _lines[serial, key] = users_line()


def line_of(serial: int, key: str = "") -> str:
    """The line noted last, as file and number; empty if there is none.

    Args:
        serial: As in :func:`note_line`.
        key: As in :func:`note_line`.
    """
    return _lines.get((serial, key), "")


def users_line() -> str:
    """The innermost line that is being run and is neither ours nor JAX's, as file and number."""
    frame = sys._getframe(1)
    while frame is not None:
        if frame.f_globals.get("__name__", "").partition(".")[0] not in _PASSED_OVER:
            return f"{frame.f_code.co_filename}:{frame.f_lineno}"
        frame = frame.f_back
    return ""
