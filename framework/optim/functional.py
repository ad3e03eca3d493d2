"""Optax both ways: its transformations as optimizers, and our rules as its transformations."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import tree_util

from framework.nodes.variable import Variable
from framework.optim.gradients import Gradients
from framework.optim.hyperparameters import present
from framework.optim.optimizer import Optimizer
from framework.optim.precision import as_real, computation_dtype, from_real
from framework.optim.schedulers import Scheduler, text_of
from framework.optim.step import Slots, change

__all__ = ["OptaxOptimizer", "OptaxState", "as_optax"]


def _optax() -> Any:
    try:
        import optax
    except ImportError as error:
        raise ImportError("This needs Optax: pip install 'pytree-framework[optax]'") from error
    return optax


class OptaxOptimizer(Optimizer):
    """An Optax gradient transformation as an optimizer.

    Its state is held in Variables, those of the shape of a parameter beside that parameter.
    Hyperparameters that ``optax.inject_hyperparams`` injected are there as attributes to read and
    to set; among them usually ``learning_rate``, which is then ``lr``, too.

    Args:
        tx: The transformation.
        train_vars: The parameters to train, by key.
        name: A unique name.
        **options: See :class:`Optimizer`; without ``weight_decay``, ``slot_dtype`` and
            ``master_weights``, which are the business of the transformation.

    Raises:
        ImportError: Optax is not installed.
        TypeError: ``tx`` is no gradient transformation, or has an option that it can't.

    >>> import optax
    >>> w = Variable(jnp.ones(2))
    >>> opt = OptaxOptimizer(optax.inject_hyperparams(optax.sgd)(0.5), {"w": w})
    >>> opt.update({"w": jnp.array([1.0, -1.0])})
    >>> print(w.value, opt.learning_rate.value)
    [0.5 1.5] 0.5
    """

    def __init__(
        self,
        tx: Any,
        train_vars: Mapping[str, Variable] | None = None,
        name: str | None = None,
        **options: Any,
    ) -> None:
        if not (hasattr(tx, "init") and hasattr(tx, "update")):
            raise TypeError(
                f"OptaxOptimizer takes an Optax transformation, but got a {type(tx).__name__}."
            )
        refused = {"weight_decay", "slot_dtype", "master_weights"} & set(options)
        if refused:
            raise TypeError(f"Give {', '.join(sorted(refused))} to the Optax transformation.")
        self.tx = _optax().with_extra_args_support(tx)
        self._injected: tuple[str, ...] = ()
        self._configure(1.0, train_vars, name, hyperparameters={}, **options)

    def settings_of_groups(self) -> frozenset[str]:
        """The hyperparameters that a group may have: none but ``lr_factor``."""
        return frozenset()

    def _parameters(self) -> dict[str, Variable]:
        keys = {p: key for key, p in reversed(self.vars_to_train.items()) if key not in self.frozen}
        return {key: p for p, key in reversed(keys.items())}

    def _add_slots(self, parameters: Iterable[Variable], late: bool | None) -> None:
        super()._add_slots(parameters, False)
        values = {key: p.value for key, p in self._parameters().items()}
        held = self._state()
        leaves, _ = tree_util.tree_flatten_with_path(self.tx.init(values))
        for path, leaf in leaves:
            if _place(path, values) in held:
                continue
            key, role = _place(path, values)
            variable = Variable(jnp.array(leaf))
            if key is not None:
                variable._accompany(self.vars_to_train[key], role)
                self.register_implicit_vars({f"{key}_{role}": variable})
            elif role.startswith("hyperparams_"):
                self.setattr(role.removeprefix("hyperparams_"), variable)
                self._injected += (role.removeprefix("hyperparams_"),)
            else:
                self.register_implicit_vars({role: variable})
        if "learning_rate" in self._injected:
            self.lr.setattr("lr", vars(self)["learning_rate"])

    def _state(self) -> dict[tuple[str | None, str], Variable]:
        """The Variables of the transformation's state, by key of the parameter and role."""
        keys = {p: key for key, p in self._parameters().items()}
        state: dict[tuple[str | None, str], Variable] = {
            (None, f"hyperparams_{name}"): getattr(self, name) for name in self._injected
        }
        for name, variable in self.implicit_vars.items():
            companion = variable._companion
            if companion is None:
                state[None, name] = variable
            elif companion[0] in keys:
                state[keys[companion[0]], companion[1]] = variable
        return state

    def _apply(self, gradients: Gradients) -> None:
        parameters, held = self._parameters(), self._state()
        values = {key: p.value for key, p in parameters.items()}
        sign = -1 if self.maximize else 1
        directions = {
            key: sign * jnp.conj(jnp.asarray(gradients[p])).astype(p.dtype)
            for key, p in parameters.items()
        }
        paths, treedef = tree_util.tree_flatten_with_path(jax.eval_shape(self.tx.init, values))
        variables = [held[_place(path, values)] for path, _ in paths]
        state = tree_util.tree_unflatten(treedef, [v.value for v in variables])
        moves, new = self.tx.update(directions, state, values)
        factors = self._settings()
        for key, parameter in parameters.items():
            move = moves[key]
            if "learning_rate" not in self._injected or self.groups:
                factor = factors[parameter]["lr"]
                if "learning_rate" in self._injected:
                    factor = factor / self.lr()
                move = move * factor.astype(jnp.finfo(move.dtype).dtype)
            parameter.value = (parameter.value + move).astype(parameter.dtype)
        for variable, value in zip(variables, tree_util.tree_leaves(new), strict=True):
            variable.value = jnp.asarray(value).astype(variable.dtype)

    def __repr__(self) -> str:
        settings = [f"{key}={text_of(getattr(self, key))}" for key in self._injected]
        settings += [repr(group) for group in self.groups]
        return f"OptaxOptimizer({', '.join([*settings, f'parameters={len(self.vars_to_train)}'])})"


def _place(path: Any, values: Mapping[str, Any]) -> tuple[str | None, str]:
    """Of which parameter a leaf of a state is, and as what."""
    keys = [entry.key if isinstance(entry, tree_util.DictKey) else None for entry in path]
    own = next((k for k in reversed(keys) if k in values), None)
    rest = [entry for entry, key in zip(path, keys, strict=True) if own is None or key != own]
    text = re.sub(r"\W+", "_", "".join(map(str, rest))).strip("_")
    return own, text.removeprefix("inner_state_") or "state"


class OptaxState(NamedTuple):
    """The state of a transformation that :func:`as_optax` made.

    Attributes:
        step: The number of updates made so far.
        slots: For each leaf of the parameters, its slots by name.
    """

    step: jax.Array
    slots: list[dict[str, jax.Array]]


def as_optax(optimizer: Optimizer) -> Any:
    """An optimizer's rule as an Optax transformation, for those who work functionally.

    Args:
        optimizer: One without parameters. Its hyperparameters are read when the transformation is
            traced, its schedules at the count of updates.

    Returns:
        A transformation whose ``update`` needs the parameters.

    Raises:
        ImportError: Optax is not installed.
        ValueError: The optimizer has options for which Optax has transformations of its own.

    >>> import optax
    >>> from framework.optim.adam import AdamW
    >>> tx = optax.chain(optax.clip_by_global_norm(1.0), as_optax(AdamW(0.1, weight_decay=0.0)))
    >>> params = {"w": jnp.ones(2)}
    >>> updates, state = tx.update({"w": jnp.array([1.0, -3.0])}, tx.init(params), params)
    >>> [round(float(x), 3) for x in optax.apply_updates(params, updates)["w"]]
    [0.9, 1.1]
    """
    clips = [key for key in optimizer.hyperparameters if key.startswith("clip_")]
    options = {
        "groups": optimizer.groups, "nonfinite": optimizer.nonfinite != "ignore",
        "accumulate": optimizer.accumulate > 1, "master_weights": optimizer.master_weights,
        **dict.fromkeys(clips, True),
    }  # fmt: skip
    if refused := [key for key, value in options.items() if value]:
        raise ValueError(f"Use Optax's own transformations in the place of {', '.join(refused)}.")

    def init(params: Any) -> OptaxState:
        leaves = [Variable(jnp.asarray(leaf)) for leaf in jax.tree.leaves(params)]
        slots = [optimizer.new_slots(leaf) for leaf in leaves]
        return OptaxState(jnp.zeros((), jnp.int32), slots)

    def update(grads: Any, state: OptaxState, params: Any = None) -> tuple[Any, OptaxState]:
        if params is None:
            raise ValueError("Rules need the parameters: update(grads, state, params).")
        count = state.step + 1
        settings = {
            key: value(state.step) if isinstance(value, Scheduler) else present(value)
            for key in ("lr", *optimizer.hyperparameters)
            for value in [getattr(optimizer, key)]
        }
        leaves, treedef = jax.tree.flatten(params)
        updates: list[Any] = []
        slots: list[dict[str, jax.Array]] = []
        for p, g, held in zip(leaves, treedef.flatten_up_to(grads), state.slots, strict=True):
            dtype = computation_dtype(p.dtype)
            s = Slots(held, dtype, count)
            direction = as_real(jnp.conj(g), dtype)
            _, move = change(optimizer._how(), as_real(p, dtype), direction, s, settings, count)
            updates.append(from_real(-move, p.dtype))
            slots.append(s.as_dict())
        return jax.tree.unflatten(treedef, updates), OptaxState(count, slots)

    return _optax().GradientTransformation(init, update)
