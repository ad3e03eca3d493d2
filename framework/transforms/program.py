"""Programs: compiled functions for fixed lists of Variables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol
from weakref import ref

import jax
import jax.numpy as jnp

from framework.errors import TraceError
from framework.nodes.frames import Frame, is_tracer
from framework.nodes.loan import Loan
from framework.nodes.variable import Variable
from framework.transforms.discovery import FirstTrace, named_after, state_outputs
from framework.transforms.donation import gather_for_donation
from framework.transforms.packing import Packing

__all__ = ["Program", "Source"]


class Source(Protocol):
    """What a program is compiled from.

    Attributes:
        marks: For each array among the arguments, whether its buffer may be reused.
    """

    marks: list[bool]

    def user_function(self) -> Callable[..., Any]:
        """The function as the user wrote it."""
        ...

    def options(self) -> dict[str, Any]:
        """Options of `jax.jit`."""
        ...

    def packs_state(self) -> bool:
        """Whether to keep small arrays of state together between calls."""
        ...

    def trace(self, known: dict[Variable, Any], leaves: list[Any]) -> tuple[Any, Frame]:
        """Run the function, which JAX traces."""
        ...

    def traced(self) -> None:
        """Count a trace that is complete."""
        ...


class Program:
    """A function compiled for the Variables that it writes and those that it only reads.

    It refers to Variables weakly, so it keeps no model alive.

    Args:
        source: What to compile.
        first: The first trace of the user's function.

    Attributes:
        alive: Whether all its Variables still exist.
        written: The Variables that it writes.
        read: The Variables that it only reads.
    """

    __slots__ = (
        "__weakref__", "_count", "_first", "_keep", "_loan", "_packed", "_packing", "_reuse",
        "_running", "_source", "alive", "calls_back", "read", "written",
    )  # fmt: skip

    def __init__(self, source: Source, first: FirstTrace) -> None:
        self.alive = True
        program = ref(self)

        def on_death(_: Any) -> None:
            if (found := program()) is not None:
                found.alive = False
                found._loan = None

        reused = [v for v in first.written if _is_reusable(v) and v not in first.resized]
        targets = set(reused)
        written = [*reused, *(v for v in first.written if v not in targets)]
        self._count = len(reused)
        self.written = [ref(variable, on_death) for variable in written]
        self.read = [ref(variable, on_death) for variable in first.read]
        self.calls_back = first.calls_back
        self._source = source
        self._first: FirstTrace | None = first
        self._running = False
        self._loan: Loan | None = None
        options = source.options()
        pure = named_after(source.user_function(), self._pure)
        # A failing callback, and the debugging modes that run a function again after it failed,
        # need the old state.
        self._keep = jax.jit(pure, **options)
        self._reuse = self._keep
        self._packed: Any = None
        self._packing: Packing | None = None
        if not self.calls_back:
            donated = (0, 2) if any(source.marks) else (0,)
            self._reuse = jax.jit(pure, donate_argnums=donated, **options)
            if source.packs_state():
                packed = named_after(source.user_function(), self._pure_packed)
                self._packed = jax.jit(packed, static_argnums=4, donate_argnums=donated, **options)

    def _pure(
        self, state: list[Any], seen: list[Any], donated: list[Any], kept: list[Any]
    ) -> tuple[Any, list[Any]]:
        """What JAX traces: state and arguments in, result and new state out."""
        written = [v() for v in self.written]
        variables = (*written, *(v() for v in self.read))
        known: Any = dict(zip(variables, (*state, *seen), strict=True))
        leaves = self._merged(donated, kept)
        first = self._first  # Another thread may drop it meanwhile.
        if first is not None:
            out, new = first(known, leaves)
            return out, [new[v] for v in written]  # type: ignore[index]
        out, frame = self._source.trace(known, leaves)
        outputs = state_outputs(out, frame, written)  # type: ignore[arg-type]
        self._source.traced()
        return outputs

    def _pure_packed(
        self, buffers: list[Any], seen: list[Any], donated: list[Any], kept: list[Any], packing: Any
    ) -> tuple[Any, list[Any]]:
        """The same with packed state."""
        out, new = self._pure(packing.unpacked(buffers), seen, donated, kept)
        return out, packing.packed(new)

    def _merged(self, donated: list[Any], kept: list[Any]) -> list[Any]:
        if not donated:
            return kept
        take = {True: iter(donated), False: iter(kept)}
        return [next(take[mark]) for mark in self._source.marks]

    def run(self, donated: list[Any], kept: list[Any]) -> tuple[list[Any], Any, list[Any]]:
        """Run on the Variables' cells, and reuse their buffers.

        Returns:
            The Variables to write, the result, and their new values. There are none to write
            where the new values stay on loan.

        Raises:
            TraceError: Another thread is running the same program.
        """
        if self._running and self.written:
            raise TraceError(
                "Two threads run a function that writes the same Variables at the same time, so "
                "one of the updates would be lost. Let one thread do the steps, or hold a lock "
                "around each step."
            )
        self._running = True
        try:
            if self.calls_back or self._count < len(self.written):
                return self._run_unlent(donated, kept)
            loan = self._loan
            state = None if loan is None else loan.state
            if state is None:
                state = self._gathered()
            packing = self._packing
            seen = [v().value for v in self.read]  # type: ignore[union-attr]
            if packing is None:
                out, new = self._reuse(state, seen, donated, kept)
            else:
                out, new = self._packed(state, seen, donated, kept, packing)
        finally:
            self._running = False
        self._first = None
        if loan is not None and loan.state is state:
            loan.state = new
        elif new and is_tracer(new[0]):
            return [v() for v in self.written], out, packing.unpacked(new) if packing else new
        else:
            self._loan = loan = Loan(self.written, new, packing and packing.unpacked)
            loan.lend()
        return [], out, []

    def _gathered(self) -> list[Any]:
        """The state, free to be donated, from the cells."""
        written: list[Any] = [v() for v in self.written]
        if self._packed is None:
            return gather_for_donation(written)
        values = [variable._value for variable in written]
        self._packing = packing = Packing(values)
        return packing.packed(values)

    def _run_unlent(self, donated: list[Any], kept: list[Any]) -> tuple[list[Any], Any, list[Any]]:
        written: list[Any] = [v() for v in self.written]
        if self.calls_back:
            out, new = self._keep(*self._inputs(), donated, kept)
            jax.block_until_ready((out, new))
        else:
            count = self._count
            state = gather_for_donation(written[:count])
            seen = [v.value for v in (*written[count:], *(v() for v in self.read))]  # type: ignore[union-attr]
            out, new = self._reuse(state, seen, donated, kept)
        self._first = None
        return written, out, new

    def run_keeping(self, donated: list[Any], kept: list[Any]) -> tuple[list[Any], Any, list[Any]]:
        """Run without reuse of buffers, on what Variables are in the transform around it.

        Returns:
            The Variables that it writes, the result, and their new values.
        """
        out, new = self._keep(*self._inputs(), donated, kept)
        self._first = None
        return [v() for v in self.written], out, new

    def lower(self, donated: list[Any], kept: list[Any]) -> jax.stages.Lowered:
        """Lower to what XLA compiles."""
        state, seen = self._inputs()
        if self._packed is None or self._count < len(self.written):
            return self._reuse.lower(state, seen, donated, kept)
        packing = Packing(state)
        return self._packed.lower(packing.packed(state), seen, donated, kept, packing)

    def _inputs(self) -> tuple[list[Any], list[Any]]:
        values: list[Any] = [v().value for v in (*self.written, *self.read)]  # type: ignore[union-attr]
        return values[: self._count], values[self._count :]


def _is_reusable(variable: Variable) -> bool:
    """Whether a count of references tells if somebody else holds the buffer.

    It does not for a key, whose buffer is that of another array, which `jax.random.key_data` gives.
    """
    return not jnp.issubdtype(variable._shown().dtype, jax.dtypes.extended)
