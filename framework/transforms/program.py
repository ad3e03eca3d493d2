"""Programs: compiled functions for fixed lists of Variables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol
from weakref import ref

import jax
import jax.numpy as jnp

from framework.errors import TraceError
from framework.nodes.frames import Frame
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
        "__weakref__", "_first", "_given", "_keep", "_lent", "_loan", "_packed", "_packing",
        "_reuse", "_running", "_source", "_stored", "alive", "calls_back", "read", "written",
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
        self.written = [ref(variable, on_death) for variable in written]
        self.read = [ref(variable, on_death) for variable in first.read]
        # Of what it writes, the first are donated and lent, the others are put into their cells.
        self._lent, self._stored = self.written[: len(reused)], self.written[len(reused) :]
        self._given = [*self._stored, *self.read]
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
    ) -> tuple[Any, list[Any], list[Any]]:
        """What JAX traces: state and arguments in; result, lent and other new state out."""
        written, count = [v() for v in self.written], len(self._lent)
        variables = (*written, *(v() for v in self.read))
        known: Any = dict(zip(variables, (*state, *seen), strict=True))
        leaves = self._merged(donated, kept)
        first = self._first  # Another thread may drop it meanwhile.
        if first is not None:
            out, values = first(known, leaves)
            new = [values[v] for v in written]  # type: ignore[index]
            return out, new[:count], new[count:]
        out, frame = self._source.trace(known, leaves)
        out, new = state_outputs(out, frame, written)  # type: ignore[arg-type]
        self._source.traced()
        return out, new[:count], new[count:]

    def _pure_packed(
        self, buffers: list[Any], seen: list[Any], donated: list[Any], kept: list[Any], packing: Any
    ) -> tuple[Any, list[Any], list[Any]]:
        """The same with packed state."""
        out, new, stored = self._pure(packing.unpacked(buffers), seen, donated, kept)
        return out, packing.packed(new), stored

    def _merged(self, donated: list[Any], kept: list[Any]) -> list[Any]:
        if not donated:
            return kept
        take = {True: iter(donated), False: iter(kept)}
        return [next(take[mark]) for mark in self._source.marks]

    def run(self, donated: list[Any], kept: list[Any]) -> tuple[list[Any], Any, list[Any]]:
        """Run on the Variables' cells, and reuse their buffers.

        Returns:
            The Variables to write, the result, and their new values; those on loan are left out.

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
            if self.calls_back:
                written, out, new = self.run_keeping(donated, kept)
                jax.block_until_ready((out, new))
                return written, out, new
            loan = self._loan
            state = None if loan is None else loan.state_to_take(gather_for_donation)
            if state is None:
                state = self._gathered()
            packing = self._packing
            seen = [v().value for v in self._given]  # type: ignore[union-attr]
            if packing is None:
                out, new, stored = self._reuse(state, seen, donated, kept)
            else:
                out, new, stored = self._packed(state, seen, donated, kept, packing)
        finally:
            self._running = False
        self._first = None
        if loan is None or not loan.renew(state, new):
            self._loan = loan = Loan(self._lent, new, packing and packing.unpacked)
            loan.lend()
        return [v() for v in self._stored], out, stored

    def _gathered(self) -> list[Any]:
        """The state, free to be donated, from the cells."""
        lent: list[Any] = [v() for v in self._lent]
        if self._packed is None:
            return gather_for_donation(lent)
        self._packing = packing = Packing([variable._value for variable in lent])
        alone = [index for index, *more in packing.groups if not more]
        free = zip(alone, gather_for_donation([lent[index] for index in alone]), strict=True)
        values = {index: variable._value for index, variable in enumerate(lent)} | dict(free)
        return packing.packed(values)

    def run_keeping(self, donated: list[Any], kept: list[Any]) -> tuple[list[Any], Any, list[Any]]:
        """Run without reuse of buffers, on what Variables are in the transform around it.

        Returns:
            The Variables that it writes, the result, and their new values.
        """
        out, new, stored = self._keep(*self._inputs(), donated, kept)
        self._first = None
        return [v() for v in self.written], out, [*new, *stored]

    def lower(self, donated: list[Any], kept: list[Any]) -> jax.stages.Lowered:
        """Lower to what XLA compiles."""
        state, seen = self._inputs()
        if self._packed is None:
            return self._reuse.lower(state, seen, donated, kept)
        packing = Packing(state)
        return self._packed.lower(packing.packed(state), seen, donated, kept, packing)

    def _inputs(self) -> tuple[list[Any], list[Any]]:
        lent: list[Any] = [v().value for v in self._lent]  # type: ignore[union-attr]
        return lent, [v().value for v in self._given]  # type: ignore[union-attr]


def _is_reusable(variable: Variable) -> bool:
    """Whether a count of references tells if somebody else holds the buffer.

    It does not for a key, whose buffer is that of another array, which `jax.random.key_data` gives.
    """
    return not jnp.issubdtype(variable._shown().dtype, jax.dtypes.extended)
