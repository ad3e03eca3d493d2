"""Frames: where reads and writes of Variables go while a transform runs.

Each active transform owns one frame of a thread-local stack. A read asks the top frame, then its
parents, then the Variable's cell; a write stays in the top frame until the transform hands it on.
So an exception leaves every cell as it was, and no other thread sees a trace.
"""

from __future__ import annotations

import functools
import itertools
import threading
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Protocol

from jax.core import Tracer

__all__ = [
    "Frame",
    "active",
    "by_value",
    "concrete",
    "current_trace",
    "in_trace",
    "is_tracer",
    "local",
    "next_serial",
    "outside_of_traces",
    "peek",
    "store_all",
]

next_serial = itertools.count(1).__next__
"""Serial numbers order the creation of cells, nodes and frames: what is younger than a frame was
created inside it."""

_MISSING = object()


class Cell(Protocol):
    """What a frame needs to know of a Variable."""

    _value: Any
    _serial: int

    def _store(self, value: Any) -> None: ...


class _Local(threading.local):
    frame: Frame | None = None
    # While set, objects whose serial is not above it flatten to handles instead of arrays.
    handles_up_to: int | None = None


local = _Local()

active: list[None] = []
"""One entry for each frame or reference mode in force in any thread: while it is empty, a read of
a Variable need not look at the thread's own state, which is slow."""

concrete: set[type] = set()
"""Types that are certainly no tracers, as met so far; isinstance of Tracer is slow."""


def is_tracer(value: object) -> bool:
    """Tell whether the value stands for an array that a JAX transform has not computed yet."""
    if type(value) in concrete:
        return False
    if isinstance(value, Tracer):
        return True
    if len(concrete) < 64:
        concrete.add(type(value))
    return False


class _Traces:
    """How to tell JAX's traces apart. Made at first need, since the imports are slow."""

    def __init__(self) -> None:
        try:
            from jax.extend.core import find_top_trace, get_opaque_trace_state
        except ImportError:  # Before JAX 0.10.
            from jax.core import find_top_trace, get_opaque_trace_state  # pyright: ignore[reportAttributeAccessIssue, reportUnknownVariableType]
        self.innermost: Callable[[tuple[()]], object] = find_top_trace
        self.state: Callable[[], object] = functools.partial(
            get_opaque_trace_state, convention="framework"
        )
        # A new thread is outside of all traces, wherever this one is.
        with ThreadPoolExecutor(1) as thread:
            self.eager = thread.submit(find_top_trace, ()).result()


_traces = functools.cache(_Traces)


def outside_of_traces() -> bool:
    """Tell whether this thread is outside of all JAX traces. Runs at every jitted call."""
    traces = _traces()
    return traces.innermost(()) is traces.eager


def current_trace() -> object | None:
    """Identify the JAX trace that this thread is in: None outside of all, else comparable by ==."""
    return None if outside_of_traces() else _traces().state()


def in_trace() -> bool:
    """Tell whether this thread is inside a JAX trace or one of our transforms."""
    return local.frame is not None or not outside_of_traces()


class Frame:
    """The reads and writes of one active transform.

    Args:
        known: Values that the transform provides for Variables, usually tracers.

    ``reads`` and ``writes`` are the Variables read from outside and written, in order. Variables
    created after the frame are its own business and appear in neither.
    """

    __slots__ = ("parent", "reads", "serial", "trace", "values", "writes")

    def __init__(self, known: dict[Any, Any]) -> None:
        self.values = known
        self.reads: dict[Any, None] = {}
        self.writes: dict[Any, None] = {}
        self.parent = local.frame
        self.trace = current_trace()
        self.serial = next_serial()

    def read(self, cell: Cell) -> Any:
        """What the cell holds for this transform."""
        value = self.values.get(cell, _MISSING)
        if value is _MISSING:
            if cell._serial > self.serial:
                return cell._value
            value = cell._value if self.parent is None else self.parent.read(cell)
            self.values[cell] = value
            self.reads[cell] = None
        return value

    def peek(self, cell: Cell) -> Any:
        """What a read would give, or something of its shape and dtype, without noting the read."""
        if cell in self.values:
            return self.values[cell]
        if self.parent is None or cell._serial > self.serial:
            return cell._value
        return self.parent.peek(cell)

    def read_matters(self, cell: Cell) -> bool:
        """Tell whether reading the cell, and nothing else, would change it in the end."""
        if self.parent is None or cell in self.reads or cell in self.writes:
            return False
        return cell._serial < self.serial and self.parent.read_matters(cell)

    def write(self, cell: Cell, value: Any) -> bool:
        """Take the write, or return False if it comes from a trace that is not this frame's."""
        if current_trace() != self.trace:
            return False
        self.values[cell] = value
        self.writes[cell] = None
        return True

    @contextmanager
    def active(self) -> Generator[Frame]:
        """Make this the top frame of the thread."""
        local.frame, handles = self, local.handles_up_to
        local.handles_up_to = None
        active.append(None)
        try:
            yield self
        finally:
            active.pop()
            local.frame = self.parent
            local.handles_up_to = handles

    def commit(self) -> None:
        """Hand what was written to the parent frame, or to the cells."""
        store_all(self.writes, [self.values[cell] for cell in self.writes])


def store_all(cells: Iterable[Cell], values: Iterable[Any]) -> None:
    """Write into several cells, or raise before any is written.

    Args:
        cells: Distinct Variables.
        values: What to write into each, of its shape and dtype.

    Raises:
        TraceError: A value belongs to a trace that may not write into its cell.
    """
    # Nothing but a tracer can be refused, so they go first.
    pairs = sorted(zip(cells, values, strict=True), key=lambda pair: not is_tracer(pair[1]))
    for cell, value in pairs:
        cell._store(value)


def peek(cell: Cell) -> Any:
    """What a read would give, or something of its shape and dtype, without noting the read."""
    frame = local.frame
    return cell._value if frame is None else frame.peek(cell)


@contextmanager
def by_value() -> Generator[None]:
    """Let objects flatten to their arrays, whatever transform is active."""
    handles, local.handles_up_to = local.handles_up_to, None
    try:
        yield
    finally:
        local.handles_up_to = handles
