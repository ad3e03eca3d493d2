"""Parameter groups: some parameters with hyperparameters of their own, or frozen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax

from framework.nodes.base import BrainPyObject
from framework.nodes.variable import Variable
from framework.optim.hyperparameters import check, held, present
from framework.optim.schedulers import Scheduler, text_of
from framework.optim.selection import Selection, references, selected

__all__ = ["Group"]


class Group(BrainPyObject):
    """Parameters that an optimizer treats differently from the others.

    Where a parameter is in several groups, each setting is that of the last group that has it.

    Args:
        select: A glob on the path such as ``"**.bias"``, where ``*`` is one step of the path and
            ``**`` any number of them; a class of Variables or of objects that hold them; a
            predicate of path and Variable; or a list of Variables, of globs, or of both.
        lr_factor: What the learning rate is multiplied with: a number, a Variable or a Scheduler.
        frozen: Whether these parameters stay as they are, without gradients and without slots.
            Later, use ``freeze`` and ``unfreeze`` of the optimizer.
        name: A unique name.
        **hyperparameters: Any of the optimizer, such as ``weight_decay`` and ``beta1``.

    Attributes:
        members: The keys of its parameters.

    >>> group = Group("**.bias", weight_decay=0.0)
    >>> group
    Group('**.bias', weight_decay=0)
    """

    def __init__(
        self,
        select: Any,
        *,
        lr_factor: Any = None,
        frozen: bool | None = None,
        name: str | None = None,
        **hyperparameters: Any,
    ) -> None:
        super().__init__(name)
        selection = Selection(select)
        self.tests = tuple(selection.tests)
        self.variables = references(selection.variables)
        self.frozen = frozen
        if lr_factor is not None:
            hyperparameters["lr_factor"] = lr_factor
        for key, value in hyperparameters.items():
            check(key, value)
            setattr(self, key, held(value))
        self.hyperparameters = tuple(hyperparameters)
        self.members: tuple[str, ...] = ()

    def select(self, candidates: Mapping[str, Variable]) -> tuple[str, ...]:
        """The keys of its parameters among all.

        Raises:
            ValueError: There are none.
        """
        return tuple(selected(self.tests, self.variables.values(), candidates))

    def present(self) -> dict[str, jax.Array]:
        """Its hyperparameters in this update."""
        return {key: present(getattr(self, key)) for key in self.hyperparameters}

    def __setattr__(self, key: str, value: Any) -> None:
        if isinstance(value, Scheduler) and isinstance(getattr(self, key, None), Variable):
            self.setattr(key, value)
        else:
            super().__setattr__(key, value)

    def __repr__(self) -> str:
        what = [getattr(test, "__name__", repr(test)) for test in self.tests]
        what += [f"{len(self.variables)} Variables"] * bool(self.variables)
        what += [f"{key}={text_of(getattr(self, key))}" for key in self.hyperparameters]
        what += [f"frozen={self.frozen}"] * (self.frozen is not None)
        return f"Group({', '.join(what)})"
