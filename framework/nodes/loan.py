"""Loans: the arrays of many Variables in the hands of one compiled function.

Between two calls of a compiled function, nobody may look at the state that it writes. So it keeps
the arrays in the list in which the next call takes them, and the cells hold the loan instead. The
first look at any of these cells, or write to it, calls all arrays back into their cells.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from weakref import ref

import jax

__all__ = ["Loan"]


class Loan:
    """Arrays that a compiled function holds for Variables.

    Args:
        cells: The Variables, weakly.
        state: Their arrays, in the form in which the function takes them.
        arrays_in: Makes the arrays of the state, if it is not a list of them.
    """

    __slots__ = ("arrays_in", "cells", "state")

    def __init__(
        self,
        cells: Sequence[ref[Any]],
        state: list[Any],
        arrays_in: Callable[[list[Any]], list[Any]] | None = None,
    ) -> None:
        self.cells = cells
        self.state: list[Any] | None = state
        self.arrays_in = arrays_in

    def lend(self) -> None:
        """Put the loan in the place of the arrays."""
        for cell in self.cells:
            variable = cell()
            if variable is not None:
                variable._held = self

    def recall(self) -> None:
        """Put the arrays back into the cells that still hold the loan."""
        state, self.state = self.state, None
        if state is not None:
            if self.arrays_in is not None:
                # Who looks may be inside of a trace, which these arrays are no part of.
                with jax.ensure_compile_time_eval():
                    state = self.arrays_in(state)
            for cell, array in zip(self.cells, state, strict=True):
                variable = cell()
                if variable is not None and variable._held is self:
                    variable._held = array
