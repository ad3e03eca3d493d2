"""Bodies: functions in loops and branches, with the state that they change as explicit values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar
from weakref import ref

import jax
from jax import tree_util

from framework.errors import MathError
from framework.nodes.array import raw
from framework.nodes.frames import Frame, local, store_all
from framework.nodes.graph import Node
from framework.nodes.variable import Variable
from framework.transforms.discovery import StateGrew
from framework.transforms.functionalize import functionalize

__all__ = ["Body", "State", "arrays_in", "settled"]

T = TypeVar("T")

MAX_HINTS = 4096
_hints: dict[Any, list[ref[Variable]]] = {}
"""What functions wrote when they were traced last, to be right at once the next time."""


def arrays_in(tree: Any) -> Any:
    """Put the array in the place of each Variable. Objects stay what they are.

    Args:
        tree: Operands, or a result.
    """
    return tree_util.tree_map(raw, tree, is_leaf=lambda x: isinstance(x, (Node, Variable)))


class State:
    """The Variables that a construct changes, as assumed while it is traced.

    Args:
        written: The Variables.
        recording: Whether the trace is just to see what is written.

    Attributes:
        met: What was written in the trace.
    """

    def __init__(self, written: list[Variable], recording: bool = False) -> None:
        self.written = written
        self.recording = recording
        self.values = [variable.value for variable in written]
        self.met: dict[Variable, None] = {}


class Body:
    """A function that takes the state it changes and gives it back.

    Args:
        fun: The user's function.
        state: The Variables that it may change.
        may_resize: Whether the batch axis of a Variable may change its length.
    """

    def __init__(self, fun: Callable[..., Any], state: State, may_resize: bool = False) -> None:
        self.fun = fun
        self.state = state
        self.may_resize = may_resize

    def __call__(self, values: list[Any], *args: Any) -> tuple[Any, Frame, list[Any]]:
        """Run.

        Returns:
            The result, without Variables; the frame; and the new state.

        Raises:
            StateGrew: It changes Variables that were not expected.
        """
        written = self.state.written
        known = dict(zip(written, values, strict=True))
        out, frame = functionalize(lambda *a: arrays_in(self.fun(*a)), known, args)
        self.state.met |= frame.writes
        if self.state.recording:
            return out, frame, []
        unexpected = [variable for variable in frame.writes if variable not in known]
        if unexpected:
            raise StateGrew((), unexpected)
        new = [frame.values[variable] for variable in written]
        if not self.may_resize:
            for variable, before, after in zip(written, values, new, strict=True):
                if after.shape != before.shape:
                    raise MathError(
                        f"{variable._label()} changes its shape from {before.shape} to "
                        f"{after.shape} in a loop, whose state must keep its shape."
                    )
        return out, frame, new


def settled(
    funs: tuple[Callable[..., Any], ...],
    record: Callable[[State], None],
    run: Callable[[State], tuple[T, list[Any]]],
) -> T:
    """Trace a construct for exactly the state that it changes.

    Args:
        funs: The user's functions in it.
        record: Traces their bodies abstractly.
        run: Traces the construct, all of whose bodies have the given state; returns the result and
            the new state.

    Returns:
        The result, once the Variables have their new values.
    """
    key = tuple(map(_hint_key, funs))
    hinted = [variable() for variable in _hints.get(key, ())]
    if key in _hints and _may_be_wrong(hinted):
        written: list[Any] = hinted
    else:
        recorded = State([], recording=True)
        record(recorded)
        written = list(recorded.met)
    while True:
        state = State(written)
        try:
            result, new = run(state)
        except StateGrew as grew:
            written = [*written, *grew.writes]
            continue
        if len(state.met) < len(written):
            # The hint was of another time; what is not changed must not count as changed.
            written = list(state.met)
            continue
        if len(_hints) > MAX_HINTS:
            _hints.clear()
        _hints[key] = list(map(ref, written))
        store_all(written, new)
        return result


def _may_be_wrong(hinted: list[Any]) -> bool:
    """Tell whether nothing but time is lost if the hint is wrong."""
    # JAX takes what a failed trace holds for leaked, and a wrong hint lets one fail.
    if jax.config.jax_check_tracer_leaks:
        return False
    frame = local.frame
    return not any(v is None or (frame and frame.read_matters(v)) for v in hinted)


def _hint_key(fun: Any) -> Any:
    code = getattr(fun, "__code__", None)
    return (id(fun) if code is None else code, id(getattr(fun, "__self__", None)))
