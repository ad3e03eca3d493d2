"""Loans: the arrays of many Variables in the hands of one compiled function.

Between two calls of a compiled function, hardly anybody looks at the state that it writes. So it
keeps the arrays in the list in which the next call takes them, and the cells hold the loan instead.
A look at one of these cells, or a write to it, has its array put back; many have all put back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import RLock
from typing import Any
from weakref import ref

import jax

__all__ = ["Loan", "put"]

# So many arrays are given back one by one. Who wants more, such as a checkpoint, wants all.
FEW = 8

_lock = RLock()
"""Other threads may look at any time, while a function runs or lends."""


class Loan:
    """Arrays that a compiled function holds for Variables.

    Args:
        cells: The Variables, weakly.
        state: Their arrays, in the form in which the function takes them.
        arrays_in: Makes the arrays of the state, if it is not a list of them.

    Attributes:
        given: The positions of the Variables that have their arrays back.
    """

    __slots__ = ("_positions", "arrays_in", "cells", "given", "state")

    def __init__(
        self,
        cells: Sequence[ref[Any]],
        state: list[Any],
        arrays_in: Callable[[list[Any]], list[Any]] | None = None,
    ) -> None:
        self.cells = cells
        self.state: list[Any] | None = state
        self.arrays_in = arrays_in
        self.given: list[int] = []
        self._positions: dict[int, int] = {}

    def lend(self) -> None:
        """Put the loan in the place of the arrays."""
        with _lock:
            for cell in self.cells:
                variable = cell()
                if variable is not None:
                    variable._held = self

    def renew(self, state: list[Any], new: list[Any]) -> bool:
        """Hold another state, unless the loan no longer holds the one that it is made from."""
        with _lock:
            if self.state is not state:
                return False
            self.state = new
            return True

    def give(self, variable: Any) -> Any:
        """Put the array of a Variable back, which holds the loan.

        Returns:
            The array.
        """
        with _lock:
            held = variable._held
            if held is not self:
                return held.give(variable) if type(held) is Loan else held
            if self.state is None or self.arrays_in is not None or len(self.given) == FEW:
                self.recall()
                return variable._held
            if not self._positions:
                self._positions = {id(cell()): position for position, cell in enumerate(self.cells)}
            position = self._positions[id(variable)]
            # In one place only, for whether it may be donated shows in the count of references; and
            # in a new list, for a call may be under way with this one.
            self.state = state = self.state.copy()
            array, state[position] = state[position], None
            variable._held = array
            self.given.append(position)
            return array

    def state_to_take(self, gather: Callable[[list[Any]], list[Any]]) -> list[Any] | None:
        """The state for the next call, complete with what was given; None if it was called back.

        Args:
            gather: Makes arrays of Variables that may be donated.
        """
        with _lock:
            if self.state is not None and self.given:
                variables: list[Any] = [self.cells[position]() for position in self.given]
                arrays = gather(variables)
                for position, variable, array in zip(self.given, variables, arrays, strict=True):
                    self.state[position] = array
                    variable._held = self
                self.given.clear()
            return self.state

    def recall(self) -> None:
        """Put the arrays back into the cells that still hold the loan."""
        with _lock:
            arrays = self.state
            if arrays is None:
                return
            if self.arrays_in is not None:
                # Who looks may be inside of a trace, which these arrays are no part of.
                with jax.ensure_compile_time_eval():
                    arrays = self.arrays_in(arrays)
            self.state = None
            self.given.clear()
            for cell, array in zip(self.cells, arrays, strict=True):
                variable = cell()
                if variable is not None and variable._held is self:
                    variable._held = array


def put(variable: Any, value: Any) -> None:
    """Write into the cell of a Variable, whatever it holds."""
    with _lock:
        if type(variable._held) is Loan:
            variable._held.give(variable)
        variable._held = value
