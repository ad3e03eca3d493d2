"""Loans: the arrays of many Variables in the hands of one compiled function.

Between two calls of a compiled function, nobody may look at the state that it writes. So it keeps
the arrays in the list in which the next call takes them, and the cells hold the loan instead. The
first look at any of these cells, or write to it, calls all arrays back into their cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from weakref import ref

__all__ = ["Loan"]


class Loan:
    """Arrays that a compiled function holds for Variables.

    Args:
        cells: The Variables, weakly.
        state: Their arrays.
    """

    __slots__ = ("cells", "state")

    def __init__(self, cells: Sequence[ref[Any]], state: list[Any]) -> None:
        self.cells = cells
        self.state: list[Any] | None = state

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
            for cell, array in zip(self.cells, state, strict=True):
                variable = cell()
                if variable is not None and variable._held is self:
                    variable._held = array
