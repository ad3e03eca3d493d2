"""The base of all optimizers: registration, the loop over parameters, dtypes, checks."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp

from framework.errors import MathError
from framework.nodes.array import raw
from framework.nodes.base import BrainPyObject
from framework.nodes.collectors import References
from framework.nodes.variable import Variable
from framework.optim.schedulers import Scheduler, make_schedule

__all__ = ["Optimizer"]


class Optimizer(BrainPyObject):
    """The base class of optimizers.

    A subclass names its slots, the arrays it keeps for each parameter, and defines :meth:`rule`,
    pure maths for one array. All else is inherited, for every optimizer alike.

    Args:
        lr: Learning rate: a number, a Variable or a Scheduler.
        train_vars: The parameters to train, by key.
        name: A unique name.
        weight_decay: Decoupled weight decay: before the rule, each parameter loses
            ``lr * weight_decay`` times itself. A number, Variable or Scheduler; None for none.
        maximize: Whether to go up the gradient.
        **hyperparameters: What else the rule needs; each a number, a Variable or a Scheduler.

    Attributes:
        step: The number of updates made so far.
        vars_to_train: The parameters by key.

    Raises:
        MathError: ``train_vars`` is no dict of Variables.
        ValueError: A hyperparameter is out of its range.
    """

    slots: tuple[str, ...] = ()

    def __init__(
        self,
        lr: Any,
        train_vars: Mapping[str, Variable] | None = None,
        name: str | None = None,
        *,
        weight_decay: Any = None,
        maximize: bool = False,
        **hyperparameters: Any,
    ) -> None:
        if type(self) is Optimizer:
            raise NotImplementedError(
                "Optimizer is a base class: use one of its subclasses, such as AdamW, or define "
                "`rule` in a subclass of your own."
            )
        super().__init__(name)
        self.lr: Any = make_schedule(lr)
        self.maximize = maximize
        self.step = Variable(jnp.zeros((), jnp.int32))
        if weight_decay is not None:
            hyperparameters["weight_decay"] = weight_decay
        for key, value in hyperparameters.items():
            check_hyperparameter(key, value)
            setattr(self, key, hyperparameter(value))
        self.hyperparameters = tuple(hyperparameters)
        self.vars_to_train = References()
        if train_vars is not None:
            self.register_train_vars(train_vars)

    def __setattr__(self, key: str, value: Any) -> None:
        if key == "lr" and not isinstance(value, Scheduler):
            self.lr.set_value(value)
        else:
            super().__setattr__(key, value)

    @staticmethod
    def rule(p: jax.Array, g: jax.Array, s: Any, h: Any) -> jax.Array:
        """The maths of one step for one parameter, in its computation dtype.

        Args:
            p: The parameter.
            g: Its gradient.
            s: The slots as attributes; assign their new values.
            h: The hyperparameters, and ``lr``, and ``t``, the number of this update from 1 on.

        Returns:
            What to subtract from the parameter.
        """
        raise NotImplementedError("A subclass of Optimizer must define `rule(p, g, s, h)`.")

    def register_train_vars(self, train_vars: Mapping[str, Variable] | None = None) -> None:
        """Train these Variables, too.

        Args:
            train_vars: Variables by key. One that is registered already keeps its slots.

        Raises:
            MathError: It is no dict of Variables. Nothing is registered then.
        """
        if train_vars is None:
            return
        if not isinstance(train_vars, Mapping) or not all(
            isinstance(variable, Variable) for variable in train_vars.values()
        ):
            raise MathError(
                "train_vars must be a dict of Variables, such as `net.train_vars().unique()`, but "
                f"got a {type(train_vars).__name__}."
            )
        known = dict.fromkeys(self.vars_to_train.values())
        self.vars_to_train.update(dict(train_vars))
        for key, parameter in train_vars.items():
            if parameter not in known:
                known[parameter] = None
                for slot in self.slots:
                    self._add_slot(key, parameter, slot)

    def _add_slot(self, key: str, parameter: Variable, slot: str) -> None:
        variable = Variable(jnp.zeros(parameter.shape, computation_dtype(parameter.dtype)))
        variable._accompany(parameter, slot)
        self.register_implicit_vars(**{f"{key}_{slot}": variable})

    def check_grads(self, grads: Mapping[str, Any]) -> None:
        """Check that there is a gradient of the right shape for each parameter.

        Args:
            grads: Gradients by the keys of ``vars_to_train``.

        Raises:
            MathError: Gradients are missing, unexpected or of another shape or dtype; all are
                named.
        """
        if not isinstance(grads, Mapping):
            raise MathError(f"Gradients must be a dict by key, but got a {type(grads).__name__}.")
        problems = [f"  {key}: missing" for key in self.vars_to_train if key not in grads]
        for key, grad in grads.items():
            parameter = self.vars_to_train.get(key)
            if parameter is None:
                problems.append(f"  {key}: no such parameter is trained")
            elif jnp.shape(raw(grad)) != parameter.shape:
                problems.append(
                    f"  {key}: shape {jnp.shape(raw(grad))} for a parameter of {parameter.shape}"
                )
        if problems:
            raise MathError(
                f"The {len(grads)} gradients don't fit the {len(self.vars_to_train)} parameters "
                "of this optimizer; nothing was changed.\n" + "\n".join(problems)
            )

    def update(self, grads: Mapping[str, Any]) -> None:
        """Make one step.

        Args:
            grads: Gradients by the keys of ``vars_to_train``.

        Raises:
            MathError: See :meth:`check_grads`. Nothing is changed then.
        """
        if type(self).rule is Optimizer.rule:
            raise NotImplementedError("A subclass of Optimizer must define `rule(p, g, s, h)`.")
        self.check_grads(grads)
        t = self.step.value + 1
        h = {key: _present(getattr(self, key)) for key in self.hyperparameters}
        h |= {"lr": self.lr(), "t": t}
        slots = self._slots()
        changes: list[tuple[Variable, Any]] = [(self.step, t)]
        for parameter, key in {p: k for k, p in reversed(self.vars_to_train.items())}.items():
            held = slots[parameter]
            s = {slot: variable.value for slot, variable in held.items()}
            new, s = _step(type(self).rule, self.maximize, parameter.value, raw(grads[key]), s, h)
            changes.append((parameter, new))
            changes += [(variable, s[slot]) for slot, variable in held.items()]
        for variable, value in changes:
            variable.value = value
        self.lr.step_call()

    def _slots(self) -> dict[Variable, dict[str, Variable]]:
        """The slots of each parameter."""
        slots: dict[Variable, dict[str, Variable]] = {
            parameter: {} for parameter in self.vars_to_train.values()
        }
        for variable in self.implicit_vars.values():
            companion = variable._companion
            if companion is not None and companion[0] in slots:
                slots[companion[0]][companion[1]] = variable
        return slots

    def __repr__(self) -> str:
        settings = [f"lr={_text(self.lr)}"]
        settings += [f"{key}={_text(getattr(self, key))}" for key in self.hyperparameters]
        settings.append(f"parameters={len(self.vars_to_train)}")
        return f"{type(self).__name__}({', '.join(settings)})"


@functools.partial(jax.jit, static_argnums=(0, 1), inline=True)
def _step(rule: Any, maximize: bool, p: Any, g: Any, slots: Any, h: Any) -> tuple[Any, Any]:
    """One step for one array. Compiled by itself, so that equal shapes are traced once."""
    dtype = computation_dtype(p.dtype)
    real = jnp.zeros((), dtype).real.dtype
    h = SimpleNamespace(**{key: value.astype(real) for key, value in h.items()})
    s = SimpleNamespace(**{slot: value.astype(dtype) for slot, value in slots.items()})
    new, g = p.astype(dtype), g.astype(dtype)
    if maximize:
        g = -g
    if hasattr(h, "weight_decay"):
        new = new - h.lr * h.weight_decay * new
    new = new - rule(new, g, s, h)
    return new.astype(p.dtype), {k: vars(s)[k].astype(slots[k].dtype) for k in slots}


def computation_dtype(dtype: Any) -> Any:
    """The dtype to compute in: at least float32."""
    return jnp.promote_types(dtype, jnp.float32)


def hyperparameter(value: Any) -> Variable | Scheduler:
    """Hold a hyperparameter so that it can change without a new trace."""
    if isinstance(value, (Variable, Scheduler)):
        return value
    return Variable(jnp.asarray(value, dtype=float))


def check_hyperparameter(key: str, value: Any) -> None:
    """Raise ValueError if a number is out of the range that its name implies."""
    if isinstance(value, (Variable, Scheduler)):
        return
    if key.startswith("beta") and not 0.0 <= value < 1.0:
        raise ValueError(f"{key} must be in [0, 1), but got {value}.")
    if key.startswith(("eps", "weight_decay")) and not value >= 0.0:
        raise ValueError(f"{key} must not be negative, but got {value}.")


def _present(value: Variable | Scheduler) -> jax.Array:
    return value() if isinstance(value, Scheduler) else value.value


def _text(value: Variable | Scheduler) -> str:
    if isinstance(value, Scheduler):
        kind = type(value).__name__
        return _text(value.lr) if kind == "Constant" else f"{kind}({_text(value.lr)})"
    shown = value._shown()
    return "traced" if isinstance(shown, jax.core.Tracer) else f"{float(shown):.6g}"
