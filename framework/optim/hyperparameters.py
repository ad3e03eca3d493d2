"""Hyperparameters: held so that they can change without a new trace, and checked."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from framework.nodes.array import raw
from framework.nodes.frames import is_tracer
from framework.nodes.variable import Variable
from framework.optim.schedulers import LambdaLR, Scheduler

__all__ = ["check", "held", "is_zero", "present", "signature_of"]


def held(value: Any) -> Variable | Scheduler:
    """What an optimizer keeps of a hyperparameter: a Variable or a Scheduler."""
    if isinstance(value, (Variable, Scheduler)):
        return value
    if callable(value):
        return LambdaLR(1.0, value)
    return Variable(jnp.asarray(value, dtype=float))


def present(value: Variable | Scheduler) -> jax.Array:
    """The value of a hyperparameter in this update."""
    return value() if isinstance(value, Scheduler) else value.value


def check(name: str, value: Any) -> None:
    """Raise ValueError if a number is out of the range that its name implies.

    Schedules, and values that a trace has not computed yet, pass.
    """
    value = raw(value)
    if callable(value) or is_tracer(value):
        return
    numbers = np.asarray(value, dtype=float)
    if name.startswith(("beta", "momentum", "rho", "decay")):
        if not np.all((numbers >= 0) & (numbers < 1)):
            raise ValueError(f"{name} must be in [0, 1), but got {value}.")
    elif not np.all(numbers >= 0):
        raise ValueError(f"{name} must not be negative, but got {value}.")


def signature_of(defaults: Mapping[str, Any], options: inspect.Signature) -> inspect.Signature:
    """The signature of an optimizer: ``(lr, train_vars=None, <its own>, name=None, *, <options>)``.

    Args:
        defaults: Its own hyperparameters in order, with their defaults. ``lr`` may be among them.
        options: The signature of the base's constructor.
    """
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    base = {k: p for k, p in options.parameters.items() if k not in ("self", "hyperparameters")}
    lr = base.pop("lr").replace(default=defaults.get("lr", inspect.Parameter.empty))
    first = [lr, base.pop("train_vars")]
    own = [
        inspect.Parameter(key, kind, default=default, annotation=Any)
        for key, default in defaults.items()
        if key != "lr"
    ]
    rest = [p for key, p in base.items() if key not in defaults]
    return inspect.Signature([*first, *own, *rest], return_annotation=None)


def is_zero(value: Any) -> bool:
    """Tell whether a hyperparameter is 0 for certain, so that what it weights is not needed."""
    shown = value._shown() if isinstance(value, Variable) else None
    return shown is not None and not is_tracer(shown) and bool(shown == 0)
