"""Donation with copy-on-write: which buffers of state may be handed to XLA for reuse."""

from __future__ import annotations

from sys import getrefcount
from typing import Any

import jax.numpy as jnp

from framework.nodes.loan import Loan
from framework.nodes.variable import Variable

__all__ = ["gather_for_donation"]


def gather_for_donation(variables: list[Variable]) -> list[Any]:
    """The arrays of Variables, each free to be donated.

    An array that anybody else still holds is copied first, so that ``old = v.value; step(); old``
    is always valid.

    Args:
        variables: Distinct Variables, outside of all transforms.
    """
    values = [variable._held for variable in variables]
    if Loan in set(map(type, values)):
        values = [variable._value for variable in variables]
    counts = list(map(getrefcount, values))
    if max(counts, default=0) > _FREE:
        for index, count in enumerate(counts):
            if count > _FREE:
                # In the cell at once, so that no more than one array exists twice.
                variables[index]._held = values[index] = jnp.copy(values[index])
    return values


def _references_of_free_array() -> int:
    """What `getrefcount` says of an array that only a Variable and the list above hold."""
    holder = Variable.__new__(Variable)
    holder._held = object()
    values = [variable._held for variable in [holder]]
    return max(list(map(getrefcount, values)))


_FREE = _references_of_free_array()
