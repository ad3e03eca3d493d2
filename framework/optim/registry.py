"""The parameters that an optimizer trains: registration, slots, groups, and which are frozen."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from framework.errors import MathError
from framework.nodes.base import BrainPyObject
from framework.nodes.collectors import References
from framework.nodes.frames import is_tracer
from framework.nodes.variable import Variable
from framework.optim.groups import Group
from framework.optim.selection import Selection, selected

__all__ = ["SINCE", "Registry", "check_train_vars"]

SINCE = "since"
"""The slot with the number of steps made before the parameter was added."""


class Registry(BrainPyObject):
    """What an optimizer knows of its parameters.

    Args:
        groups: Groups of parameters.
        name: A unique name.

    Attributes:
        step: The number of steps made so far.
        vars_to_train: The parameters by key.
        groups: The groups.
        frozen: The keys of the parameters that are frozen.
    """

    def __init__(self, groups: Iterable[Group], name: str | None) -> None:
        super().__init__(name)
        self.step = Variable(jnp.zeros((), jnp.int32))
        self.vars_to_train = References()
        self.frozen: tuple[str, ...] = ()
        # Made now, so that no later look at it changes the structure.
        self.register_implicit_vars()
        self.groups: list[Group] = []
        for group in groups:
            self._check_group(group)
            self.groups.append(group)

    def register_train_vars(
        self, train_vars: Mapping[str, Variable] | None = None, *, late: bool | None = None
    ) -> None:
        """Train these Variables, too.

        Args:
            train_vars: Variables by key. One that is registered already keeps its slots.
            late: Whether their steps count from now on, as bias corrections need it; if left out,
                whether this optimizer has made steps. Pass True in a new process that is to load
                the file of one in which they came late.

        Raises:
            MathError: It is no dict of Variables that can be trained. Nothing is registered then.
            ValueError: A key is in use, or a group selects nothing. Nothing is registered then.
        """
        if train_vars is None:
            return
        check_train_vars(train_vars)
        everything = References({**self.vars_to_train})
        everything.update(dict(train_vars))
        members = [group.select(everything) for group in self.groups]
        new = {k: p for k, p in everything.items() if k not in self.vars_to_train}
        known = set(self.vars_to_train.values())
        for group, keys in zip(self.groups, members, strict=True):
            group.members = keys
        self.vars_to_train = everything
        starting = {p for k, p in new.items() if p not in known and self._starts_frozen(k)}
        self._freeze_exactly(self._frozen() | starting)
        self._add_slots([p for p in new.values() if p not in known], late)

    def register_vars(self, train_vars: Mapping[str, Variable] | None = None) -> None:
        """The old name of :meth:`register_train_vars`."""
        warnings.warn("Use register_train_vars() instead.", UserWarning, stacklevel=2)
        self.register_train_vars(train_vars)

    def remove_train_vars(self, select: Any) -> None:
        """Train some parameters no longer, and drop their slots. The others keep theirs.

        Args:
            select: As for a :class:`Group`.

        Raises:
            ValueError: It selects nothing.
        """
        keys = set(self._selected(select))
        gone = {p for k, p in self.vars_to_train.items() if k in keys}
        kept = {k: p for k, p in self.vars_to_train.items() if k not in keys}
        self._drop_slots(gone)
        self.vars_to_train = References(kept)
        self.frozen = tuple(key for key in self.frozen if key in kept)
        for group in self.groups:
            group.members = tuple(key for key in group.members if key in kept)

    def add_group(self, group: Group) -> None:
        """Treat some of the present and future parameters differently.

        Args:
            group: The group.

        Raises:
            ValueError: It selects nothing, or has a hyperparameter that this optimizer lacks.
        """
        self._check_group(group)
        group.members = group.select(self.vars_to_train)
        self.groups.append(group)
        if group.frozen is not None:
            (self.freeze if group.frozen else self.unfreeze)(list(group.members))

    def freeze(self, select: Any) -> None:
        """Leave some parameters as they are: no gradients, no slots, no part in the clip norm.

        Args:
            select: As for a :class:`Group`.

        Raises:
            ValueError: It selects nothing.
        """
        chosen = {self.vars_to_train[key] for key in self._selected(select)}
        self._drop_slots(chosen)
        self._freeze_exactly(self._frozen() | chosen)

    def unfreeze(self, select: Any, *, late: bool | None = None) -> None:
        """Train frozen parameters again, with new slots. The others keep theirs.

        Args:
            select: As for a :class:`Group`.
            late: As for :meth:`register_train_vars`.

        Raises:
            ValueError: It selects nothing.
        """
        frozen = self._frozen()
        chosen = dict.fromkeys(self.vars_to_train[key] for key in self._selected(select))
        self._freeze_exactly(frozen.difference(chosen))
        self._add_slots([p for p in chosen if p in frozen], late)

    def new_slots(self, parameter: Variable) -> dict[str, jax.Array]:
        """The slots of a new parameter."""
        raise NotImplementedError(f"{type(self).__name__} must define `new_slots(parameter)`.")

    def settings_of_groups(self) -> frozenset[str]:
        """The hyperparameters that a group may have."""
        return frozenset()

    def _check_group(self, group: Group) -> None:
        if not isinstance(group, Group):
            raise ValueError(f"groups are Group objects, but got a {type(group).__name__}.")
        if group.members:
            raise ValueError(f"{group!r} belongs to an optimizer already.")
        known = self.settings_of_groups() | {"lr_factor"}
        if unknown := sorted(set(group.hyperparameters) - known):
            raise ValueError(
                f"{group!r} sets {', '.join(unknown)}, but {type(self).__name__} has only "
                f"{', '.join(sorted(known))} for groups."
            )

    def _selected(self, select: Any) -> list[str]:
        selection = Selection(select)
        return selected(selection.tests, selection.variables, self.vars_to_train)

    def _frozen(self) -> set[Variable]:
        return {self.vars_to_train[key] for key in self.frozen}

    def _freeze_exactly(self, parameters: set[Variable]) -> None:
        self.frozen = tuple(key for key, p in self.vars_to_train.items() if p in parameters)

    def _starts_frozen(self, key: str) -> bool:
        wishes = [group.frozen for group in self.groups if key in group.members]
        return bool([False, *(wish for wish in wishes if wish is not None)][-1])

    def _add_slots(self, parameters: Iterable[Variable], late: bool | None) -> None:
        if late is None:
            late = not is_tracer(self.step.value) and bool(self.step.value > 0)
        keys = {p: key for key, p in reversed(self.vars_to_train.items())}
        frozen = self._frozen()
        for parameter in dict.fromkeys(parameters):
            if parameter in frozen:
                continue
            slots = self.new_slots(parameter)
            if taken := [slot for slot in slots if slot in vars(self)]:
                raise ValueError(
                    f"{type(self).__name__} has an attribute {taken[0]!r}, so no slot can be "
                    "called so: files know both by it. Give the slot another name."
                )
            if late and slots:
                slots[SINCE] = jnp.copy(self.step.value)
            for slot, value in slots.items():
                variable = Variable(value)
                variable._accompany(parameter, slot)
                self.register_implicit_vars({f"{keys[parameter]}_{slot}": variable})

    def _drop_slots(self, parameters: set[Variable]) -> None:
        for key, variable in list(self.implicit_vars.items()):
            companion = variable._companion
            if companion is not None and companion[0] in parameters:
                del self.implicit_vars[key]

    def slots_by_parameter(self) -> dict[Variable, dict[str, Variable]]:
        """The slots of each parameter by name."""
        slots: dict[Variable, dict[str, Variable]] = {p: {} for p in self.vars_to_train.values()}
        for variable in self.implicit_vars.values():
            companion = variable._companion
            if companion is not None and companion[0] in slots:
                slots[companion[0]][companion[1]] = variable
        return slots


def check_train_vars(train_vars: Any) -> None:
    """Raise MathError unless it is a dict of Variables that can be trained."""
    if not isinstance(train_vars, Mapping):
        raise MathError(
            "train_vars must be a dict of Variables, such as `net.train_vars().unique()`, but "
            f"got a {type(train_vars).__name__}."
        )
    problems = [
        f"  {key}: a {type(p).__name__}, not a Variable"
        if not isinstance(p, Variable)
        else f"  {key}: dtype {p.dtype}, which has no gradient"
        for key, p in train_vars.items()
        if not (isinstance(p, Variable) and jnp.issubdtype(p.dtype, jnp.inexact))
    ]
    if problems:
        raise MathError("train_vars can't all be trained.\n" + "\n".join(problems))
